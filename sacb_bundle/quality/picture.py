"""Draw a registration."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..spatial import Grid, Transform, Volume, body_of, resample

TILE_PIXELS, GAP_PIXELS, HEADING_PIXELS, FONT_PIXELS, LINE_DISTANCE_PIXELS = 168, 6, 20, 12, 7
FIXED_OUTLINE, WARPED_OUTLINE, BOTH_OUTLINES = (64, 220, 64), (255, 90, 200), (255, 255, 255)
BACKGROUND, TEXT, LINE = (16, 16, 16), (225, 225, 225), (120, 190, 255)
# Longer side of the pictures of one slice, and distance of the lines of its grid.
SLICE_PIXELS, SLICE_LINE_DISTANCE_PIXELS = 300, 14
# Axis across each plane. The other two axes of the working grid (RAS) run to the right and upwards, in this order.
PLANES = {"axial": 2, "coronal": 1, "sagittal": 0}
# Letters on the left and on the right of a slice across an axis.
SIDES = {2: "LR", 1: "LR", 0: "PA"}


@dataclass(frozen=True, eq=False)
class Views:
    """Content of the picture of a registered pair.

    Attributes:
        fixed: fixed image (D, H, W) on the working grid, in [0, 1].
        moving: moving image after the alignment, likewise.
        warped: moving image after alignment and displacement field, likewise.
        field: displacement field (3, D, H, W), in voxels of the working grid.
        grid: working grid.
        transform: transform from fixed to moving world coordinates in mm, RAS.
        fixed_labels: label map of the fixed image, or None.
        moving_labels: label map of the moving image, or None.
    """

    fixed: np.ndarray
    moving: np.ndarray
    warped: np.ndarray
    field: np.ndarray
    grid: Grid
    transform: Transform
    fixed_labels: Volume | None = None
    moving_labels: Volume | None = None


def draw(views: Views) -> Image.Image:
    """Draw a registered pair in three planes of the working grid.

    Columns: fixed; moving after the alignment; warped; the differences fixed - moving and fixed - warped (blue where
    fixed is brighter, red where it is darker); a grid of the fixed image, moved to the positions sampled in the moving
    image; the displacement as a colour (red: left-right, green: anterior-posterior, blue: superior-inferior); and the
    outlines of label maps, if any (fixed green, warped pink, both white).

    Args:
        views: images, field and label maps to draw.

    Returns:
        The picture, RGB, with a row for each plane.
    """
    vectors = np.einsum("ij,jdhw->idhw", views.grid.affine[:3, :3].astype(np.float32), views.field)  # mm, RAS
    longest = float(np.sqrt(np.square(vectors).sum(axis=0).max()))
    labelled = views.fixed_labels is not None or views.moving_labels is not None
    headings = ["fixed", "moving, aligned", "warped", "fixed - moving", "fixed - warped", "warped grid"]
    headings += [f"displacement to {longest:.1f} mm"] + ["labels"] * labelled
    step = TILE_PIXELS + GAP_PIXELS
    sheet = Image.new("RGB", (len(headings) * step, HEADING_PIXELS + len(PLANES) * step), BACKGROUND)
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(FONT_PIXELS)
    for column, heading in enumerate(headings):
        pen.text((column * step + GAP_PIXELS, 3), heading, fill=TEXT, font=font)
    for row, (name, axis) in enumerate(PLANES.items()):
        top = HEADING_PIXELS + row * step
        for column, tile in enumerate(_tiles_of(views, axis, vectors / max(longest, 1e-6))):
            left = column * step + (TILE_PIXELS - tile.width) // 2
            sheet.paste(tile, (left, top + (TILE_PIXELS - tile.height) // 2))
        pen.text((GAP_PIXELS, top), name, fill=TEXT, font=font)
        for side, left in zip(SIDES[axis], (GAP_PIXELS, TILE_PIXELS - FONT_PIXELS), strict=True):
            pen.text((left, top + TILE_PIXELS - FONT_PIXELS - GAP_PIXELS), side, fill=TEXT, font=font)
    return sheet


def draw_slices(fixed: Volume, moving: Volume, transform: Transform) -> dict[str, Image.Image]:
    """Draw the coronal slice through the middle of the body in the fixed image, which no registration changes.

    Args:
        fixed: fixed image, in [0, 1], with axes closest to RAS.
        moving: moving image, likewise.
        transform: transform from fixed to moving world coordinates in mm, RAS, with a displacement field.

    Returns:
        The pictures "fixed", "moving" (after the alignment), "warped" and "grid", a grid of the fixed image, moved by
        the displacement field; all of one size.
    """
    axis = PLANES["coronal"]
    index = round(float(fixed.grid.to_index(body_of(fixed).middle[None])[0, axis]))
    plane = _with_square_pixels(fixed.grid.plane(axis, index), axis)
    zoom = SLICE_PIXELS / max(plane.shape)
    ways = {
        "fixed": (Transform(), fixed),
        "moving": (Transform(transform.affine), moving),
        "warped": (transform, moving),
    }
    pictures = {}
    for name, (way, image) in ways.items():
        values = resample(way, plane, [image]).images[0].values.take(0, axis)
        pictures[name] = _colour_tile(_grey(values[..., None]), zoom)
    field = resample(Transform(displacement=transform.displacement), plane).displacement.in_voxels_of(plane)
    return pictures | {
        "grid": _grid_tile(np.moveaxis(field.numpy().take(0, axis + 1), 0, -1), axis, zoom, SLICE_LINE_DISTANCE_PIXELS)
    }


def _with_square_pixels(plane: Grid, axis: int) -> Grid:
    """Return a plane across an axis over the same extent, with the same spacing along both of its axes."""
    finest = min(length for other, length in enumerate(plane.spacing) if other != axis)
    factors = [1.0 if other == axis else length / finest for other, length in enumerate(plane.spacing)]
    shape = tuple(round(size * factor) for size, factor in zip(plane.shape, factors, strict=True))
    return Grid(shape, plane.affine @ np.diag([*(1 / factor for factor in factors), 1.0]))


def _tiles_of(views: Views, axis: int, relative: np.ndarray) -> list[Image.Image]:
    """Draw the tiles of the middle slice across an axis.

    Args:
        views: images, field and label maps to draw.
        axis: axis of the working grid.
        relative: displacement (3, D, H, W), scaled to a length of at most 1.

    Returns:
        The tiles, in the order of the columns of `draw`.
    """
    grid = views.grid
    middle = grid.shape[axis] // 2
    zoom = TILE_PIXELS / max(grid.shape)
    fixed, moving, warped = (image.take(middle, axis)[..., None] for image in (views.fixed, views.moving, views.warped))
    field, colours = (np.moveaxis(values.take(middle, axis + 1), 0, -1) for values in (views.field, np.abs(relative)))
    tiles = [_colour_tile(_grey(image), zoom) for image in (fixed, moving, warped)]
    tiles += [_colour_tile(_red_blue(fixed - image), zoom) for image in (moving, warped)]
    tiles += [_grid_tile(field, axis, zoom, LINE_DISTANCE_PIXELS), _colour_tile(np.sqrt(colours), zoom)]
    plane = grid.plane(axis, middle)
    fixed_labels = _labels_in(plane, axis, Transform(), views.fixed_labels)
    warped_labels = _labels_in(plane, axis, views.transform, views.moving_labels)
    if fixed_labels is not None or warped_labels is not None:
        tiles.append(_outline_tile(tiles[0], fixed_labels, warped_labels))
    return tiles


def _labels_in(plane: Grid, axis: int, transform: Transform, labels: Volume | None) -> np.ndarray | None:
    """Return a label map (rows, columns) on a plane across an axis; None if there is none."""
    return None if labels is None else resample(transform, plane, labels=[labels]).labels[0].values.squeeze(axis)


def _grey(image: np.ndarray) -> np.ndarray:
    """Convert a slice (rows, columns, 1) in [0, 1] to colours (rows, columns, 3)."""
    return np.repeat(image, 3, axis=-1)


def _red_blue(difference: np.ndarray) -> np.ndarray:
    """Convert differences (rows, columns, 1) in [-1, 1] to colours (rows, columns, 3): blue above 0, red below."""
    above, below = difference.clip(0, 1), (-difference).clip(0, 1)
    return 1 - np.concatenate([above, above + below, below], axis=-1)


def _colour_tile(colours: np.ndarray, zoom: float) -> Image.Image:
    """Draw a slice (rows, columns, 3) in [0, 1] in the orientation of display."""
    pixels = (255 * colours.clip(0, 1)).astype(np.uint8).swapaxes(0, 1)[::-1]
    tile = Image.fromarray(np.ascontiguousarray(pixels))
    return tile.resize(_size_of(colours, zoom), Image.Resampling.BILINEAR)


def _size_of(values: np.ndarray, zoom: float) -> tuple[int, int]:
    """Return the width and height of a slice in pixels."""
    return max(1, round(values.shape[0] * zoom)), max(1, round(values.shape[1] * zoom))


def _grid_tile(displacement: np.ndarray, axis: int, zoom: float, distance: float) -> Image.Image:
    """Draw lines of the fixed grid, moved by a displacement (rows, columns, 3) in voxels, on a plane across an axis.

    Args:
        displacement: displacement.
        axis: axis across the plane.
        zoom: pixels of a voxel.
        distance: distance of the lines, in pixels.
    """
    width, height = _size_of(displacement, zoom)
    tile = Image.new("RGB", (width, height), BACKGROUND)
    draw = ImageDraw.Draw(tile)
    in_plane = [other for other in range(3) if other != axis]
    first, second = (
        (place + 0.5 + displacement[..., component]) * zoom
        for place, component in zip(np.indices(displacement.shape[:2]), in_plane, strict=True)
    )
    points = np.stack([first, height - second], axis=-1)
    step = max(1, round(distance / zoom))
    for line in [*points[::step], *points[:, ::step].swapaxes(0, 1)]:
        draw.line([(float(x), float(y)) for x, y in line], fill=LINE)
    return tile


def _outline_tile(tile: Image.Image, fixed: np.ndarray | None, warped: np.ndarray | None) -> Image.Image:
    """Draw the outlines of label maps (rows, columns) on a tile."""
    pixels = np.array(tile)
    edges = [
        np.zeros(pixels.shape[:2], bool) if labels is None else _edge_of(labels, tile.size)
        for labels in (fixed, warped)
    ]
    for edge, colour in zip((*edges, edges[0] & edges[1]), (FIXED_OUTLINE, WARPED_OUTLINE, BOTH_OUTLINES), strict=True):
        pixels[edge] = colour
    return Image.fromarray(pixels)


def _edge_of(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return the borders of labels (rows, columns) in a tile of a width and height, in the orientation of display."""
    turned = Image.fromarray(np.ascontiguousarray(labels.astype(np.int32).T[::-1]))
    large = np.array(turned.resize(size, Image.Resampling.NEAREST))
    edge = np.zeros(large.shape, bool)
    edge[:-1] |= large[:-1] != large[1:]
    edge[:, :-1] |= large[:, :-1] != large[:, 1:]
    return edge
