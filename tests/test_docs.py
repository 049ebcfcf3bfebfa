"""Run the commands and programs of the documentation, and follow its links.

Blocks marked `python` and `sh` run, page by page and in order, in a folder of small phantoms that have the names of the
pages. A block with a title is written to a file of that name. Blocks marked `console`, and indented text, do not run:
they need a network, a GPU, a scheduler or time.
"""

from __future__ import annotations

import argparse
import doctest
import importlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sacb_bundle.commands import VERBS, main, parser
from sacb_bundle.data import phantom_pair
from sacb_bundle.intensities import RULES
from sacb_bundle.networks import NETWORKS
from sacb_bundle.registration.outputs import OUTPUTS
from tests.conftest import write
from tests.engine.workflows import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES += [ROOT / "models" / "README.md"]
REFERENCE = ROOT / "docs" / "reference.md"
# Each of its recipes stands alone.
BY_SECTION = ("extend.md",)
RUN, SHOWN = ("python", "sh"), ("console", "json", "csv")
FENCE = re.compile(r'```(?P<language>\w*)(?: title="(?P<title>[\w.]+)")?')
SHAPE = (32, 32, 32)


@dataclass(frozen=True)
class Block:
    """A block of code of a page; `line` is that of its first line of code."""

    page: Path
    section: str
    line: int
    language: str
    title: str | None
    text: str


def blocks_of(page: Path) -> list[Block]:
    blocks: list[Block] = []
    section, lines = "", iter(enumerate(page.read_text(encoding="utf-8").splitlines(), start=1))
    for number, line in lines:
        if line.startswith("## "):
            section = line.removeprefix("## ")
        if line.startswith("```"):
            match = FENCE.fullmatch(line)
            assert match, f"{page.name}, line {number}: not a fence that this test can read: {line}"
            text = []
            for _, inner in lines:
                if inner == "```":
                    break
                text.append(inner)
            blocks.append(Block(page, section, number + 1, match["language"], match["title"], "\n".join(text) + "\n"))
    return blocks


