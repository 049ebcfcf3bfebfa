"""Build difficult inputs from pairs of scans: headers, intensities, sizes, containers and transforms."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from sacb_bundle.spatial import DisplacementField, Grid, Transform, read_grid, write_composite

# Files by role: fixed, moving, fixed_labels, moving_labels, and other, an image of another part of the body; a builder
# may add a mask or a transform.
Inputs = Mapping[str, Path]
Builder = Callable[[Inputs, Path, np.random.Generator], Inputs]

BRAINS, HIPPOCAMPI, NECKS, ABDOMENS = "oasis_malf_2mm", "hippocampus_msd", "openkbp_hn_ct_3mm", "btcv_abdomen_ct"
SETS = (BRAINS, HIPPOCAMPI, NECKS, ABDOMENS)
LARGEST_SHIFT_MM = 80.0
SLAB_SLICES = 5
KEPT_SHARE = 0.6
BODY_FROM = 0.02
LARGEST_AIR_HU = -500
BEGINNING_OF_POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:"


@dataclass(frozen=True)
class Kind:
    """A kind of difficult input.

    Attributes:
        name: name in the table.
        build: function that writes the changed files into a folder and returns all files by role.
        refusal: pattern of the error with which it must be refused; empty if it must be registered.
        wrong: whether the images do not belong together, so that no result may be called good.
        cropped: whether images were cropped, but kept their position in the world.
        sets: sets of scans from which the kind is built.
    """

    name: str
    build: Builder
    refusal: str = ""
    wrong: bool = False
    cropped: bool = False
    sets: Sequence[str] = SETS


def values_of(image: nib.Nifti1Image) -> np.ndarray:
    """Read the voxels of an image.

    Args:
        image: image.

    Returns:
        Its voxels, fp32 if they are scaled.
    """
    values = np.asanyarray(image.dataobj)
    return values.astype(np.float32) if values.dtype == np.float64 else values


def with_affines(
    inputs: Inputs, folder: Path, scans: Sequence[str], place: Callable[[np.ndarray], np.ndarray]
) -> Inputs:
    """Change the headers of scans and of their label maps.

    Args:
        inputs: files by role.
        folder: folder of the changed files.
        scans: "fixed", "moving" or both.
        place: function from the affine of a header to the new one.

    Returns:
        The files by role.
    """
    changed = dict(inputs)
    for role in (f"{scan}{kind}" for scan in scans for kind in ("", "_labels")):
        if role in inputs:
            image = nib.Nifti1Image.from_filename(inputs[role])
            changed[role] = _saved(nib.Nifti1Image(values_of(image), place(image.affine)), folder, role)
    return changed


def turned(inputs: Inputs, folder: Path, rng: np.random.Generator, angle: float | None = None) -> Inputs:
    """Rotate the header of the moving scan about a random axis through its middle, and shift it.

    Args:
        inputs: files by role.
        folder: folder of the changed files.
        rng: random numbers.
        angle: angle in degrees; by default a random one from 10 to 180.

    Returns:
        The files by role.
    """
    axis, degrees = rng.standard_normal(3), rng.uniform(10, 180) if angle is None else angle
    middle = read_grid(inputs["moving"]).corners.mean(axis=0)
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(degrees * axis / np.linalg.norm(axis), degrees=True).as_matrix()
    shift = rng.uniform(-1, 1, 3)
    shift *= rng.uniform(0, LARGEST_SHIFT_MM) / np.linalg.norm(shift)
    matrix[:3, 3] = middle + shift - matrix[:3, :3] @ middle
    return with_affines(inputs, folder, ["moving"], lambda affine: matrix @ affine)


def mirrored(inputs: Inputs, folder: Path, rng: np.random.Generator) -> Inputs:
    """Mirror the header of the moving scan, left to right.

    Args:
        inputs: files by role.
        folder: folder of the changed files.
        rng: random numbers.

    Returns:
        The files by role.
    """
    mirror = np.diag([-1.0, 1, 1, 1])
    mirror[0, 3] = 2 * read_grid(inputs["moving"]).corners.mean(axis=0)[0]
    return with_affines(inputs, folder, ["moving"], lambda affine: mirror @ affine)


def _saved(image: nib.Nifti1Image, folder: Path, role: str) -> Path:
    """Write an image."""
    path = folder / f"{role}.nii.gz"
    nib.save(image, path)
    return path


def _lost(*scans: str) -> Builder:
    """Make the builder of headers that hold no affine."""
    return lambda inputs, folder, rng: with_affines(inputs, folder, scans, lambda affine: np.eye(4))


def _resized(factor: float, *scans: str) -> Builder:
    """Make the builder of headers with other lengths."""
    lengths = np.diag([factor, factor, factor, 1])
    return lambda inputs, folder, rng: with_affines(inputs, folder, scans, lambda affine: lengths @ affine)


def _other_part(inputs: Inputs, folder: Path, rng: np.random.Generator) -> Inputs:
    """Take an image of another part of the body as the moving one."""
    return {**inputs, "moving": inputs["other"]}


def _intensities(change: Callable[[np.ndarray, np.random.Generator], np.ndarray]) -> Builder:
    """Make the builder of an image with other intensities: the fixed or the moving one, chosen at random.

    Args:
        change: function of the intensities, scaled so that 1 is their 99.9th percentile, and of the random generator.

    Returns:
        The builder.
    """

    def build(inputs: Inputs, folder: Path, rng: np.random.Generator) -> Inputs:
        role = str(rng.choice(["fixed", "moving"]))
        image = nib.Nifti1Image.from_filename(inputs[role])
        values = values_of(image).astype(np.float32)
        values = (values - values.min()) / (np.percentile(values, 99.9) - values.min())
        return {**inputs, role: _saved(nib.Nifti1Image(change(values, rng), image.affine), folder, role)}

    return build


def _ringing(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Make the edge of the body overshoot to below -500."""
    body = values > BODY_FROM
    edge = np.roll(body, -1, 0) & ~body
    return np.where(edge, -650, values * 8000).astype(np.int16)


