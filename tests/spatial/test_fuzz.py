"""Damaged files are refused with an InputError, or read as nibabel and SimpleITK read them where these agree."""

from __future__ import annotations

import gzip
import json
import random
import resource
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from sacb_bundle.errors import InputError
from sacb_bundle.spatial import read_grid, read_transform, read_volume, with_points_moved

AFFINE = np.array([[2.0, 0, 0, -10], [0, 3, 0, -20], [0, 0, 4, -30], [0, 0, 0, 1]])
POINTS = np.array([[-1.0, -2, 3], [-5, -4, 6]])
LARGEST_GROWTH_KIB = 2**18
NUMBERS = (0, 1, -1, 2, 3, 5, 7, 16, 255, 348, 352, 540, 1000, 32767, -32768, 10**9)
WORDS = (
    b"", b" ", b"\n", b"\r\n", b"\t", b",", b";", b":", b'"', b"\0", b"\xff", b"\xef\xbb\xbf", b"nan", b"inf", b"-1",
    b"1e400", b"0", b"999999999999", b"9" * 5000, b"1_0", b"\xd9\xa3", b"LIST", b"/dev/zero", b"%d", b"null",
    b"[]", b"{}", b"[[", b"#Transform 2\n", b"True", b"\\ud800", b"CompositeTransform_double_3_3",
)  # fmt: skip
FIELDS = [(offset, dtype) for dtype, offset in (value[:2] for value in nib.nifti1.header_dtype.fields.values())]


def seeds(folder: Path) -> dict[str, bytes]:
    """Make a small whole file of each kind."""
    image = nib.Nifti1Image(np.arange(210, dtype=np.int16).reshape(5, 6, 7), AFFINE)
    image.set_qform(AFFINE, 1)
    field = nib.Nifti1Image(np.random.default_rng(0).normal(size=(5, 6, 7, 1, 3)).astype(np.float32), AFFINE)
    field.header.set_intent("vector")
    made = {"image.nii": image.to_bytes(), "field.nii": field.to_bytes()}
    made |= {f"{name}.gz": gzip.compress(content, mtime=0) for name, content in made.items()}
    affine = sitk.AffineTransform((1.1, 0.1, 0, 0, 0.9, 0, 0, 0.05, 1), (1.5, -2.25, 3.125), (10, 20, -30.5))
    euler = sitk.Euler3DTransform((1, 2, 3.5), 0.1, 0.2, -0.3, (4, 5, 6))
    voxels = sitk.GetImageFromArray(np.asarray(image.dataobj).T)
    for name in ("affine.tfm", "affine.mat"):
        sitk.WriteTransform(affine, str(folder / name))
    sitk.WriteTransform(sitk.CompositeTransform([affine, euler]), str(folder / "composite.txt"))
    for name in ("image.mha", "image.nrrd", "image.packed.mha", "image.packed.nrrd"):
        sitk.WriteImage(voxels, str(folder / name), "packed" in name)
    made |= {path.name: path.read_bytes() for path in folder.iterdir()}
    control = [{"position": [1.0, 2, 3], "positionStatus": "defined"}, {"position": [4.0, 5, 6]}]
    markups = {"markups": [{"type": "Fiducial", "coordinateSystem": "RAS", "controlPoints": control}]}
    return made | {"points.csv": b"name,x,y,z\na,1,2,3\nb,4.5,-5,6\n", "points.json": json.dumps(markups).encode()}


