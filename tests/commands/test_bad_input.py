"""Bad input ends in one line, and wrong options in the usage."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from sacb_bundle.commands import main, options
from sacb_bundle.registration.optimise import METHODS
from sacb_bundle.registration.refine import DEFAULT_STEPS, MOST_STEPS
from sacb_bundle.spatial import INITIAL
from tests.commands.conftest import AFFINE, voxels
from tests.engine.workflows import ROOT


def bad_calls(scans: Path, registered: Path, folder: Path) -> dict[str, list[str]]:
    """Return calls that fail, by the text of the error."""
    nib.save(nib.Nifti1Image(np.ones((4, 5), np.uint8), np.eye(4)), folder / "flat.nii.gz")
    shifted = AFFINE.copy()
    shifted[:3, 3] = 5000
    far = nib.Nifti1Image(voxels(scans / "fixed.nii.gz"), shifted)
    nib.save(far, folder / "far.nii.gz")
    (folder / "text.tfm").write_text("hello")
    dark = np.zeros((48, 64, 48), np.uint8)
    dark[0, 0, 0] = 1
    nib.save(nib.Nifti1Image(dark, AFFINE), folder / "dark.nii.gz")
    (folder / "file").write_text("")
    fixed, moving = (str(scans / f"{role}.nii.gz") for role in ("fixed", "moving"))
    pair = ["--fixed", fixed, "--moving", moving]
    own = shutil.copytree(registered, folder / "own")
    register = ["register", "--output", str(folder / "out"), "--fixed", fixed]
    apply = ["apply", "--output", str(folder / "out"), "--input", moving]
    transform = str(registered / "transform.nii.gz")
    return {
        "0% of the smaller image overlaps the other": [
            *register, "--moving", str(folder / "far.nii.gz"), "--initial", "none"
        ],
        "one 3-D volume is needed": [*register, "--moving", str(folder / "flat.nii.gz")],
        "not an ITK transform": [*apply, "--reference", fixed, "--transform", str(folder / "text.tfm")],
        "not a displacement field": [*apply, "--reference", fixed, "--transform", moving],
        "Does the transform belong to another image?": [
            *apply, "--reference", str(folder / "far.nii.gz"), "--transform", transform
        ],
        "Does it belong to another image?": [
            *apply, "--reference", fixed, "--transform", transform, "--labels", str(folder / "far.nii.gz")
        ],
        "There is nothing to apply": [
            "apply", "--output", str(folder / "out"), "--reference", fixed, "--transform", transform
        ],
        "There is nothing to score": ["evaluate"],
        "refine is 1001; it must be a whole number of steps from 0 to 1000": [
            *register, "--moving", moving, "--refine", "1001"
        ],
        "smoothness is -1.0; it must be a finite number above 0": [
            *register, "--moving", moving, "--refine", "--smoothness", "-1"
        ],
        "there is nothing to register": [
            *register, "--moving", moving, "--fixed-mask", str(folder / "dark.nii.gz")
        ],
        "file is not a writable folder": ["register", *pair, "--output", str(folder / "file")],
        "device is 'foo'": [*register, "--moving", moving, "--device", "foo"],
        "warped.nii.gz: a result would overwrite": [
            "register", "--fixed", fixed, "--moving", str(own / "warped.nii.gz"), "--output", str(own)
        ],
        "own/transform.nii.gz: a result would overwrite": [
            "invert", "--transform", str(own / "transform.nii.gz"), "--output", str(own / "transform.nii.gz")
        ],
        "warped_labels.nii.gz: a result would overwrite": [
            "evaluate", "--fixed-labels", str(own / "warped_labels.nii.gz"), "--warped-labels",
            str(own / "warped_labels.nii.gz"), "--output", str(own / "warped_labels.nii.gz")
        ],
        "is a folder": [
            "evaluate", "--fixed-labels", fixed, "--warped-labels", fixed, "--output", str(own)
        ],
        "another file also gives": [*apply, "--reference", fixed, "--transform", transform, "--labels", moving],
        "fixed.nii.gz: a result would overwrite": [
            "apply", "--transform", transform, "--reference", moving, "--output", str(scans), "--input", fixed
        ],
        "spacing is inf": [*register, "--moving", moving, "--spacing", "inf"],
        "give the moving image as reference": [
            "invert", "--transform", transform, "--output", str(folder / "out" / "inverse.nii.gz"),
            "--reference", str(folder / "far.nii.gz")
        ],
    }  # fmt: skip


def test_bad_input_is_one_error_and_nothing_is_written(
    scans: Path, registered: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = bad_calls(scans, registered, tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for message, arguments in calls.items():
        assert main(arguments) == 1, message
        errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1
        assert message in errors[0]
        assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["register", "--fixed", "nothing.nii.gz", "--moving", "nothing.nii.gz", "--output", "out"],
        ["register", "--output", "out"],
        ["register", "--fixed", __file__, "--moving", __file__, "--output", "out", "--spacing", "fine"],
        ["apply", "--initial", "affine"],
        ["batch", "--images", ".", "--output", "out", "--device", "$__import__('os').system('true')"],
        ["train", "--dataset", ".", "--modality", "$print(1)"],
        ["unknown"],
        [],
    ],
)
def test_wrong_arguments_end_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_options_take_regular_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "pipe.nii.gz")
    for path, message in {
        tmp_path / "pipe.nii.gz": "is a pipe, a socket or a device; a regular file is needed",
        tmp_path: "is a folder; a file is needed",
        tmp_path / ("x" * 300): "cannot be read: File name too long",
        tmp_path / "gone.nii": "no such file",
    }.items():
        with pytest.raises(SystemExit) as ended:
            main(["register", "--fixed", str(path), "--moving", str(path), "--output", str(tmp_path / "out")])
        assert ended.value.code == 2
        assert f"{path}: {message}" in capsys.readouterr().err


def test_the_choices_of_the_alignment_are_those_of_the_function() -> None:
    assert options.INITIAL == INITIAL
    assert ("auto", *METHODS) == options.SIMILARITIES
    assert (options.REFINE_STEPS, options.MOST_REFINE_STEPS) == (DEFAULT_STEPS, MOST_STEPS)


@pytest.mark.parametrize("verb", ["register", "apply", "invert", "evaluate", "train"])
def test_help_shows_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([verb, "--help"])
    assert ended.value.code == 0
    assert f"example:\n  sacb {verb} --" in capsys.readouterr().out


def test_help_of_training_names_the_defaults_of_its_config(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    config = json.loads((ROOT / "configs" / "train.json").read_text())
    for option, default in {"initial": "affine", "spacing": "2", "modality": "auto", "seed": "0"}.items():
        assert config[option] == type(config[option])(default)
        assert text.split(f" --{option} ")[-1].partition(")")[0].endswith(f"(default: {default}")


def test_console_script_runs_from_anywhere(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from sacb_bundle.commands import main; raise SystemExit(main())", "evaluate"]
    environment = {"PYTHONPATH": str(ROOT), "PATH": ""}
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=environment)
    assert result.returncode == 1
    assert result.stderr.strip().splitlines()[-1].startswith("error: There is nothing to score")
