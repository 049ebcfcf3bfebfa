"""Importing the package and showing help is fast, since neither imports large packages."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sacb_bundle import phantom_images
from sacb_bundle.spatial import write_volume

ROOT = Path(__file__).resolve().parents[1]
LARGE = ("monai", "nibabel", "numpy", "torch")


def imported(program: str, cwd: Path) -> list[str]:
    """Run a program in a separate process, and return the large packages that it imported."""
    report = f"import sys\nprint(*[name for name in {LARGE} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", f"{program}\n{report}"],
        cwd=cwd, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1].split()


def command(*arguments: str) -> str:
    return (
        f"from sacb_bundle.commands import main\ntry:\n    main({list(arguments)})\nexcept SystemExit as ended:\n"
        "    assert ended.code == 0"
    )


@pytest.mark.parametrize(
    "program",
    [
        "import sacb_bundle",
        "import sacb_bundle\nassert {'Registrar', 'Transform', '__version__'} <= set(dir(sacb_bundle))",
        command("--help"),
        command("--version"),
        command("bundle"),
        command("register", "--help"),
        command("batch", "--help"),
        command("prepare", "--help"),
    ],
)
def test_nothing_large_is_imported_before_work_starts(program: str, tmp_path: Path) -> None:
    assert imported(program, tmp_path) == []


@pytest.mark.slow
def test_registering_does_without_monai(tmp_path: Path) -> None:
    for name, volume in zip(("fixed", "moving"), phantom_images((32, 32, 32)), strict=True):
        write_volume(volume, tmp_path / f"{name}.nii.gz")
    pair = ("--fixed", "fixed.nii.gz", "--moving", "moving.nii.gz", "--initial", "none", "--device", "cpu")
    assert imported(command("register", *pair, "--output", "out"), tmp_path) == ["nibabel", "numpy", "torch"]
    assert (tmp_path / "out" / "warped.nii.gz").is_file()