def _z_scores(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Take z-scores inside the body, and 0 outside."""
    body = values > BODY_FROM
    return np.where(body, (values - values[body].mean()) / values[body].std(), 0).astype(np.float32)


def _one_voxel(value: float) -> Callable[[np.ndarray, np.random.Generator], np.ndarray]:
    """Make the function that changes one voxel inside the body."""

    def change(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        changed = values * 800
        changed[tuple(rng.choice(np.argwhere(values > BODY_FROM)))] = value
        return changed

    return change


def _hot_voxels(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Set 0.1 % of the voxels to ten times the maximum."""
    return np.where(rng.random(values.shape) < 0.001, 10 * values.max(), values) * 800


def _padded(inputs: Inputs, folder: Path, rng: np.random.Generator) -> Inputs:
    """Fill the corners of the slices of a CT, outside the circle that the scanner sees and the body, with -3024."""
    image = nib.Nifti1Image.from_filename(inputs["moving"])
    values = values_of(image).astype(np.int16)
    x, y = np.meshgrid(*(np.linspace(-1, 1, size) for size in values.shape[:2]), indexing="ij")
    values[(x**2 + y**2 > 1)[..., None] & (values < LARGEST_AIR_HU)] = -3024
    return {**inputs, "moving": _saved(nib.Nifti1Image(values, image.affine), folder, "moving")}


def _cropped(scan: str, choose: Callable[[np.ndarray, np.random.Generator], tuple[slice, ...]]) -> Builder:
    """Make the builder of a cropped scan that keeps its position in the world.

    Args:
        scan: "fixed" or "moving".
        choose: function that chooses the slices to keep from the label map and the random generator.

    Returns:
        The builder.
    """

    def build(inputs: Inputs, folder: Path, rng: np.random.Generator) -> Inputs:
        roles = scan, f"{scan}_labels"
        kept = choose(values_of(nib.Nifti1Image.from_filename(inputs[roles[1]])), rng)
        return {
            **inputs,
            **{role: _saved(nib.Nifti1Image.from_filename(inputs[role]).slicer[kept], folder, role) for role in roles},
        }

    return build


def _slab(labels: np.ndarray, rng: np.random.Generator) -> tuple[slice, ...]:
    """Choose the few slices that hold most labels."""
    labelled = np.convolve((labels > 0).sum(axis=(0, 1)), np.ones(SLAB_SLICES), "valid")
    first = int(labelled.argmax())
    return slice(None), slice(None), slice(first, first + SLAB_SLICES)


def _part(labels: np.ndarray, rng: np.random.Generator) -> tuple[slice, ...]:
    """Choose one side of the image."""
    axis, kept = int(rng.integers(3)), [slice(None)] * 3
    number = round(KEPT_SHARE * labels.shape[axis])
    kept[axis] = slice(number) if rng.random() < 0.5 else slice(labels.shape[axis] - number, None)
    return tuple(kept)


def _header(change: Callable[[nib.Nifti1Header], None]) -> Builder:
    """Make the builder of a moving image with a changed header. Its position is in the qform alone."""

    def build(inputs: Inputs, folder: Path, rng: np.random.Generator) -> Inputs:
        source = nib.Nifti1Image.from_filename(inputs["moving"])
        image = nib.Nifti1Image(values_of(source), source.affine)
        image.set_qform(source.affine, 1)
        image.set_sform(None, 0)
        image.header.set_xyzt_units("mm")
        raw = image.to_bytes()
        header = nib.Nifti1Header(raw[: nib.Nifti1Header.sizeof_hdr])
        change(header)
        return _with_content(gzip.compress(header.binaryblock + raw[len(header.binaryblock) :], 1), inputs, folder)

    return build


def _field(name: str, value: float) -> Builder:
    """Make the builder of a header with another value of a field."""
    return _header(lambda header: header.__setitem__(name, value))


def _flip(header: nib.Nifti1Header) -> None:
    """Give the voxels a negative size along the second axis."""
    header["pixdim"][2] *= -1


def _two_forms(inputs: Inputs, folder: Path, rng: np.random.Generator) -> Inputs:
    """Make the qform of the moving image disagree with its sform, which is correct."""
    source = nib.Nifti1Image.from_filename(inputs["moving"])
    image = nib.Nifti1Image(values_of(source), source.affine)
    image.set_qform(np.diag([-1.0, -1, 1, 1]) @ source.affine, 1)
    return {**inputs, "moving": _saved(image, folder, "moving")}


def _with_content(content: bytes, inputs: Inputs, folder: Path) -> Inputs:
    """Write the bytes of the moving image."""
    path = folder / "moving.nii.gz"
    path.write_bytes(content)
    return {**inputs, "moving": path}


def _not_compressed(inputs: Inputs, folder: Path, rng: np.random.Generator) -> Inputs:
    """Name a plain file as if it were compressed."""
    return _with_content(gzip.decompress(inputs["moving"].read_bytes()), inputs, folder)


def _pointer(inputs: Inputs, folder: Path, rng: np.random.Generator) -> Inputs:
    """Write the pointer of Git LFS in place of the image."""
    return _with_content(f"{BEGINNING_OF_POINTER}{'a' * 64}\nsize 12345\n".encode(), inputs, folder)


def _truncated(inputs: Inputs, folder: Path, rng: np.random.Generator) -> Inputs:
    """Truncate the file of the moving image."""
    content = inputs["moving"].read_bytes()
    return _with_content(content[: int(rng.uniform(0.1, 0.99) * len(content))], inputs, folder)


def _folder(inputs: Inputs, folder: Path, rng: np.random.Generator) -> Inputs:
    """Name a folder as the moving image."""
    (folder / "moving.nii.gz").mkdir()
    return {**inputs, "moving": folder / "moving.nii.gz"}


def _rounded_labels(inputs: Inputs, folder: Path, rng: np.random.Generator) -> Inputs:
    """Scale the labels of the moving image by the next number after 1, so that 2 becomes 2.0000002."""
    image = nib.Nifti1Image.from_filename(inputs["moving_labels"])
    values = values_of(image).astype(np.float32) * np.nextafter(np.float32(1), np.float32(2))
    return {**inputs, "moving_labels": _saved(nib.Nifti1Image(values, image.affine), folder, "moving_labels")}


def _soft_mask(inputs: Inputs, folder: Path, rng: np.random.Generator) -> Inputs:
    """Give the blurred body of the moving image as its mask."""
    image = nib.Nifti1Image.from_filename(inputs["moving"])
    values = values_of(image).astype(np.float32)
    body = values > values.min() + BODY_FROM * (np.percentile(values, 99.9) - values.min())
    mask = nib.Nifti1Image(gaussian_filter(body.astype(np.float32), 1), image.affine)
    return {**inputs, "moving_mask": _saved(mask, folder, "moving_mask")}


def _positions(inputs: Inputs, folder: Path, rng: np.random.Generator) -> Inputs:
    """Write a field of positions, in LPS, as if they were displacements."""
    grid = nib.Nifti1Image.from_filename(inputs["fixed"]).slicer[::4, ::4, ::4]
    indices = np.moveaxis(np.indices(grid.shape), 0, -1)
    places = indices @ grid.affine[:3, :3].T + grid.affine[:3, 3] + rng.normal(0, 0.5, (*grid.shape, 3))
    image = nib.Nifti1Image((places * [-1, -1, 1]).astype(np.float32)[:, :, :, None], grid.affine)
    image.header.set_intent("vector")
    return {**inputs, "transform": _saved(image, folder, "transform")}


def _truncated_transform(inputs: Inputs, folder: Path, rng: np.random.Generator) -> Inputs:
    """Truncate a text file of an affine transform and a displacement field."""
    path = folder / "transform.tfm"
    field = torch.from_numpy(rng.normal(0, 1, (3, 8, 8, 8)).astype(np.float32))
    grid = Grid((8, 8, 8), np.diag([20.0, 20, 20, 1]))
    write_composite(Transform(np.eye(4), DisplacementField.from_voxels(field, grid)), path)
    content = path.read_bytes()
    path.write_bytes(content[: int(rng.uniform(0.1, 0.99) * len(content))])
    return {**inputs, "transform": path}


KINDS = (
    Kind("header turned", turned),
    Kind("header lost, moving", _lost("moving")),
    Kind("header lost, both", _lost("fixed", "moving")),
    Kind("header mirrored", mirrored, wrong=True),
    Kind("another part of the body", _other_part, wrong=True),
    Kind("ringing below -500", _intensities(_ringing), sets=(BRAINS, HIPPOCAMPI)),
    Kind("all negative", _intensities(lambda values, rng: values * 4000 - 6000)),
    Kind("z-scores, background 0", _intensities(_z_scores)),
    Kind("one very dark voxel", _intensities(_one_voxel(-32768))),
    Kind("one very bright voxel", _intensities(_one_voxel(1e7))),
    Kind("hot voxels, 0.1 %", _intensities(_hot_voxels)),
    Kind("background NaN", _intensities(lambda v, rng: np.where(v > BODY_FROM, v * 800, np.nan)), r"voxels are NaN"),
    Kind("inverted contrast", _intensities(lambda values, rng: (1 - values.clip(0, 1)) * 1000)),
    Kind("CT padded with -3024", _padded, sets=(NECKS,)),
    Kind("constant image", _intensities(lambda values, rng: np.full_like(values, 7)), r"a constant image cannot"),
    Kind("unsigned 16 bits, high", _intensities(lambda v, rng: (v.clip(0, 1) * 60000 + 5000).astype(np.uint16))),
    Kind("a tenth of the size, both", _resized(0.1, "fixed", "moving")),
    Kind("a tenth of the size, moving", _resized(0.1, "moving")),
    Kind("micrometres as mm, both", _resized(1000, "fixed", "moving")),
    Kind("micrometres as mm, moving", _resized(1000, "moving")),
    Kind("five slices, fixed", _cropped("fixed", _slab), cropped=True),
    Kind("five slices, moving", _cropped("moving", _slab), cropped=True),
    Kind("partial field of view, fixed", _cropped("fixed", _part), cropped=True),
    Kind("partial field of view, moving", _cropped("moving", _part), cropped=True),
    Kind("unit of length undefined", _field("xyzt_units", 7)),
    Kind("unit of length metre", _field("xyzt_units", 1), r"lengths are in meters; mm are needed"),
    Kind("unit of length micrometre", _field("xyzt_units", 3), r"lengths are in microns; mm are needed"),
    Kind("negative pixdim", _header(_flip)),
    Kind("vox_offset 0", _field("vox_offset", 0), r"places the voxels at byte 0"),
    Kind("sform and qform disagree", _two_forms),
    Kind("plain file named .gz", _not_compressed, r"is not compressed, though its name ends in \.gz"),
    Kind("pointer of Git LFS", _pointer, r"Git LFS"),
    Kind("folder as a file", _folder, r"is a folder"),
    Kind("truncated .gz", _truncated, r"damaged or cut short"),
    Kind("labels of 2.0000002", _rounded_labels),
    Kind("soft mask", _soft_mask),
    Kind("field of positions", _positions, r"positions, not displacements"),
    Kind("truncated .tfm", _truncated_transform, r"cut short"),
)
