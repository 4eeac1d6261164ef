"""Reads what a plugin's file says of itself without importing it, which may take seconds."""

import ast
from functools import cache
from pathlib import Path


@cache
def text_in(file: Path, name: str) -> str:
    """Return the text that a class in ``file`` gives its attribute ``name``.

    Raises:
        ValueError: no class there does.
    """
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ClassDef):
            continue
        for one in node.body:
            if isinstance(one, ast.AnnAssign) and ast.unparse(one.target) == name:
                assert isinstance(one.value, ast.Constant)
                return str(one.value.value)
    raise ValueError(f"{file} gives no class a {name}")
