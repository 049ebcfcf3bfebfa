from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from sacb_bundle.commands import main, options
from sacb_bundle.data import phantom_pair
from sacb_bundle.metrics import dice
from sacb_bundle.spatial import INITIAL
from tests.engine.workflows import ROOT

AFFINE = np.diag([2.0, 2, 2, 1])


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a pair of phantoms, the moving one in another orientation and position. Do not write into the folder."""
    folder = tmp_path_factory.mktemp("scans of a study")
    for role, (image, labels) in phantom_pair((48, 64, 48), seed=0).items():
        affine = AFFINE.copy()
        if role == "moving":
            affine[:3, 3] = (40, -30, 20)
        for name, values in ((role, image), (f"{role}_labels", labels)):
            stored = nib.Nifti1Image(values, affine)
            if role == "moving":
                stored = stored.as_reoriented(np.array([[1, -1], [2, 1], [0, -1]]))
            nib.save(stored, folder / f"{name}.nii.gz")
    return folder


@pytest.fixture(scope="module")
def registered(scans: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("out") / "a to b"
    files = [f"--{role}={scans / role}.nii.gz" for role in ("fixed", "moving")]
    formats = ["--formats", "learn2reg", "h5"]
    labels = f"--moving-labels={scans / 'moving_labels'}.nii.gz"
    assert (
        main(["register", *files, labels, "--output", str(output), "--device", "cpu", "--initial", "center", *formats])
        == 0
    )
    return output


def voxels(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)


def test_register_writes_on_the_grid_of_the_fixed_image(scans: Path, registered: Path) -> None:
    assert sorted(path.name for path in registered.iterdir()) == [
        "case.json",
        "disp_fixed_moving.nii.gz",
        "initial.tfm",
        "picture.jpg",
        "transform.h5",
        "transform.nii.gz",
        "warped.nii.gz",
        "warped_labels.nii.gz",
    ]
    for name in ("warped", "warped_labels", "transform"):
        assert np.array_equal(nib.load(registered / f"{name}.nii.gz").affine, AFFINE)
    fixed = voxels(scans / "fixed_labels.nii.gz")
    moving = nib.as_closest_canonical(nib.load(scans / "moving_labels.nii.gz"))
    before = dice(fixed, np.asarray(moving.dataobj), range(1, 8))
    after = dice(fixed, voxels(registered / "warped_labels.nii.gz"), range(1, 8))
    assert np.mean(list(after.values())) > np.mean(list(before.values())) + 0.1


def test_register_prints_the_verdict(scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [f"--{role}={scans / role}.nii.gz" for role in ("fixed", "moving")]
    arguments += ["--output", str(tmp_path / "out"), "--device", "cpu", "--initial", "center"]
    for spacing, expected in (("4", 4.0), ("auto", 2.0)):
        assert main(["register", *arguments, "--spacing", spacing]) == 0
        measures = json.loads((tmp_path / "out" / "case.json").read_text())["measures"]
        assert measures["spacing"] == expected
        assert measures["verdict"] == "good"
        (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("verdict")]
        assert line.split() == ["verdict", "good", "(trust", f"{measures['trust']:.2f})"]


def test_apply_gives_what_register_gave(scans: Path, registered: Path, tmp_path: Path) -> None:
    for transform in ("transform.nii.gz", "transform.h5"):
        arguments = ["--transform", str(registered / transform), "--reference", str(scans / "fixed.nii.gz")]
        arguments += ["--input", str(scans / "moving.nii.gz"), "--labels", str(scans / "moving_labels.nii.gz")]
        assert main(["apply", *arguments, "--output", str(tmp_path / transform), "--device", "cpu"]) == 0
        difference = voxels(tmp_path / transform / "moving.nii.gz").astype(int) - voxels(registered / "warped.nii.gz")
        assert np.abs(difference).max() <= 1
        same = voxels(tmp_path / transform / "moving_labels.nii.gz") == voxels(registered / "warped_labels.nii.gz")
        assert same.mean() > 0.999


def test_a_label_that_the_reference_does_not_show_is_none(scans: Path, registered: Path, tmp_path: Path) -> None:
    lesion = np.zeros(nib.load(scans / "moving.nii.gz").shape, np.uint8)
    lesion[1, 1, 1] = 1
    nib.save(nib.Nifti1Image(lesion, nib.load(scans / "moving.nii.gz").affine), tmp_path / "lesion.nii.gz")
    nib.load(scans / "fixed.nii.gz").slicer[12:36, 16:48, 12:36].to_filename(tmp_path / "part.nii.gz")
    arguments = ["--transform", str(registered / "transform.nii.gz"), "--reference", str(tmp_path / "part.nii.gz")]
    arguments += ["--labels", str(tmp_path / "lesion.nii.gz"), "--output", str(tmp_path / "out"), "--device", "cpu"]
    assert main(["apply", *arguments]) == 0
    assert not voxels(tmp_path / "out" / "lesion.nii.gz").any()


def test_points_go_where_the_image_goes(scans: Path, registered: Path, tmp_path: Path) -> None:
    """Warp the innermost point of a label into the warped label (the wrong direction would be 100 mm off)."""
    image = nib.load(scans / "moving_labels.nii.gz")
    labels = np.asarray(image.dataobj)
    depths = {label: distance_transform_edt(labels == label) for label in range(1, 8)}
    inside = [np.unravel_index(depth.argmax(), depth.shape) for depth in depths.values()]
    points = nib.affines.apply_affine(image.affine, inside)
    (tmp_path / "points.csv").write_text("x,y,z\n" + "\n".join(f"{x},{y},{z}" for x, y, z in points))
    arguments = ["--transform", str(registered / "transform.nii.gz"), "--reference", str(scans / "fixed.nii.gz")]
    arguments += ["--points", str(tmp_path / "points.csv"), "--points-space", "RAS", "--device", "cpu"]
    assert main(["apply", *arguments, "--output", str(tmp_path / "out")]) == 0
    with open(tmp_path / "out" / "points.csv", encoding="utf-8") as stream:
        moved = [[float(row[name]) for name in "xyz"] for row in csv.DictReader(stream)]
    warped = voxels(registered / "warped_labels.nii.gz")
    indices = np.round(nib.affines.apply_affine(np.linalg.inv(AFFINE), moved)).astype(int)
    assert [warped[tuple(index)] for index in indices] == list(depths)


def test_names_are_names_and_not_expressions(scans: Path, registered: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = ['$open("made", "w").nii.gz', "@image.nii.gz", "%a@#b ü.nii.gz"]
    for name in names:
        shutil.copy(scans / "moving.nii.gz", name)
    arguments = ["--transform", str(registered / "transform.nii.gz"), "--reference", str(scans / "fixed.nii.gz")]
    assert main(["apply", *arguments, "--input", *names, "--output", "$out", "--device", "cpu"]) == 0
    assert sorted(path.name for path in Path("$out").iterdir()) == sorted(names)
    arguments = ["--fixed", names[0], "--moving", names[1], "--initial", "none", "--output", "@out", "--device", "cpu"]
    assert main(["register", *arguments]) == 0
    assert len(list(Path("@out").iterdir())) == 5
    assert not Path("made").exists()


def test_invert_reports_its_error(
    scans: Path, registered: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--transform", str(registered / "transform.nii.gz"), "--reference", str(scans / "moving.nii.gz")]
    assert main(["invert", *arguments, "--output", str(tmp_path / "inverse.nii.gz"), "--device", "cpu"]) == 0
    assert "Error of the inverse: mean 0." in capsys.readouterr().out
    error = voxels(tmp_path / "inverse_error.nii.gz")
    assert error.shape == (48, 64, 48)
    assert (error == -1).mean() < 0.2
    assert error[error != -1].min() >= 0
    assert error[error != -1].mean() < 0.2
    assert voxels(tmp_path / "inverse.nii.gz").shape == (*nib.load(scans / "moving.nii.gz").shape, 1, 3)


def test_scores_are_in_millimetres(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Score two boxes of 2 mm voxels, shifted by one, and a field in mm without folding."""
    for name, start in (("fixed", 4), ("warped", 5)):
        labels = np.zeros((16, 16, 16), np.uint8)
        labels[start : start + 6, 4:10, 4:10] = 1
        nib.save(nib.Nifti1Image(labels, AFFINE), tmp_path / f"{name}.nii.gz")
    arguments = ["--fixed-labels", str(tmp_path / "fixed.nii.gz"), "--warped-labels", str(tmp_path / "warped.nii.gz")]
    field = np.zeros((16, 16, 16, 1, 3), np.float32)
    field[..., 0] = 1.5 * np.arange(16)[:, None, None, None]  # in LPS mm: shrinks by 0.75 voxels per voxel
    image = nib.Nifti1Image(field, AFFINE)
    image.header.set_intent("vector")
    nib.save(image, tmp_path / "field.nii.gz")
    assert main(["evaluate", *arguments, "--transform", str(tmp_path / "field.nii.gz")]) == 0
    output = capsys.readouterr().out
    assert "hd95                2.0000 mm" in output
    assert "folding             0.0000 %" in output
    field *= 1.5
    nib.save(image.__class__(field, AFFINE, image.header), tmp_path / "field.nii.gz")
    assert main(["evaluate", *arguments, "--transform", str(tmp_path / "field.nii.gz")]) == 0
    assert "folding             100.0000 %" in capsys.readouterr().out


