from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from scipy.ndimage import binary_erosion
from scipy.spatial.transform import Rotation

from sacb_bundle.data import phantom_pair
from sacb_bundle.errors import InputError
from sacb_bundle.spatial import (
    AlignmentCache,
    Grid,
    Transform,
    Volume,
    align,
    alignment_cache,
    body_of,
    common_part,
    foreground,
    resample,
    working_grid,
)
from sacb_bundle.spatial.alignment import _in_frame, _is_plausible
from sacb_bundle.spatial.alignment_judge import Judge
from tests.spatial.geometries import GEOMETRIES, rotation

AFFINE = np.array([[2.0, 0, 0, -60], [0, 2, 0, -70], [0, 0, 2, -50], [0, 0, 0, 1]])


@pytest.fixture(scope="module")
def brain() -> Volume:
    image = phantom_pair((60, 70, 50), seed=0)["fixed"][0]
    return Volume(image, Grid(image.shape, AFFINE))


def moved(volume: Volume, matrix: np.ndarray) -> Volume:
    """Return the same voxels at another position in the world."""
    return Volume(volume.values, Grid(volume.grid.shape, matrix @ volume.grid.affine))


def brain_in(volume: Volume, orientation: str) -> Volume:
    """Return a volume with the same world and another order and direction of its axes."""
    wanted = nib.orientations.axcodes2ornt(orientation)
    change = nib.orientations.ornt_transform(nib.orientations.io_orientation(volume.grid.affine), wanted)
    values = nib.orientations.apply_orientation(volume.values, change)
    affine = volume.grid.affine @ nib.orientations.inv_ornt_aff(change, volume.grid.shape)
    return Volume(np.ascontiguousarray(values), Grid(values.shape, affine))


def rigid() -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = rotation(12, 2) @ rotation(-9, 0)
    matrix[:3, 3] = (25, -60, 110)
    return matrix


@pytest.mark.parametrize(
    ("initial", "stretch", "tolerance"),
    [("center", (1, 1, 1), 0.1), ("rigid", (1, 1, 1), 1.0), ("affine", (1.08, 0.95, 1.03), 1.0)],
)
def test_finds_where_an_image_was_moved(brain, initial, stretch, tolerance) -> None:
    matrix = rigid() @ np.diag([*stretch, 1])
    if initial == "center":
        matrix[:3, :3] = np.eye(3)
    found = align(brain, moved(brain, matrix), initial)
    corners = np.hstack([brain.grid.corners, np.ones((8, 1))])
    assert np.abs(corners @ (found - matrix).T).max() < tolerance
    again = align(brain, moved(brain, matrix), initial)
    assert np.array_equal(found, again)


def test_a_mask_says_what_counts(brain: Volume) -> None:
    spoiled = brain.values.copy()
    spoiled[:12] = 255 - spoiled[:12]  # content that the moving image lacks
    mask = np.ones(brain.values.shape, np.uint8)
    mask[:14] = 0
    fixed = Volume(spoiled, brain.grid)
    found = align(fixed, moved(brain, rigid()), "rigid", fixed_mask=Volume(mask, brain.grid))
    corners = np.hstack([brain.grid.corners, np.ones((8, 1))])
    assert np.abs(corners @ (found - rigid()).T).max() < 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("axis", "degrees"), [((0, 0, 1), 90), ((0, 0, 1), 180), ((1, 0, 0), 120), ((1, 1, 0), 180), ((2, -1, 3), 70)]
)
def test_finds_an_image_that_was_turned(brain: Volume, axis: tuple[int, int, int], degrees: float) -> None:
    matrix = np.eye(4)
    direction = np.array(axis) / np.linalg.norm(axis)
    matrix[:3, :3] = Rotation.from_rotvec(degrees * direction, degrees=True).as_matrix()
    matrix[:3, 3] = (80, -40, 60)
    places = brain.grid.to_world(np.argwhere(brain.values > 0)[::100])
    found = align(brain, moved(brain, matrix), "affine")
    distances = np.linalg.norm((places @ (found - matrix)[:3, :3].T) + (found - matrix)[:3, 3], axis=1)
    assert distances.max() < 1.0


@pytest.mark.parametrize("factor", [0.1, 3.0])
def test_finds_an_image_of_another_size(brain: Volume, factor: float) -> None:
    small = moved(brain, np.diag([factor, factor, factor, 1]))
    found = align(brain, small, "affine")
    assert np.cbrt(np.linalg.det(found[:3, :3])) == pytest.approx(factor, rel=0.02)
    assert np.cbrt(np.linalg.det(align(small, small, "affine")[:3, :3])) == pytest.approx(1, rel=0.01)


