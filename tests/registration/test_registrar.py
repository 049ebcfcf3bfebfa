"""Register images with the Python API."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from monai.data import MetaTensor
from PIL import Image

import sacb_bundle as sacb
from sacb_bundle.commands import main
from sacb_bundle.data import phantom_pair
from sacb_bundle.errors import InputError
from sacb_bundle.files import file_hash, shipped_weights
from sacb_bundle.results.record import fault_of_record
from sacb_bundle.spatial import as_volume, read_transform
from tests.conftest import write

FIXED_AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])
# Another orientation, spacing and position.
MOVING_AFFINE = np.array([[0, 0, 2.2, -12], [-2, 0, 0, 90], [0, 2, 0, 3], [0, 0, 0, 1.0]])


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scans")
    pair = phantom_pair((32, 40, 32), amplitude=0.7)
    for role, affine in (("fixed", FIXED_AFFINE), ("moving", MOVING_AFFINE)):
        image, labels = (values if role == "fixed" else values.transpose(1, 2, 0)[::-1] for values in pair[role])
        write(folder / f"{role}.nii.gz", np.ascontiguousarray(image), affine)
        write(folder / f"{role}_labels.nii.gz", np.ascontiguousarray(labels), affine)
    return folder


@pytest.fixture(scope="module")
def registrar() -> sacb.Registrar:
    return sacb.Registrar(device="cpu", initial="center")


@pytest.fixture(scope="module")
def result(scans: Path, registrar: sacb.Registrar) -> sacb.Registration:
    return registrar(scans / "fixed.nii.gz", scans / "moving.nii.gz")


@pytest.fixture(scope="module")
def by_command(scans: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder that `sacb register` writes for the same pair."""
    output = tmp_path_factory.mktemp("command") / "out"
    files = [f"--{role.replace('_', '-')}={scans / f'{role}.nii.gz'}" for role in ("fixed", "moving", "moving_labels")]
    options = ["--output", str(output), "--device", "cpu", "--initial", "center", "--formats", "h5", "tfm", "learn2reg"]
    assert main(["register", *files, *options]) == 0
    return output


def voxels(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)


def as_meta_tensor(path: Path) -> MetaTensor:
    image = nib.load(path)
    return MetaTensor(torch.from_numpy(np.asarray(image.dataobj))[None], affine=torch.from_numpy(image.affine))


TYPES = {
    "text": (str, nib.Nifti1Image, lambda image: np.asarray(image.dataobj)),
    "path": (Path, nib.Nifti1Image, lambda image: np.asarray(image.dataobj)),
    "nibabel": (nib.load, nib.Nifti1Image, lambda image: np.asarray(image.dataobj)),
    "SimpleITK": (sitk.ReadImage, sitk.Image, lambda image: sitk.GetArrayFromImage(image).transpose(2, 1, 0)),
    "MetaTensor": (as_meta_tensor, MetaTensor, lambda image: image.numpy()[0]),
    "Volume": (lambda path: as_volume(path, "moving"), sacb.Volume, lambda image: image.values),
}


@pytest.mark.parametrize("name", TYPES)
def test_every_type_gives_the_voxels_of_the_command_in_its_own_type(
    name: str, scans: Path, registrar: sacb.Registrar, by_command: Path
) -> None:
    load, expected_type, values_of = TYPES[name]
    result = registrar(load(scans / "fixed.nii.gz"), load(scans / "moving.nii.gz"))
    assert type(result.warped) is expected_type
    expected = voxels(by_command / "warped.nii.gz")
    assert values_of(result.warped).dtype == expected.dtype
    assert np.array_equal(values_of(result.warped), expected)
    labels = result.warp_labels(load(scans / "moving_labels.nii.gz"))
    assert type(labels) is expected_type
    assert np.array_equal(values_of(labels), voxels(by_command / "warped_labels.nii.gz"))
    placed = as_volume(result.warped, "warped")
    assert np.allclose(placed.grid.affine, FIXED_AFFINE)


@pytest.mark.parametrize("make", [np.asarray, torch.from_numpy, np.ndarray.tolist])
def test_an_array_without_an_affine_is_refused(make: Any, scans: Path, registrar: sacb.Registrar) -> None:
    array = make(voxels(scans / "moving.nii.gz"))
    with pytest.raises(InputError, match="moving image is an array without an affine"):
        registrar(scans / "fixed.nii.gz", array)


def test_what_is_saved_is_what_the_command_writes(
    scans: Path, registrar: sacb.Registrar, by_command: Path, tmp_path: Path
) -> None:
    files = {role: scans / f"{role}.nii.gz" for role in ("fixed", "moving", "moving_labels")}
    result = registrar(**files)
    written = result.save(tmp_path / "out", formats=["h5", "tfm", "learn2reg"])
    assert {path.name for path in written.values()} | {"case.json"} == {path.name for path in by_command.iterdir()}
    assert written["learn2reg"].name == "disp_fixed_moving.nii.gz"
    for path in written.values():
        if path.suffix != ".h5":  # holds the time of writing
            assert path.read_bytes() == (by_command / path.name).read_bytes()


