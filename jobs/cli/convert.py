"""``encodeonce convert``: brings what other projects have trained into our own files."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, cast, get_args

import typer

from encodeonce.harness.report.plain_console import PlainConsole
from encodeonce.jobs.cli.specs import model_from_options
from encodeonce.jobs.cli.user_errors import user_errors
from encodeonce.models.checkpoint.files import checkpoint_digest, file_digest
from encodeonce.models.family import find_family
from encodeonce.models.kv.trained.compressor import Compressor
from encodeonce.models.kv.trained.fastcache import (
    FastCacheLayout,
    fastcache_header,
    load_fastcache,
)
from encodeonce.models.kv.trained.files import write_compressor
from encodeonce.models.kv.trained.header import CompressorHeader
from encodeonce.models.language.context import head_shape, whole_layers

convert_app = typer.Typer(
    help="Convert what other projects have trained into files of ours.", no_args_is_help=True
)
console = PlainConsole()


@convert_app.callback()
def _group() -> None:
    """Keep `compressor` a subcommand while it is the only one."""


@convert_app.command()
def compressor(
    file: Annotated[Path, typer.Argument(help="FastCache's checkpoint: .pth or .safetensors.")],
    folder: Annotated[Path, typer.Argument(help="Folder to write; it must not exist.")],
    model: Annotated[
        str, typer.Option(help="Folder or hub id of the model that it was trained for.")
    ],
    layout: Annotated[
        str,
        typer.Option(help="'fastcache-linear-decouple' (LLaVA) or 'fastcache-hybrid' (MiniCPM-V)."),
    ],
) -> None:
    """Write FastCache's compressor as a folder for the KV method `ccm`, tied to its model."""
    with user_errors():
        if layout not in get_args(FastCacheLayout):
            allowed = ", ".join(get_args(FastCacheLayout))
            raise ValueError(f"--layout is {layout!r}; allowed: {allowed}")
        known = cast(FastCacheLayout, layout)
        if folder.exists():
            raise ValueError(f"{folder} exists; name a folder that does not")
        header = fastcache_header(file, known)
        family, checkpoint = find_family(model_from_options(model, "float32", "cpu"))
        config = family.language_config(checkpoint)
        header.check_shape(whole_layers(config), head_shape(config)[1], str(file))
        digest = checkpoint_digest(checkpoint, file_digest)
        header = header.model_copy(update={"model": model, "checkpoint_sha256": digest})
        nets = load_fastcache(file, known)
        _write(folder, header, nets)
    console.print(
        f"{folder}: {len(header.layers)} layers, {header.factor} entries become one", soft_wrap=True
    )
    console.print(
        f"use it in a run file: kv: [{{method: ccm, compression_factor: {header.factor}, options: "
        f"{{path: {folder}}}}}]",
        soft_wrap=True,
    )


def _write(folder: Path, header: CompressorHeader, nets: Compressor) -> None:
    """Write a folder that is whole or absent: a part of one would be in the next attempt's way."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as unfinished:
            made = Path(unfinished) / folder.name
            made.mkdir()
            write_compressor(made, header, nets)
            made.rename(folder)
    except OSError as error:
        words = error.strerror or error
        raise ValueError(f"{folder} cannot be written: {words}. Name another folder") from error
