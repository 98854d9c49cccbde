"""Measures the source of a Python module. This file does not know about workflows."""

from __future__ import annotations

import ast
import io
import sysconfig
import token
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

EXCLUDED = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"}


@dataclass(frozen=True)
class Function:
    """``complexity`` is McCabe's: one, plus one for each branch.

    ``nesting`` counts the loops, conditions and similar blocks around the innermost line.
    """

    name: str
    line: int
    complexity: int
    nesting: int


@dataclass(frozen=True)
class Metrics:
    """One module. Each line counts once: as code, else as comment, else as blank.

    Docstrings are code.
    """

    lines: int = 0
    code: int = 0
    comments: int = 0
    blank: int = 0
    classes: int = 0
    functions: list[Function] = field(default_factory=list)
    imports: list[str] = field(default_factory=list)
    error: str | None = None


def library() -> Path:
    """The directory of the standard library of this Python."""
    return Path(sysconfig.get_path("stdlib"))


def sources(root: Path) -> list[Path]:
    """The source files below ``root``, without tests and without packages from pip."""
    found = (path.relative_to(root) for path in root.rglob("*.py"))
    return sorted(path for path in found if not EXCLUDED.intersection(path.parts))


def decode(source: bytes) -> str:
    """Decode ``source`` by the encoding that it declares. Raises SyntaxError."""
    encoding, _ = tokenize.detect_encoding(io.BytesIO(source).readline)
    try:
        text = source.decode(encoding)
    except UnicodeDecodeError as error:
        raise SyntaxError(str(error)) from None
    return io.StringIO(text, newline=None).read()  # every line ends with \n


def measure(source: bytes) -> Metrics:
    """Measure a module. ``error`` is set if the source is not valid Python."""
    try:
        text = decode(source)
        tree = ast.parse(text)
        code, comments = count_lines(text)
    except (SyntaxError, ValueError, tokenize.TokenError) as error:
        return Metrics(error=f"{type(error).__name__}: {error}")
    lines = text.count("\n") + (not text.endswith("\n") and text != "")
    return Metrics(
        lines=lines,
        code=code,
        comments=comments,
        blank=lines - code - comments,
        classes=sum(isinstance(node, ast.ClassDef) for node in ast.walk(tree)),
        functions=list(functions(tree)),
        imports=sorted(set(imports(tree))),
    )


# --- lines ---------------------------------------------------------------------------------

NEITHER = {token.NEWLINE, token.NL, token.INDENT, token.DEDENT, token.ENDMARKER}


def count_lines(text: str) -> tuple[int, int]:
    """Return the number of lines with code, and of lines with only a comment."""
    code: set[int] = set()
    comments: set[int] = set()
    for each in tokenize.generate_tokens(io.StringIO(text).readline):
        if each.type == token.COMMENT:
            comments.add(each.start[0])
        elif each.type not in NEITHER:
            code.update(range(each.start[0], each.end[0] + 1))
    return len(code), len(comments - code)


# --- functions -----------------------------------------------------------------------------

Definition = ast.FunctionDef | ast.AsyncFunctionDef
BRANCH = (
    ast.If,
    ast.IfExp,
    ast.For,
    ast.AsyncFor,
    ast.While,
    ast.ExceptHandler,
    ast.Assert,
    ast.comprehension,
    ast.match_case,
)
BLOCK = (
    ast.If,
    ast.For,
    ast.AsyncFor,
    ast.While,
    ast.Try,
    ast.TryStar,
    ast.With,
    ast.AsyncWith,
    ast.Match,
)


def functions(tree: ast.AST, prefix: str = "") -> Iterator[Function]:
    """Yield every function below ``tree``, by qualified name, in source order."""
    for node in ast.iter_child_nodes(tree):
        name = prefix
        if isinstance(node, Definition | ast.ClassDef):
            name = f"{prefix}{node.name}."
        if isinstance(node, Definition):
            yield Function(name[:-1], node.lineno, complexity(node), nesting(node))
        yield from functions(node, name)


def complexity(function: Definition) -> int:
    """The number of independent paths through ``function``."""
    branches = 1
    for node in own(function):
        if isinstance(node, BRANCH):
            branches += 1
        if isinstance(node, ast.BoolOp):
            branches += len(node.values) - 1
        elif isinstance(node, ast.comprehension):
            branches += len(node.ifs)
    return branches


def nesting(node: ast.AST, depth: int = 0) -> int:
    """The depth of the blocks below ``node``. An ``elif`` is as deep as its ``if``."""
    deepest = depth
    for field_name, child in own_fields(node):
        is_elif = isinstance(node, ast.If) and field_name == "orelse" and is_only_if(node.orelse)
        deeper = isinstance(child, BLOCK) and not is_elif
        deepest = max(deepest, nesting(child, depth + deeper))
    return deepest


def is_only_if(body: list[ast.stmt]) -> bool:
    """Whether ``body`` is a single ``if``, as an ``elif`` is."""
    return len(body) == 1 and isinstance(body[0], ast.If)


def own(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes below ``node``, without those of nested functions and classes."""
    for _, child in own_fields(node):
        yield child
        yield from own(child)


def own_fields(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """Yield the children of ``node``, without definitions, with their field names."""
    for name, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not isinstance(child, Definition | ast.ClassDef):
                yield name, child


# --- imports -------------------------------------------------------------------------------


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield the names of all top-level modules that ``tree`` imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]
