"""The layers of the package: none imports from a higher one, and files and functions stay short."""

from __future__ import annotations

import ast
import io
import tokenize
from pathlib import Path

import pytest

from tests.engine.workflows import ROOT

PACKAGE = ROOT / "sacb_bundle"
# Layers that each layer may import from, besides itself and the modules at the top of the package.
ROOMS = {
    "ops": set[str](),
    "networks": {"ops"},
    "losses": {"ops"},
    "metrics": {"ops"},
    "spatial": {"ops"},
    "quality": {"ops", "metrics", "spatial"},
    "results": {"metrics"},
    "registration": {"ops", "networks", "losses", "metrics", "spatial", "quality", "results"},
    "data": {"spatial", "registration"},
    "datasets": {"spatial", "quality", "results", "data"},
    "transforms": {"ops", "networks", "metrics", "spatial", "quality", "registration", "data"},
    "engine": {"ops", "networks", "losses", "metrics", "spatial", "registration", "data"},
    "study": {"ops", "networks", "metrics", "spatial", "quality", "results", "registration", "data"},
    "experiments": {"networks", "metrics", "quality", "results", "registration", "data", "engine", "study"},
}
LONGEST_FILE, LONGEST_FUNCTION = 400, 60
# Lines of code in the registration room, which a newcomer reads in one sitting.
MOST_LINES_OF_REGISTRATION = 900
NO_CODE = {
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER
}  # fmt: skip
FILES = [path for path in PACKAGE.rglob("*.py") if "_bundle" not in path.parts]


def imported_rooms(path: Path) -> set[str]:
    """Return the layers that a file imports from, including imports within functions."""
    parts = path.relative_to(PACKAGE).parts
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = parts[: len(parts) - node.level]
            target = (*base, *(node.module or "").split("."))
            rooms |= {target[0]} if target[0] else {alias.name for alias in node.names}
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [str(node.module)]
            rooms |= {name.split(".")[1] for name in names if name.startswith("sacb_bundle.")}
    return rooms & {*ROOMS, "commands"}


def lines_of_code(text: str) -> int:
    """Count the lines of a Python file that hold code, without docstrings, comments and blank lines."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    lines = {line for token in tokens if token.type not in NO_CODE for line in range(token.start[0], token.end[0] + 1)}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node) is not None:
            docstring = node.body[0]
            lines -= set(range(docstring.lineno, (docstring.end_lineno or docstring.lineno) + 1))
    return len(lines)


def test_lines_of_code_are_counted() -> None:
    text = (
        '"""Of a file."""\n\n# a comment\nclass A:\n    """Of a\n    class."""\n\n    b = (  # c\n        1,\n    )\n'
    )
    assert lines_of_code(text) == 4


def test_the_registration_room_can_be_read_in_one_sitting() -> None:
    files = (PACKAGE / "registration").rglob("*.py")
    assert sum(lines_of_code(path.read_text(encoding="utf-8")) for path in files) <= MOST_LINES_OF_REGISTRATION


def test_every_way_to_import_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.test_layers.PACKAGE", tmp_path)
    (tmp_path / "ops").mkdir()
    path = tmp_path / "ops" / "file.py"
    path.write_text(
        "from .. import study\nimport sacb_bundle.commands\nfrom sacb_bundle.engine.batch import x\n"
        "def f():\n    from ..data.pairs import y\n"
    )
    assert imported_rooms(path) == {"study", "commands", "engine", "data"}


def test_every_room_has_its_place() -> None:
    assert {path.name for path in PACKAGE.iterdir() if path.is_dir() and any(path.glob("*.py"))} == {*ROOMS, "commands"}


@pytest.mark.parametrize("room", ROOMS)
def test_no_room_imports_from_a_higher_one(room: str) -> None:
    for path in (PACKAGE / room).rglob("*.py"):
        assert imported_rooms(path) <= ROOMS[room] | {room}, path


def test_no_file_is_too_long() -> None:
    files = [*FILES, *(ROOT / "tests").rglob("*.py"), *(ROOT / "scripts").rglob("*.py")]
    lengths = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    assert len(lengths) > 200
    assert {name: length for name, length in lengths.items() if length > LONGEST_FILE} == {}


@pytest.mark.parametrize("room", ["registration", "commands", "spatial"])
def test_no_function_of_the_main_path_is_too_long(room: str) -> None:
    for path in (PACKAGE / room).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.end_lineno is not None:
                assert node.end_lineno - node.lineno < LONGEST_FUNCTION, f"{path}: {node.name}"
