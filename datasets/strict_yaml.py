"""Parse YAML strictly, and know which line everything stands on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

_SHOWN = 60
"""Characters of a text that messages repeat."""


class YamlError(ValueError):
    """The text is not YAML that can be used; says the line and what is wrong there."""


class StrictLoader(yaml.SafeLoader):
    """Makes plain data only; refuses a key given twice (PyYAML: the last wins)."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Return a mapping's node; refuse a key given twice in it."""
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            line = key.start_mark.line + 1
            if key.value in lines:
                raise yaml.composer.ComposerError(
                    None,
                    None,
                    f"the key {key.value!r} is there twice (first in line {lines[key.value]}); "
                    "keep one",
                    key.start_mark,
                )
            lines[key.value] = line
        return node

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        """Return a node's value; one that Python refuses (13th month) is refused with its line."""
        try:
            return super().construct_object(node, deep)
        except ValueError as error:
            raise yaml.constructor.ConstructorError(
                None, None, str(error).partition(";")[0], node.start_mark
            ) from error


@dataclass(frozen=True, slots=True)
class YamlDocument:
    """A document's value, and where its parts stand."""

    value: Any
    root: Any
    """The value's node; None for an empty document."""

    def line(self, location: Sequence[int | str]) -> int:
        """Return the line of a part; of what surrounds it, if it is not there."""
        node, line = self.root, 1
        for part in location:
            found = _inside(node, part)
            if found is not None:
                line, node = found
        return line


def parse_yaml(text: str | bytes, loader: type[yaml.SafeLoader] = StrictLoader) -> YamlDocument:
    """Return the document that a text holds.

    Args:
        text: of one document; UTF-8 if it is bytes.
        loader: `StrictLoader`, or a subclass that knows more tags.

    Raises:
        YamlError: it is not YAML, repeats a key, or is nested too deeply.
    """
    try:
        # StrictLoader is a SafeLoader.
        reading = loader(text.decode("utf-8-sig") if isinstance(text, bytes) else text)
        try:
            root = reading.get_single_node()
            value = None if root is None else reading.construct_document(root)
        finally:
            reading.dispose()
    except UnicodeDecodeError as error:
        raise YamlError(f"it is not UTF-8: byte {error.start + 1}") from error
    except RecursionError as error:
        raise YamlError("brackets are nested too deeply; flatten it") from error
    except yaml.MarkedYAMLError as error:
        raise YamlError(_explain(error)) from error
    except yaml.YAMLError as error:
        raise YamlError(f"it is not YAML: {' '.join(str(error).split())}") from error
    return YamlDocument(value, root)


def _inside(node: Any, part: int | str) -> tuple[int, Any] | None:
    """Return the line and node of a part of a node."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == part:
                return key.start_mark.line + 1, value
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        item = node.value[part]
        return item.start_mark.line + 1, item
    return None


def _explain(error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return f"it is not YAML: {error.problem}"
    lines = (mark.buffer or "").splitlines()
    got = lines[mark.line].strip(" \t\r\n\0")[:_SHOWN] if mark.line < len(lines) else ""
    return f"line {mark.line + 1}: {error.problem}; got {got!r}"