def test_nothing_is_written_unless_asked(
    scans: Path, registrar: sacb.Registrar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(scans.iterdir())
    result = registrar(scans / "fixed.nii.gz", scans / "moving.nii.gz")
    result.warp(scans / "moving.nii.gz")
    result.measures()
    result.picture()
    assert not list(tmp_path.iterdir())
    assert sorted(scans.iterdir()) == before


def test_the_same_pair_gives_the_same_bytes_after_other_pairs_and_in_threads(
    scans: Path, registrar: sacb.Registrar, result: sacb.Registration
) -> None:
    moving, fixed = scans / "moving.nii.gz", scans / "fixed.nii.gz"
    registrar(moving, fixed)
    with ThreadPoolExecutor(4) as pool:
        tasks = [pool.submit(registrar, *pair) for pair in [(fixed, moving), (moving, fixed)] * 3]
        results = [task.result() for task in tasks]
    for other in results[::2]:
        assert torch.equal(other.field, result.field)
        assert np.array_equal(other.resampled.displacement.vectors, result.resampled.displacement.vectors)


def test_series_are_warped_frame_by_frame(scans: Path, result: sacb.Registration) -> None:
    image = nib.load(scans / "moving.nii.gz")
    frames = [np.asarray(image.dataobj), np.asarray(image.dataobj) // 2]
    warped = result.warp(nib.Nifti1Image(np.stack(frames, axis=-1), image.affine))
    assert warped.shape == (32, 40, 32, 2)
    for number, frame in enumerate(frames):
        alone = result.warp(nib.Nifti1Image(frame, image.affine))
        assert np.array_equal(np.asarray(warped.dataobj)[..., number], np.asarray(alone.dataobj))
    channels = MetaTensor(torch.from_numpy(np.stack(frames)), affine=torch.from_numpy(image.affine))
    assert result.warp(channels).shape == (2, 32, 40, 32)


def test_points_follow_the_image_and_the_inverse_leads_back(scans: Path, result: sacb.Registration) -> None:
    labels = as_volume(scans / "moving_labels.nii.gz", "labels")
    inside = labels.grid.to_world(np.argwhere(labels.values == 2)[::50])
    carried = result.warp_points(inside)
    assert np.linalg.norm(result.transform.map_points(carried) - inside, axis=1).max() < 0.1
    inverse = result.inverse()
    assert inverse.displacement is not None
    assert inverse.displacement.grid.coincides_with(labels.grid)
    assert np.linalg.norm(inverse.map_points(inside) - carried, axis=1).max() < 0.2
    with pytest.raises(InputError, match=r"points has shape \(3,\); it must be \(N, 3\)"):
        result.warp_points(inside[0])


def test_measures_take_label_maps_of_any_kind(
    scans: Path, registrar: sacb.Registrar, result: sacb.Registration
) -> None:
    assert "dice_after" not in result.measures()
    files = {role: scans / f"{role}.nii.gz" for role in ("fixed", "moving", "fixed_labels", "moving_labels")}
    expected = registrar(**files).measures()
    given = result.measures(nib.load(files["fixed_labels"]), sitk.ReadImage(files["moving_labels"]))
    assert given == expected
    assert expected["dice_after"] > expected["dice_before"]
    with pytest.raises(InputError, match=r"The fixed label map has .* resample one onto the other"):
        result.measures(files["moving_labels"], files["moving_labels"])


def test_what_is_saved_does_not_depend_on_what_was_measured(
    scans: Path, registrar: sacb.Registrar, tmp_path: Path
) -> None:
    files = {role: scans / f"{role}.nii.gz" for role in ("fixed", "moving", "fixed_labels", "moving_labels")}
    result = registrar(**files)
    some = result.measures(labels=[3])
    result.save(tmp_path / "all")
    result.save(tmp_path / "some", measures=some)
    saved = {name: json.loads((tmp_path / name / "case.json").read_text())["measures"] for name in ("all", "some")}
    assert saved == {"all": result.measures(), "some": some}
    assert [row["label"] for row in some["labels"]] == [3]
    assert len(saved["all"]["labels"]) > 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((None,), "None: is not a path that a file or folder can have"),
        (("",), "'': is not a path that a file or folder can have"),
        (("a\0b",), r"'a\\x00b': is not a path that a file or folder can have"),
        (("out", None), "formats is None; it must be a list of some of h5, tfm, learn2reg"),
        (("out", [["h5"]]), r"formats is \[\['h5'\]\]; it must be a list"),
    ],
)
def test_arguments_of_save_are_checked(
    arguments: tuple[Any, ...],
    message: str,
    result: sacb.Registration,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        result.save(*arguments)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"note": float("nan")}, "can hold only text, finite numbers, lists and dictionaries: "),
        ({"note": Path("x")}, "can hold only text, finite numbers, lists and dictionaries: "),
        ({"seconds": {"register": float("nan")}}, r"The record cannot hold these values of seconds\."),
        ({"inputs": "x.nii", "settings": 5}, r"The record cannot hold these values of inputs, settings\."),
    ],
)
def test_facts_that_no_record_holds(
    facts: dict[str, Any], message: str, result: sacb.Registration, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        result.save(tmp_path / "out", facts=facts)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("points", ["a", None, [["a", "b", "c"]], [[1, 2], [3, 4, 5]], [[1, 2, float("nan")]]])
def test_points_are_numbers(points: Any, result: sacb.Registration) -> None:
    for use in (result.warp_points, result.transform.map_points):
        with pytest.raises(InputError, match=r"^points "):
            use(points)


def test_the_record_of_the_command_holds_its_options(by_command: Path) -> None:
    record = json.loads((by_command / "case.json").read_text())
    assert record["settings"] == ""  # a hash in a study
    options = {"spacing_mm": "auto", "initial": "center", "modality": "auto", "label_interpolation": "nearest"}
    assert record["options"].items() >= options.items()
    assert record["weights"] == file_hash(shipped_weights())
    assert fault_of_record(by_command) == ""


@pytest.mark.parametrize("labels", [31, "31", [0, 31], [31.5], [True, "x"]])
def test_labels_to_score_are_label_values(labels: Any, scans: Path, registrar: sacb.Registrar) -> None:
    files = {role: scans / f"{role}.nii.gz" for role in ("fixed", "moving", "fixed_labels", "moving_labels")}
    with pytest.raises(InputError, match="it must be a list of label values, whole numbers above 0"):
        registrar(**files).measures(labels=labels)


def test_label_maps_of_another_place_are_refused(scans: Path, result: sacb.Registration) -> None:
    far = np.diag([2.0, 2.0, 2.0, 1.0])
    far[:3, 3] = 5000
    labels = nib.Nifti1Image(voxels(scans / "moving_labels.nii.gz"), far)
    for use in (lambda: result.measures(scans / "fixed_labels.nii.gz", labels), lambda: result.warp_labels(labels)):
        with pytest.raises(InputError, match="Does it belong to the moving image"):
            use()


def test_the_warped_labels_have_the_type_of_the_moving_image(scans: Path, registrar: sacb.Registrar) -> None:
    files = {role: scans / f"{role}.nii.gz" for role in ("fixed", "moving", "moving_labels")}
    result = registrar(**files)
    assert type(result.warped_labels) is type(result.warped) is nib.Nifti1Image
    assert registrar(files["fixed"], files["moving"]).warped_labels is None
    assert repr(result).startswith("<Registration of moving onto fixed: 32x40x32 voxels")


def test_a_notebook_shows_the_picture(result: sacb.Registration, tmp_path: Path) -> None:
    (tmp_path / "shown.jpg").write_bytes(result._repr_jpeg_())
    with Image.open(tmp_path / "shown.jpg") as shown:
        assert shown.size == result.picture().size


def test_the_transform_in_the_file_is_that_in_memory(by_command: Path, result: sacb.Registration) -> None:
    places = result.fixed_grid.lattice(5)
    in_file = read_transform(by_command / "transform.nii.gz").map_points(places)
    assert np.abs(in_file - result.transform.map_points(places)).max() < 2e-3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": ""}, "'': is not a path that a file or folder can have"),
        ({"weights": 5}, "5: is not a path that a file or folder can have"),
        ({"weights": "."}, r"\.: is a folder; a checkpoint file is needed"),
        ({"weights": "nowhere.pt"}, r"nowhere\.pt: no such checkpoint file"),
        ({"device": "tpu"}, "device is 'tpu', which is not available"),
        ({"initial": "elastic"}, "initial is 'elastic'; it must be one of none, center, rigid, affine"),
        ({"modality": "us"}, "modality is 'us'; it must be one of auto, mr, ct"),
        ({"spacing": "2"}, "spacing is '2'; it must be auto, or a number of mm"),
        ({"spacing": 0}, "spacing is 0; it must be auto, or a number of mm"),
        ({"label_interpolation": "cubic"}, "label_interpolation is 'cubic'"),
    ],
)
def test_options_are_checked_at_once(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        sacb.Registrar(**{"device": "cpu"} | options)


def test_the_room_needs_no_monai(scans: Path, tmp_path: Path) -> None:
    program = (
        "import sys, sacb_bundle as sacb\n"
        "result = sacb.Registrar(device='cpu', initial='none')(sys.argv[1], sys.argv[1])\n"
        "result.save(sys.argv[2])\n"
        "assert not {'monai', 'ignite', 'matplotlib'} & sys.modules.keys()\n"
    )
    command = [sys.executable, "-c", program, str(scans / "fixed.nii.gz"), str(tmp_path / "out")]
    subprocess.run(command, check=True)
    assert (tmp_path / "out" / "case.json").is_file()