def test_a_thin_mask_is_kept_and_a_tiny_one_refused(brain: Volume) -> None:
    body = brain.values > 0
    shell = Volume((body & ~binary_erosion(body)).astype(np.uint8), brain.grid)
    corners = np.hstack([brain.grid.corners, np.ones((8, 1))])
    found = align(brain, moved(brain, rigid()), "rigid", fixed_mask=shell)
    assert np.abs(corners @ (found - rigid()).T).max() < 4
    tiny = np.zeros(brain.values.shape, np.uint8)
    tiny[30:34, 30:34, 25] = 1
    with pytest.raises(InputError, match=r"A mask leaves \d+ voxels of the coarse grid .* at least 100 are needed"):
        align(brain, moved(brain, rigid()), "affine", fixed_mask=Volume(tiny, brain.grid))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_alignment_does_not_depend_on_the_gradient_mode(brain: Volume, mode: Callable[[], Any]) -> None:
    expected = align(brain, moved(brain, rigid()), "affine")
    with mode():
        assert np.array_equal(align(brain, moved(brain, rigid()), "affine"), expected)


@pytest.mark.parametrize("degrees", [25, 100])
def test_alignment_does_not_depend_on_the_rotation_in_the_header(brain: Volume, degrees: float) -> None:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(degrees * np.array([0.6, 0, 0.8]), degrees=True).as_matrix()
    matrix[:3, 3] = (70, -20, 30)
    moving = moved(brain, np.diag([1.1, 0.95, 1, 1]))
    turned = moved(moved(moving, matrix), np.eye(4))
    turned.grid.affine[:] = turned.grid.affine.astype(np.float32)  # as a header holds it
    expected = matrix @ align(brain, moving, "affine")
    np.testing.assert_allclose(align(brain, turned, "affine"), expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("orientation", ["LPS", "PIR", "ASL"])
def test_alignment_does_not_depend_on_how_a_scan_is_stored(brain: Volume, orientation: str) -> None:
    stored = brain_in(brain, orientation)
    expected = align(brain, moved(brain, rigid()), "affine")
    np.testing.assert_allclose(align(stored, moved(stored, rigid()), "affine"), expected, rtol=0, atol=1e-6)


def test_images_that_do_not_overlap_are_refused(brain: Volume) -> None:
    far = np.eye(4)
    far[0, 3] = 500
    with pytest.raises(InputError, match=r"0% of the smaller image overlaps the other.*Try the initial alignment"):
        align(brain, moved(brain, far), "none")
    with pytest.raises(InputError, match="must be one of none, center, rigid, affine"):
        align(brain, brain, "elastic")


def box(shape: tuple[int, int, int], low: int, high: int) -> np.ndarray:
    values = np.zeros(shape, np.int16)
    values[low:high, low:high, low:high] = 1
    return values


@pytest.mark.parametrize("name", ["RAS", "LPS", "LAS", "PIR", "ASL"])
def test_working_grid_is_the_same_in_every_orientation(name: str) -> None:
    expected = working_grid(Volume(np.ones(GEOMETRIES["RAS"].shape), GEOMETRIES["RAS"]), 2.0, 16)
    made = working_grid(Volume(np.ones(GEOMETRIES[name].shape), GEOMETRIES[name]), 2.0, 16)
    assert made.shape == expected.shape
    np.testing.assert_allclose(made.affine, expected.affine, atol=1e-9)
    assert all(size % 16 == 0 for size in made.shape)
    assert made.encloses(GEOMETRIES[name])


def test_working_grid_keeps_voxels_and_cuts_background_off() -> None:
    image = Grid((64, 80, 48), np.diag([2.0, 2, 2, 1]))
    made = working_grid(Volume(np.ones(image.shape), image), 2.0, 16)
    assert made.coincides_with(image)
    small = working_grid(Volume(box(image.shape, 20, 40), image), 2.0, 16)
    assert small.shape == (32, 32, 32)
    # Voxels coincide, and the grid contains the box.
    first = image.to_index(small.affine[None, :3, 3])
    np.testing.assert_allclose(first, np.round(first))
    assert (first <= 18).all()
    assert (first + 31 >= 41).all()


def test_common_part_of_a_head_and_its_brain() -> None:
    on = Grid((60, 60, 60), np.diag([2.0, 2, 2, 1]))
    head, brain = (Volume(box(on.shape, low, 60 - low), on) for low in (4, 16))
    assert common_part(head, head, np.eye(4)) is None
    common = common_part(head, brain, np.eye(4))
    assert common is not None
    assert (common.values[brain.values > 0] == 1).all()
    assert common.values[10].sum() == 0
    assert common.values[14, 30, 30] == 1  # the margin


def test_foreground() -> None:
    air = Volume(np.array([[[-1000.0, -1000, 40, 1000]]]), Grid((1, 1, 4), np.eye(4)))
    assert foreground(air).values.tolist() == [[[False, False, True, True]]]


def test_an_image_that_is_aligned_stays(brain: Volume) -> None:
    matrix = align(brain, brain, "affine")
    same = resample(Transform(matrix), brain.grid, [brain]).images[0].values.astype(float)
    assert np.abs(same - brain.values).mean() < 1


def test_an_affine_alignment_neither_shrinks_nor_enlarges() -> None:
    """Two brains of the same size keep their size when each is aligned to the other."""
    pair = [Volume(image, Grid(image.shape, AFFINE)) for image, _ in phantom_pair((60, 70, 50), seed=1).values()]
    scales = [np.cbrt(np.linalg.det(align(*images, "affine")[:3, :3])) for images in (pair, pair[::-1])]
    assert np.prod(scales) == pytest.approx(1, abs=0.03)


def test_images_that_show_nothing_at_one_place_are_refused() -> None:
    on = Grid((20, 20, 20), np.eye(4))
    masks = [Volume(np.zeros(on.shape, np.uint8), on) for _ in range(2)]
    masks[0].values[2:8], masks[1].values[12:18] = 1, 1
    with pytest.raises(InputError, match="the foregrounds of the images do not overlap"):
        common_part(*masks, np.eye(4))


def test_alignments_are_kept_by_the_images_and_masks(
    brain: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    monkeypatch.setattr(alignment_cache, "align", lambda *given: found.append(given) or align(*given))
    cache = AlignmentCache(tmp_path)
    other = moved(brain, rigid())
    first = cache.align(brain, other, "center")
    assert np.array_equal(first, align(brain, other, "center"))
    same = Volume(brain.values.copy(), brain.grid)
    assert np.array_equal(cache.align(same, other, "center"), first)
    assert len(found) == 1
    mask = Volume((brain.values > 0).astype(np.uint8), brain.grid)
    cache.align(brain, other, "rigid")
    cache.align(brain, other, "center", mask)
    cache.align(brain, other, "center", None, moved(mask, rigid()))
    cache.align(moved(brain, np.diag([1, 1, 1.1, 1])), other, "center")
    assert len(found) == 5


def test_alignments_of_other_versions_are_found_again(
    brain: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = AlignmentCache(tmp_path)
    cache.align(brain, brain, "center")
    monkeypatch.setattr(alignment_cache, "ALIGNMENT_FORMAT", alignment_cache.ALIGNMENT_FORMAT + 1)
    cache.align(brain, brain, "center")
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    "damage", ["", "[", '{"matrix": [[1]]}', '{"matrix": "x"}', '{"matrix": [[NaN]]}', '{"matrix": [[1], [1, 2]]}']
)
def test_damaged_alignments_are_found_again(brain: Volume, tmp_path: Path, damage: str) -> None:
    cache = AlignmentCache(tmp_path)
    first = cache.align(brain, brain, "center")
    (path,) = tmp_path.iterdir()
    content = path.read_text()
    path.write_text(damage)
    assert np.array_equal(cache.align(brain, brain, "center"), first)
    assert path.read_text() == content


def test_a_slab_is_not_squeezed(brain: Volume) -> None:
    """Four slices do not show how large the body is across them."""
    first = brain.grid.shape[2] // 2
    there = np.eye(4)
    there[2, 3] = first
    grid = Grid((*brain.grid.shape[:2], 4), brain.grid.affine @ there)
    slab = Volume(np.ascontiguousarray(brain.values[..., first : first + 4]), grid)
    for fixed, moving in ((slab, brain), (brain, slab)):
        scales = np.linalg.svd(align(fixed, moving, "affine")[:3, :3])[1]
        assert scales[0] < 3 * scales[-1]


@pytest.mark.parametrize(
    ("scales", "plausible"),
    [((1, 1, 1), True), ((2, 1.5, 0.7), True), ((1, 1, 0.3), False), ((-1, 1, 1), False), ((4, 4, 4), False)],
)
def test_which_affine_transforms_are_plausible(scales: tuple[float, ...], plausible: bool) -> None:
    matrix = np.eye(4)
    matrix[:3, :3] = rotation(20, 2) @ np.diag(scales)
    assert _is_plausible(matrix, np.eye(4)) == plausible


def test_the_judge_tells_a_trunk_upside_down_by_what_is_inside() -> None:
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, size) for size in (40, 32, 60)), indexing="ij")
    trunk = np.where(x**2 + y**2 < 0.7, 100.0, 0.0)
    for centre, brightness in (((0.4, 0.2, 0.5), 180), ((-0.4, 0.1, 0.3), 40), ((0, -0.5, -0.3), 220)):
        distance = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2
        trunk[(distance < 0.1) & (trunk > 0)] = brightness
    image = Volume(trunk.astype(np.float32), Grid(trunk.shape, AFFINE))
    middle = image.grid.corners.mean(axis=0)
    judge = Judge(image, image, [body_of(image).size] * 2)
    upright = np.eye(4)
    upright[:3, 3] = (4, -3, 5)
    for turn in (np.diag([1.0, -1, -1]), np.diag([-1.0, 1, -1]), np.diag([-1.0, -1, 1])):
        turned = np.eye(4)
        turned[:3, :3] = turn
        turned[:3, 3] = middle - turn @ middle
        assert judge(upright) > 1.5 * judge(turned)


@pytest.mark.parametrize("noise", [-1e-10, 1e-10])
def test_the_rounded_grid_does_not_depend_on_the_rounding_of_the_header(noise: float) -> None:
    spacing = 4.15625  # half of the precision remains
    volume = Volume(np.zeros((4, 5, 6), np.float32), Grid((4, 5, 6), np.diag([spacing + noise, spacing, 3, 1])))
    rounded, _ = _in_frame(volume, np.eye(4))
    np.testing.assert_allclose(rounded.grid.affine, np.diag([4.1562, 4.1562, 3, 1]), rtol=0, atol=1e-12)