def test_evaluate(scans: Path, registered: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [f"--fixed-labels={scans / 'fixed_labels.nii.gz'}", "--output", str(tmp_path / "scores.csv")]
    arguments += [f"--warped-labels={registered / 'warped_labels.nii.gz'}"]
    assert main(["evaluate", *arguments, "--transform", str(registered / "transform.nii.gz")]) == 0
    output = capsys.readouterr().out
    for name in ("dice", "hd95", "assd", "folding"):
        assert name in output
    with open(tmp_path / "scores.csv", encoding="utf-8") as stream:
        scores = {int(row["label"]): float(row["dice"]) for row in csv.DictReader(stream)}
    expected = dice(voxels(scans / "fixed_labels.nii.gz"), voxels(registered / "warped_labels.nii.gz"), range(1, 8))
    assert scores == pytest.approx(expected)


def test_names_in_any_case(scans: Path, registered: Path, tmp_path: Path) -> None:
    field, moving = tmp_path / "Field.Nii.gz", tmp_path / "Moving.NII.GZ"
    field.write_bytes((registered / "transform.nii.gz").read_bytes())
    moving.write_bytes((scans / "moving.nii.gz").read_bytes())
    call = ["apply", "--transform", str(field), "--reference", str(scans / "fixed.nii.gz"), "--output"]
    assert main([*call, str(tmp_path / "out"), "--input", str(moving)]) == 0
    difference = voxels(tmp_path / "out" / "Moving.nii.gz").astype(int) - voxels(registered / "warped.nii.gz")
    assert np.abs(difference).max() <= 1
    assert main(["invert", "--transform", str(field), "--output", str(tmp_path / "Inverse.NII.Gz")]) == 0
    assert {"Inverse.NII.Gz", "Inverse_error.nii.gz"} < {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize(
    ("verb", "results"),
    [
        ("apply", ["out/moving.nii.gz", "out/points.csv"]),
        ("invert", ["inverse.nii.gz", "inverse_error.nii.gz"]),
        ("evaluate", ["scores.csv"]),
    ],
)
def test_files_are_replaced_only_with_overwrite(
    verb: str, results: list[str], scans: Path, registered: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "points.csv").write_text("x,y,z\n-30,-32,28\n")
    labels, transform = registered / "warped_labels.nii.gz", registered / "transform.nii.gz"
    arguments = {
        "apply": ["--reference", scans / "fixed.nii.gz", "--input", scans / "moving.nii.gz", "--points",
                  tmp_path / "points.csv", "--output", tmp_path / "out", "--device", "cpu"],
        "invert": ["--output", tmp_path / results[0], "--device", "cpu"],
        "evaluate": ["--fixed-labels", labels, "--warped-labels", labels, "--output", tmp_path / results[0]],
    }[verb]  # fmt: skip
    command = [verb, "--transform", str(transform), *map(str, arguments)]
    last = tmp_path / results[-1]
    last.parent.mkdir(exist_ok=True)
    last.symlink_to("nowhere")
    assert main(command) == 1
    assert f"{last}: exists already; replace it with --overwrite" in capsys.readouterr().err
    assert not any((tmp_path / name).exists() for name in results)
    assert main([*command, "--overwrite"]) == 0
    made = {name: (tmp_path / name).read_bytes() for name in results}
    assert not last.is_symlink()
    assert main(command) == 1
    last.write_bytes(b"of the user")
    assert main([*command, "--overwrite"]) == 0
    assert {name: (tmp_path / name).read_bytes() for name in results} == made


def test_names_that_the_system_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "loop").symlink_to("loop")
    for name in ("x" * 300, "/".join(["x" * 200] * 25), "loop"):
        path = str(tmp_path / name)
        for arguments in (
            ["register", "--fixed", path, "--moving", path, "--output", str(tmp_path / "out")],
            ["batch", "--images", path, "--output", str(tmp_path / "out")],
            ["report", path],
            ["train", "--dataset", path],
        ):
            with pytest.raises(SystemExit) as ended:
                main(arguments)
            assert ended.value.code == 2
            last = capsys.readouterr().err.splitlines()[-1]
            assert "no such f" in last or "cannot be read: " in last


def test_names_that_are_not_utf_8(scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """ITK ends the process at such a name."""
    name = str(tmp_path / os.fsdecode(b"\xff"))
    shutil.copy(scans / "moving.nii.gz", f"{name}.nii.gz")
    fixed = str(scans / "fixed.nii.gz")
    with pytest.raises(SystemExit):
        main(["register", "--fixed", fixed, "--moving", f"{name}.nii.gz", "--output", str(tmp_path / "out")])
    assert "this name is not UTF-8" in capsys.readouterr().err
    os.mkdir(name)
    with pytest.raises(SystemExit):
        main(["report", name])
    for arguments in (
        ["register", "--fixed", fixed, "--moving", fixed, "--output", name],
        ["invert", "--transform", fixed, "--output", f"{name}i.nii.gz"],
        ["apply", "--transform", fixed, "--reference", fixed, "--input", fixed, "--output", name],
        ["batch", "--images", str(scans), "--output", name],
    ):
        assert main(arguments) == 1
        assert "this name is not UTF-8" in capsys.readouterr().err


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


@pytest.mark.parametrize("verb", ["register", "apply", "invert", "evaluate"])
def test_help_shows_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([verb, "--help"])
    assert ended.value.code == 0
    assert f"example:\n  sacb {verb} --" in capsys.readouterr().out


def test_console_script_runs_from_anywhere(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from sacb_bundle.commands import main; raise SystemExit(main())", "evaluate"]
    environment = {"PYTHONPATH": str(ROOT), "PATH": ""}
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=environment)
    assert result.returncode == 1
    assert result.stderr.strip().splitlines()[-1].startswith("error: There is nothing to score")
