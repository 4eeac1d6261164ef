"""Groups of commands that are imported when they are called: most need torch, which is slow."""

import importlib
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_group


class Lazy(NamedTuple):
    """A command, or a group of them, that is not imported yet."""

    source: str
    """``module:name`` of a function, or of a `typer.Typer`; the module below this package."""
    help: str
    """Its line in the group's help: the first one of its own."""
    context_settings: Mapping[str, Any] = {}  # noqa: RUF012 - nothing writes to it

    def load(self, name: str) -> Any:
        """Import it; return the command, called ``name``."""
        module, _, attribute = self.source.partition(":")
        found = getattr(importlib.import_module(f"encodeonce.jobs.cli.{module}"), attribute)
        holder = typer.Typer(add_completion=False)
        if isinstance(found, typer.Typer):
            holder.add_typer(found, name=name)
        else:
            holder.command(name, context_settings=dict(self.context_settings))(found)
        return get_group(holder).commands[name]


class LazyGroup(TyperGroup):
    """A group that knows its commands by name and help alone, until one of them is called."""

    lazy: ClassVar[Mapping[str, Lazy]]
    """Its commands by name."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for name, command in self.lazy.items():
            self.commands[name] = TyperCommand(name, help=command.help)

    def load(self, name: str) -> None:
        """Import the command of a name, if there is one."""
        if name in self.lazy:
            self.commands[name] = self.lazy[name].load(name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Import the command that is called, or whose options are to be completed."""
        if args:
            self.load(args[0])
        return super().resolve_command(ctx, args)
