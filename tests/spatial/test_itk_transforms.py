"""ITK transform files that are truncated, of another kind or hold positions are refused; others are read as they
are."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch

from sacb_bundle.errors import InputError
from sacb_bundle.spatial import DisplacementField, Grid, Transform, read_transform, write_composite
from tests.spatial.geometries import GEOMETRIES, indices, smooth_transform

# Within the field of the composite.
POINTS = np.array([[0.0, 0, 0], [-6, -5, 4], [-3, -8, 7]])
MARK = "#Insight Transform File V1.0\n"
AFFINE = (
    "#Transform 0\nTransform: AffineTransform_double_3_3\nParameters: 1 0 0 0 1 0 0 0 1 5 6 7\nFixedParameters: 0 0 0\n"
)


def affine() -> sitk.Transform:
    transform = sitk.AffineTransform(3)
    transform.SetMatrix([1.1, 0.1, 0, 0, 0.9, 0, 0, 0.05, 1])
    transform.SetTranslation([1.5, -2.25, 3.125])
    transform.SetCenter([10, 20, -30.5])
    return transform


def rigid() -> sitk.Transform:
    transform = sitk.Euler3DTransform()
    transform.SetRotation(0.1, 0.2, -0.3)
    transform.SetTranslation([1.5, -2.25, 3.125])
    transform.SetCenter([1, 2, 3.5])
    return transform


def field() -> sitk.Transform:
    vectors = np.random.default_rng(0).normal(size=(3, 4, 5, 3)).round(3)
    image = sitk.GetImageFromArray(vectors, isVector=True)
    image.SetSpacing((2, 3, 4))
    return sitk.DisplacementFieldTransform(image)


MADE = {
    "affine": affine,
    "rigid": rigid,
    "similarity": lambda: sitk.Similarity3DTransform(1.1, (0, 0, 1), 0.3, (1, 2, 3), (4, 5, 6)),
    "translation": lambda: sitk.TranslationTransform(3, (1.5, 2.5, 3.5)),
    "composite": lambda: sitk.CompositeTransform([affine(), field()]),
    "of affines": lambda: sitk.CompositeTransform([affine(), rigid()]),
}
FILES = [(name, ending) for name in MADE for ending in (".tfm", ".txt", ".mat", ".h5")
         if ending != ".mat" or "of affines" != name != "composite"]  # fmt: skip


def written(name: str, ending: str, folder: Path) -> tuple[Path, sitk.Transform]:
    transform = MADE[name]()
    path = folder / f"transform{ending}"
    sitk.WriteTransform(transform, str(path))
    return path, transform


def moved_by_itk(transform: sitk.Transform) -> np.ndarray:
    signs = np.array([-1.0, -1, 1])
    return np.array([transform.TransformPoint((signs * point).tolist()) for point in POINTS]) * signs


@pytest.mark.parametrize(("name", "ending"), FILES)
def test_read_as_itk_does_whatever_the_case_of_its_ending(name: str, ending: str, tmp_path: Path) -> None:
    path, transform = written(name, ending, tmp_path)
    shown = path.rename(tmp_path / f"Transform{ending.upper()}")
    np.testing.assert_allclose(read_transform(shown).map_points(POINTS), moved_by_itk(transform), atol=1e-4)


@pytest.mark.parametrize(("name", "ending"), FILES)
def test_every_file_that_is_cut_short_is_refused(name: str, ending: str, tmp_path: Path) -> None:
    path, _ = written(name, ending, tmp_path)
    content = path.read_bytes()
    for length in range(0, len(content), 97 if ending == ".h5" else 1):
        path.write_bytes(content[:length])
        with pytest.raises(InputError, match=r"^\S+transform\.[a-z0-9]+: "):
            read_transform(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (AFFINE.replace("7\n", "seven\n"), "its Parameters are not all finite numbers"),
        (AFFINE.replace(" 7\n", " nan\n"), "its Parameters are not all finite numbers"),
        (AFFINE.replace(" 7\n", "\n"), "AffineTransform has 11 parameters and 3 fixed ones, but needs 12 and 3"),
        (AFFINE.replace(" 7\n", " 7 8\n"), "AffineTransform has 13 parameters"),
        (AFFINE.replace(": 0 0 0\n", ": \n"), "12 parameters and 0 fixed ones"),
        (AFFINE.replace("FixedParameters: 0 0 0\n", ""), "needs the lines Transform, Parameters and FixedParameters"),
        (AFFINE.replace("_3_3", "_2_2"), "2 dimensions"),
        (AFFINE.replace("AffineTransform", "BSplineTransform"), "holds a BSplineTransform at position 1"),
        (AFFINE.replace("AffineTransform_double_3_3", "x"), "holds a x at position 1"),
        (AFFINE + "more words\n", "needs the lines"),
        (AFFINE + "#Transform 1\n", "has lines for 2 transforms, but 1"),
        (AFFINE + AFFINE, "holds 2 transforms, but no composite"),
        ("#Transform 0\nTransform: CompositeTransform_double_3_3\n" + AFFINE, "a composite of one transform"),
        (
            "Transform: DisplacementFieldTransform_double_3_3\nParameters: 1 2 3\n"
            "FixedParameters: 1e9 1e9 1e9 0 0 0 1 1 1 1 0 0 0 1 0 0 0 1\n",
            "its field has 3 numbers",
        ),
        (
            "Transform: DisplacementFieldTransform_double_3_3\nParameters: 1 2 3\n"
            "FixedParameters: 1 1 1 0 0 0 0 1 1 1 0 0 0 1 0 0 0 1\n",
            "which is damaged",
        ),
    ],
)  # fmt: skip
def test_text_that_itk_would_misread_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "transform.tfm").write_text(MARK + text)
    with pytest.raises(InputError, match=message):
        read_transform(tmp_path / "transform.tfm")


@pytest.mark.parametrize("text", [
    MARK + AFFINE,
    (MARK + AFFINE).replace("\n", "\r\n"),
    MARK + AFFINE + "\n\n",
    MARK + AFFINE.replace("#Transform 0\n", ""),
    MARK + AFFINE.replace("#Transform 0\n", "# Transform 0\n# by hand\n"),
    MARK + AFFINE.replace("AffineTransform_double", "MatrixOffsetTransformBase_float"),
])  # fmt: skip
def test_text_as_programs_and_people_write_it(text: str, tmp_path: Path) -> None:
    (tmp_path / "transform.txt").write_bytes(text.encode())
    np.testing.assert_allclose(
        read_transform(tmp_path / "transform.txt").map_points(POINTS), POINTS + np.array([-5, -6, 7]), atol=1e-5
    )


@pytest.mark.parametrize("raw", [b"PK\x03\x04" + bytes(600), b"", b"\0" * 30, b"version https://git-lfs.github.com\n"])
@pytest.mark.parametrize("ending", [".tfm", ".mat", ".h5"])
def test_what_is_no_transform_is_named(raw: bytes, ending: str, tmp_path: Path) -> None:
    (tmp_path / f"transform{ending}").write_bytes(raw)
    with pytest.raises(InputError, match=r"not an ITK transform; it (is|holds) "):
        read_transform(tmp_path / f"transform{ending}")


def stored_field(vectors: np.ndarray, on: Grid, path: Path, code: int = 1007) -> Path:
    image = nib.Nifti1Image(vectors.astype(np.float32)[:, :, :, None], on.affine)
    image.header["intent_code"] = code
    path.write_bytes(gzip.compress(image.to_bytes()))  # nibabel would save it under another case of the name
    return path


@pytest.mark.parametrize("kind", ["LPS", "RAS", "voxels"])
@pytest.mark.parametrize("turned", [0.0, 2.5])
@pytest.mark.parametrize("name", ["RAS", "oblique PIR 1x1x5"])
def test_positions_are_no_displacements(name: str, turned: float, kind: str, tmp_path: Path) -> None:
    on = GEOMETRIES[name]
    rotation = np.eye(4)
    rotation[:2, :2] = [[np.cos(turned), -np.sin(turned)], [np.sin(turned), np.cos(turned)]]
    transform = Transform(rotation, smooth_transform().displacement)
    places = transform.map_points(on.to_world(indices(on.shape)))
    vectors = {"RAS": places, "LPS": places * [-1, -1, 1], "voxels": on.to_index(places)}[kind]
    path = stored_field(vectors.reshape(*on.shape, 3), on, tmp_path / "field.nii.gz")
    with pytest.raises(InputError, match="its vectors are positions, not displacements"):
        read_transform(path)
    displacements = (places - on.to_world(indices(on.shape))) * [-1, -1, 1]
    path = stored_field(displacements.reshape(*on.shape, 3), on, tmp_path / "Field.Nii.gz")
    np.testing.assert_allclose(read_transform(path).map_points(on.to_world(indices(on.shape))), places, atol=1e-2)


def test_positions_in_a_composite_are_no_displacements(tmp_path: Path) -> None:
    on = GEOMETRIES["RAS"]
    vectors = torch.from_numpy(on.to_world(indices(on.shape)).T.reshape(3, *on.shape)).float()
    write_composite(Transform(displacement=DisplacementField(vectors, on)), tmp_path / "transform.h5")
    with pytest.raises(InputError, match="its vectors are positions"):
        read_transform(tmp_path / "transform.h5")


@pytest.mark.parametrize("scale", [0.6, 1.0, 1.6])
def test_large_and_far_displacements_stay_displacements(scale: float, tmp_path: Path) -> None:
    on = GEOMETRIES["RAS"]
    places = on.to_world(indices(on.shape))
    moved = (places * scale + 1000) * [-1, 1, -1]  # rotated about the second axis, and far away
    vectors = ((moved - places) * [-1, -1, 1]).reshape(*on.shape, 3)
    read = read_transform(stored_field(vectors, on, tmp_path / "field.nii.gz"))
    np.testing.assert_allclose(read.map_points(places), moved, atol=1e-2)


@pytest.mark.parametrize(("code", "signs"), [(0, (-1, -1, 1)), (1006, (1, 1, 1)), (1007, (-1, -1, 1)), (1008, None)])
def test_the_intent_tells_the_space_of_vectors(code: int, signs: tuple | None, tmp_path: Path) -> None:
    vectors = np.broadcast_to([1.0, 2, 3], (4, 5, 6, 3))
    path = stored_field(vectors, Grid((4, 5, 6), np.eye(4)), tmp_path / "field.nii.gz", code)
    if signs is None:
        with pytest.raises(InputError, match="its intent has the code 1008"):
            read_transform(path)
        return
    moved = read_transform(path).map_points(POINTS) - POINTS
    np.testing.assert_allclose(moved, np.broadcast_to(np.array([1, 2, 3]) * signs, (3, 3)))
    if code:
        theirs = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))[0, 0, 0]
        np.testing.assert_allclose(moved[0], theirs * [-1, -1, 1])
