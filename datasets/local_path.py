"""Paths as users write them: ``~``, ``$HOME``, relative ones."""

import os
import re
from pathlib import Path

_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


def local_path(path: str | Path) -> Path:
    """Return the absolute path that a user's path means here.

    ``~`` is the home folder, ``$NAME`` and ``${NAME}`` are environment variables, unless something
    of that very name exists.

    Raises:
        ValueError: the path is empty or holds a null character, or names a user or a variable that
            there is not.
    """
    text = str(path)
    if "\0" in text:
        raise ValueError(f"a path may not hold a null character; got {text!r}")
    if not text.strip():
        raise ValueError("the path is empty; write a path, or '.' for the working directory")
    if not os.path.lexists(text):
        text = _VARIABLE.sub(_value, text)
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError as error:  # pathlib's, for ~name
        raise ValueError(
            f"{text!r} names a user that is not known here; write ./{text} for a folder of that "
            "name"
        ) from error


def _value(found: re.Match[str]) -> str:
    name = found[1] or found[2]
    if name not in os.environ:
        raise ValueError(
            f"the environment variable {name!r} in {found.string!r} is not set; type: export "
            f"{name}=…, or write the path out"
        )
    return os.environ[name]