def damaged(rng: random.Random, name: str, content: bytes) -> bytes:
    """Change one to three places of a file: fields of a NIfTI header, or bytes and words."""
    if name.endswith(".nii.gz") and rng.random() < 0.6:
        return gzip.compress(damaged(rng, name.removesuffix(".gz"), gzip.decompress(content)), mtime=0)
    raw = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 3))):
        place, kind = rng.randrange(len(raw) + 1), rng.random()
        if name.endswith(".nii") and kind < 0.7:
            offset, dtype = rng.choice(FIELDS)
            value = rng.choice((*NUMBERS, np.nan, np.inf, 1e-30)) if dtype.base.kind == "f" else rng.choice(NUMBERS)
            part = rng.randrange(max(1, dtype.itemsize // dtype.base.itemsize))
            with np.errstate(all="ignore"):
                changed = np.array(value).astype(dtype.base if dtype.base.kind in "iuf" else np.uint8).tobytes()
            start = offset + part * dtype.base.itemsize
            raw[start : start + len(changed)] = changed
        elif kind < 0.8:
            raw[place : place + rng.choice((0, 0, 1, 4))] = rng.choice(WORDS)
        elif kind < 0.9:
            raw[place : place + 1] = bytes([rng.randrange(256)])
        elif kind < 0.95:
            del raw[place:]
        else:
            raw[place:place] = raw[place : place + rng.randrange(200)]
    return bytes(raw)


def their_volume(path: Path) -> np.ndarray | None:
    """Read a volume by nibabel and SimpleITK; None if one of them fails, or they disagree."""
    try:
        image = sitk.ReadImage(str(path))
        values = sitk.GetArrayFromImage(image).T
        by_itk = [image.TransformContinuousIndexToPhysicalPoint(corner) for corner in np.eye(4, 3).tolist()]
        if path.name.endswith((".nii", ".nii.gz")):
            theirs = nib.load(path)
            by_nibabel = (theirs.affine @ np.vstack([np.eye(4, 3).T, np.ones(4)]))[:3].T * [-1, -1, 1]
            if not np.allclose(by_nibabel, by_itk, rtol=1e-3, atol=1e-3) or theirs.shape[:3] != values.shape[:3]:
                return None
            if not np.allclose(np.asanyarray(theirs.dataobj).reshape(values.shape), values, rtol=1e-5, equal_nan=True):
                return None
    except Exception:  # whatever the other programs raise
        return None
    return None if values.ndim != 3 else values


def check_volume(path: Path) -> None:
    ours = read_volume(path)
    assert read_grid(path).shape == ours.grid.shape
    theirs = their_volume(path)
    if theirs is not None:
        np.testing.assert_allclose(ours.values, theirs, rtol=1e-5, atol=1e-30)


def check_transform(path: Path) -> None:
    ours = read_transform(path)
    if ours.displacement is None:
        try:
            theirs = sitk.ReadTransform(str(path))
        except RuntimeError:
            return
        signs = np.array([-1.0, -1, 1])
        moved = np.array([theirs.TransformPoint((signs * point).tolist()) for point in POINTS]) * signs
        np.testing.assert_allclose(ours.map_points(POINTS), moved, rtol=1e-4, atol=1e-3)


def check_points(path: Path) -> None:
    given: list[np.ndarray] = []
    text = with_points_moved(path, lambda points: given.append(points) or points, "RAS")
    path.write_text(text, encoding="utf-8", newline="")
    before = given[0]
    with_points_moved(path, lambda points: given.append(points) or points, "RAS")
    np.testing.assert_allclose(given[1], before, rtol=1e-6, atol=1e-6)


CHECKS: dict[str, Callable[[Path], object]] = {
    "image": check_volume, "field": check_transform, "affine": check_transform, "composite": check_transform,
    "points": check_points,
}  # fmt: skip


def refusal(check: Callable[[Path], object], path: Path) -> str:
    """Return the message of the InputError for a file; "" if it is read."""
    try:
        check(path)
    except InputError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=pytest.mark.slow)])
def test_damaged_files_are_refused_or_read_as_others_read_them(count: int, tmp_path: Path) -> None:
    whole = seeds(tmp_path)
    folder = tmp_path / "damaged"
    folder.mkdir()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    results = {"read": 0, "refused": 0}
    for number in range(count):
        rng = random.Random(number)
        name = rng.choice(sorted(whole))
        content = damaged(rng, name, whole[name])
        path = folder / name
        path.write_bytes(content)
        try:
            refused = refusal(CHECKS[name.partition(".")[0]], path)
        except Exception as error:
            raise AssertionError(f"number {number}, {name}: {content[:2000]!r}") from error
        assert refused.isprintable(), number
        results["refused" if refused else "read"] += 1
    assert min(results.values()) > count / 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < LARGEST_GROWTH_KIB
