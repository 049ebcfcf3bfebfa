"""Small data in the form of each download."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from scipy.ndimage import gaussian_filter

from sacb_bundle.data import phantom_pair
from sacb_bundle.datasets import lpba40
from sacb_bundle.datasets.prepare import prepare
from tests.conftest import write

# (right, anterior, superior)
SHAPE = (20, 28, 24)
PHANTOM = (32, 32, 32)
# FreeSurfer's labels for those of the phantom from 1: white matter, cortex, ventricles, hippocampi, cerebellum.
ASEG = np.array([0, 2, 3, 4, 43, 17, 53, 47])


def run(name: str, raw: Path, out: Path, **options: Any) -> Path:
    """Prepare a data set, and return the folder."""
    prepare(name, raw, out, **options)
    return out


def stored(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)


def blocks(places: dict[int, tuple[float, float, float]], shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """A label map of cubes around places (right, anterior, superior) from -1 to 1."""
    labels = np.zeros(shape, np.uint8)
    for label, place in places.items():
        middle = [round((1 + share) / 2 * (size - 1)) for share, size in zip(place, shape, strict=True)]
        labels[tuple(slice(index - 1, index + 2) for index in middle)] = label
    return labels


def textured(labels: np.ndarray, seed: int) -> np.ndarray:
    """An image of an ellipsoid, brighter in labels, with texture of its own."""
    places = [np.linspace(-1, 1, size) for size in labels.shape]
    radius = sum(place**2 for place in np.meshgrid(*places, indexing="ij"))
    noise = gaussian_filter(np.random.default_rng(seed).standard_normal(labels.shape), 1)
    return np.where(radius < 0.9, 0.5 + 0.4 * (labels > 0) + 0.1 * noise, 0).astype(np.float32)


def ixi_labels() -> np.ndarray:
    """Labels that tell left and right, front and back, top and bottom of a brain."""
    return blocks({
        1: (-0.5, 0, 0.5), 21: (0.5, 0, 0.5), 8: (-0.2, 0.5, 0.2), 28: (0.2, 0.5, 0.2), 6: (-0.3, -0.6, -0.3),
        26: (0.3, -0.6, -0.3), 7: (-0.2, 0, 0.1), 27: (0.2, 0, 0.1), 13: (0, -0.1, -0.7),
    })  # fmt: skip


def pickled_ixi(root: Path, counts: tuple[int, int, int] = (2, 2, 2), protocol: int = 4) -> Path:
    """Pickles (image, labels), whose axes run left, inferior and anterior."""
    names = [f"{part}/subject_{part}{number}" for part, count in zip(("Train", "Val", "Test"), counts, strict=True)
             for number in range(count)]  # fmt: skip
    for number, name in enumerate(["atlas", *names]):
        image, labels = (
            np.ascontiguousarray(array[::-1, :, ::-1].transpose(0, 2, 1))
            for array in (textured(ixi_labels(), number), ixi_labels().astype(np.int16))
        )
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / f"{name}.pkl").write_bytes(pickle.dumps((image, labels), protocol=protocol))
    return root


def freesurfer_ixi(root: Path, subjects: int = 6) -> Path:
    """Folders with norm.mgz and aseg.mgz, each shifted in the world, and with 1 of an unknown label."""
    for number, name in enumerate(["atlas", *(f"IXI{index:03}" for index in range(subjects))]):
        image, labels = phantom_pair(PHANTOM, seed=number, amplitude=0.3)["fixed"]
        labels = ASEG[labels].astype(np.int32)
        labels[0, 0, 0] = 1001
        affine = np.diag([2.0, 2, 2, 1])
        affine[:3, 3] = number * np.array([3, -4, 5])
        folder = root / name / ("mri" if number == 1 else "")
        folder.mkdir(parents=True)
        for stem, values in (("norm", image), ("aseg", labels)):
            nib.save(nib.MGHImage(values, affine), folder / f"{stem}.mgz")
    return root


def lpba(root: Path, subjects: int = 6, analyze: bool = True) -> Path:
    """Folders S01 ... in Analyze, whose axes run posterior, superior and right, or in NIfTI on one grid."""
    labels = blocks({
        21: (-0.3, 0.6, 0.2), 22: (0.3, 0.6, 0.2), 61: (-0.3, -0.6, 0), 62: (0.3, -0.6, 0), 43: (-0.3, -0.2, 0.7),
        44: (0.3, -0.2, 0.7), 85: (-0.5, 0.1, -0.5), 86: (0.5, 0.1, -0.5), 182: (0, -0.2, -0.7),
    })  # fmt: skip
    for number in range(1, subjects + 1):
        files = {"delineation.skullstripped": textured(labels, 0), "delineation.structure.label": labels}
        for kind, values in files.items():
            path = root / f"S{number:02}" / f"S{number:02}.{kind}"
            path.parent.mkdir(parents=True, exist_ok=True)
            if analyze:
                scaled = (200 * values).astype(np.int16) if "skull" in kind else values
                image = nib.AnalyzeImage(scaled[:, ::-1].transpose(1, 2, 0), np.diag([-2.0, 1.5, 1.5, 1]))
                nib.save(image, f"{path}.hdr")
            else:
                write(Path(f"{path}.nii.gz"), values, np.eye(4))
    assert lpba40.EVAL_LABELS[:2] == (21, 22)
    return root


def abdomen(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A phantom in HU."""
    image, labels = phantom_pair(PHANTOM, seed=seed, amplitude=0.5)["fixed"]
    return 5 * image.astype(np.int16) - 1000, labels


def learn2reg(root: Path, name: str, subjects: int = 6) -> Path:
    """imagesTr/ and labelsTr/ on one grid, whose first voxel is at (10, 20, 30)."""
    affine = np.diag([2.0, 2, 2, 1])
    affine[:3, 3] = (10, 20, 30)
    for number in range(1, subjects + 1):
        for folder, values in zip(("imagesTr", "labelsTr"), abdomen(number), strict=True):
            write(root / folder / f"{name}_{number:04}_0000.nii.gz", values, affine)
    return root


def synapse(root: Path, subjects: int = 6) -> Path:
    """RawData/Training/, each on a grid of its own; all are the same phantom."""
    image, labels = abdomen(0)
    for number in range(1, subjects + 1):
        affine = np.diag([-2.0, 2, 2, 1])
        affine[:3, 3] = (62 + 6 * number, 0, -9 * number)
        training = root / "RawData" / "Training"
        write(training / "img" / f"img{number:04}.nii.gz", image[::-1], affine)
        write(training / "label" / f"label{number:04}.nii.gz", labels[::-1], affine)
    return root


def images(root: Path, subjects: int = 6, labelled: bool = True) -> Path:
    """images/ and labels/ on one grid."""
    for number in range(subjects):
        image, labels = abdomen(number)
        write(root / "images" / f"s{number}.nii.gz", image)
        if labelled:
            write(root / "labels" / f"s{number}.nii.gz", labels)
    return root