def programs() -> list[Any]:
    """Lists of blocks that belong together, one for each page or section."""
    parameters = []
    for page in PAGES:
        blocks = blocks_of(page)
        sections = sorted({block.section for block in blocks}) if page.name in BY_SECTION else [None]
        for section in sections:
            own = [block for block in blocks if section in (None, block.section)]
            if any(block.language in RUN for block in own):
                name = str(page.relative_to(ROOT)) + (f", {section}" if section else "")
                parameters.append(pytest.param(own, id=name))
    return parameters


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the pages name. Do not write into the folder."""
    folder = tmp_path_factory.mktemp("docs")
    (fixed, fixed_labels), (moving, moving_labels) = (
        phantom_pair(SHAPE, amplitude=0.7)[role] for role in ("fixed", "moving")
    )
    files = {
        "f": fixed, "f_labels": fixed_labels, "f_mask": fixed_labels > 0,
        "m": moving, "l": moving_labels, "m_mask": moving_labels > 0,
        "a": 255 - moving, "c": moving_labels, "bold": np.stack([moving, moving // 2], axis=-1),
        "atlas": moving, "atlas_labels": moving_labels,
        "A/s1": fixed, "B/s1": moving, "scans/one": fixed, "scans/two": moving,
    }  # fmt: skip
    for name, values in files.items():
        write(folder / f"{name}.nii.gz", np.asarray(values, np.uint8))
    for number in range(2):
        for role, (image, labels) in phantom_pair(SHAPE, seed=number, amplitude=0.7).items():
            write(folder / "DIR" / "images" / f"{role}{number}.nii.gz", image)
            write(folder / "DIR" / "labels" / f"{role}{number}.nii.gz", labels)
    (folder / "p.csv").write_text("x,y,z\n-30,-32,28\n", encoding="utf-8")
    return folder


@pytest.fixture
def folder(inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the inputs, which is the current folder. Additions of a page to the package are undone."""
    shutil.copytree(inputs, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    registries: tuple[dict[str, Any], ...] = (OUTPUTS, RULES, NETWORKS)
    before = [dict(registry) for registry in registries]
    yield tmp_path
    for registry, content in zip(registries, before, strict=True):
        registry.clear()
        registry.update(content)
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.mark.slow
@pytest.mark.parametrize("blocks", programs())
def test_the_code_of_the_page_runs(blocks: list[Block], folder: Path) -> None:
    names: dict[str, Any] = {"__name__": "page"}
    for block in blocks:
        if block.title:
            Path(block.title).write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            # Empty lines before, so that a traceback names the line of the page.
            exec(compile("\n" * (block.line - 1) + block.text, block.page, "exec"), names)
        elif block.language == "sh":
            for command in block.text.replace("\\\n", " ").splitlines():
                run(command, f"{block.page.name}, from line {block.line}: {command}")


def run(command: str, place: str) -> None:
    """Run a command of a page: `sacb` in this process, which has PyTorch loaded, and others as the shell does."""
    words = shlex.split(command.replace("$(sacb bundle)", str(ROOT)), comments=True)
    if words[:1] == ["sacb"]:
        arguments = shortened(words[1:]) if words[1] == "train" else words[1:]
        assert main(arguments) == 0, place
    elif words:
        assert words[0] == "python", place
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run([sys.executable, *words[1:]], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{place}\n{done.stderr}"


def shortened(arguments: list[str]) -> list[str]:
    """The arguments of `sacb train` with one epoch; two if the page asks for a number, as an extension does."""
    if "--max-epochs" not in arguments:
        return [*arguments, "--max-epochs", "1"]
    place = arguments.index("--max-epochs") + 1
    return [*arguments[:place], "2", *arguments[place + 1 :]]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_blocks_say_whether_they_run(page: Path) -> None:
    for block in blocks_of(page):
        assert block.language in (*RUN, *SHOWN), f"{page.name}, line {block.line}: {block.language!r}"
        if block.language == "json":
            json.loads(block.text)


def anchors_of(page: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"\w+:", target):
            continue
        path, _, anchor = target.partition("#")
        goal = page.parent / path if path else page
        assert goal.exists(), f"{page.name}: {target}"
        assert not anchor or anchor in anchors_of(goal), f"{page.name}: {target}"


def test_every_page_is_linked() -> None:
    linked = set()
    for page in PAGES:
        for target in re.findall(r"\]\(([^)\s#]+)", page.read_text(encoding="utf-8")):
            linked.add((page.parent / target).resolve())
    assert set((ROOT / "docs").rglob("*")) - linked - {ROOT / "docs" / "howto", ROOT / "docs" / "README.md"} == set()


def test_output_files_are_those_of_the_table() -> None:
    lines = ["| file | written | content |", "|---|---|---|"]
    for name, output in OUTPUTS.items():
        written = "with a moving label map" if output.needs_labels else "always"
        written = "with `--diffeomorphic`" if output.diffeomorphic else written
        written = f"with the format `{name}`" if output.optional else written
        lines.append(f"| `{output.file}` | {written} | {output.text} |")
    table = "\n".join(lines)
    assert table in REFERENCE.read_text(encoding="utf-8"), f"{REFERENCE} must hold this table:\n{table}"


@pytest.mark.parametrize("verb", VERBS)
def test_the_reference_names_the_options_of_the_command_line(verb: str) -> None:
    (subparsers,) = (a for a in parser([verb])._actions if isinstance(a, argparse._SubParsersAction))
    options = {name for action in subparsers.choices[verb]._actions for name in action.option_strings}
    _, _, rest = REFERENCE.read_text(encoding="utf-8").partition(f"\n### sacb {verb}\n")
    section = re.split(r"^##", rest, maxsplit=1, flags=re.MULTILINE)[0]
    assert set(re.findall(r"`(--[\w-]+)`", section)) == options - {"-h", "--help"}


@pytest.mark.parametrize(
    ("section", "configs"),
    [
        ("All workflows", ["train", "inference", "evaluate"]),
        ("Training", ["train"]),
        ("Inference and evaluation", ["inference", "evaluate"]),
    ],
)
def test_the_reference_names_keys_of_the_configs(section: str, configs: list[str]) -> None:
    _, _, rest = REFERENCE.read_text(encoding="utf-8").partition(f"\n### {section}\n")
    rows = re.findall(r"^\| (`.*?) \| (.*?) \|", re.split(r"^##", rest, flags=re.MULTILINE)[0], flags=re.MULTILINE)
    assert len(rows) >= 4
    for config in configs:
        content = json.loads((ROOT / "configs" / f"{config}.json").read_text(encoding="utf-8"))
        for cell, default in rows:
            for key in re.findall(r"`([^`]+)`", cell):
                top, _, below = key.partition("#")
                assert top in content, f"{config}.json has no {key}"
                if type(value := content[top]) in (int, float) and not below and len(configs) == 1:
                    assert default == str(value), f"{key} is {value} in {config}.json"


@pytest.mark.parametrize(
    "module",
    sorted(
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in (ROOT / "sacb_bundle").rglob("*.py")
        if ">>>" in path.read_text(encoding="utf-8") and "triton" not in path.parts
    ),
)
def test_the_examples_of_docstrings_are_right(module: str) -> None:
    result = doctest.testmod(importlib.import_module(module), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0
    assert result.attempted > 0
