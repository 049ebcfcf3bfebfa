"""A picture of a registration."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.transforms import Transform
from PIL import Image, ImageDraw, ImageFont

from ..spatial import Transform as SpatialTransform
from ..spatial import Volume, read_label_map, resample

# In pixels.
TILE, GAP, HEADING, FONT, LINE_DISTANCE = 168, 6, 20, 12, 7
FIXED_OUTLINE, WARPED_OUTLINE, BOTH_OUTLINES = (64, 220, 64), (255, 90, 200), (255, 255, 255)
BACKGROUND, TEXT, LINE = (16, 16, 16), (225, 225, 225), (120, 190, 255)
# Axis across each plane. Rows show the two others, the later one upwards, as the working grid (RAS) has them.
PLANES = {"axial": 2, "coronal": 1, "sagittal": 0}
# What is on the left and on the right of a slice across an axis.
SIDES = {2: "LR", 1: "LR", 0: "PA"}
QUALITY = 85


class DrawRegistrationd(Transform):
    """Draw a registered pair in three planes of the working grid, into "folder"/picture.jpg.

    Columns: fixed, moving after the alignment, warped; the differences fixed - moving and fixed - warped (blue where
    fixed is brighter, red where it is darker); where the lines of a grid come from; the displacement as a colour (red:
    left-right, green: front-back, blue: up-down); where there are labels, their outlines (fixed green, warped pink,
    both white).

    It reads what `sacb_bundle.transforms.SaveRegistrationd` and `MeasureRegistrationd` read and add.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Draw, and return the data as they were."""
        longest = data["measures"]["displacement_max_mm"]
        headings = ["fixed", "moving, aligned", "warped", "fixed - moving", "fixed - warped", "warped grid"]
        headings += [f"displacement to {longest:.1f} mm"] + ["labels"] * (
            "fixed_labels" in data or "moving_labels" in data
        )
        sheet = Image.new("RGB", (len(headings) * (TILE + GAP), HEADING + len(PLANES) * (TILE + GAP)), BACKGROUND)
        draw = ImageDraw.Draw(sheet)
        font = ImageFont.load_default(FONT)
        for column, heading in enumerate(headings):
            draw.text((column * (TILE + GAP) + GAP, 3), heading, fill=TEXT, font=font)
        fixed_labels = read_label_map(data["fixed_labels"]) if "fixed_labels" in data else None
        for row, (name, axis) in enumerate(PLANES.items()):
            top = HEADING + row * (TILE + GAP)
            for column, tile in enumerate(tiles_of(data, axis, longest, fixed_labels)):
                left = column * (TILE + GAP) + (TILE - tile.width) // 2
                sheet.paste(tile, (left, top + (TILE - tile.height) // 2))
            draw.text((GAP, top), name, fill=TEXT, font=font)
            for side, left in zip(SIDES[axis], (GAP, TILE - FONT), strict=True):
                draw.text((left, top + TILE - FONT - GAP), side, fill=TEXT, font=font)
        sheet.save(data["folder"] / "picture.jpg", quality=QUALITY)
        return dict(data)


def tiles_of(data: Mapping[Hashable, Any], axis: int, longest: float, fixed_labels: Volume | None) -> list[Image.Image]:
    """Tiles of the middle slice across an axis.

    Args:
        data: see `DrawRegistrationd`.
        axis: across the slice.
        longest: displacement in mm that is drawn in full colour.
        fixed_labels: if there are any.
    """
    grid = data["transform"].displacement.grid
    middle = grid.shape[axis] // 2
    zoom = TILE / max(grid.shape)

    def in_slice(values: torch.Tensor) -> np.ndarray:
        """(C, D, H, W) to (rows, columns, C)."""
        return values.as_subclass(torch.Tensor).select(axis + 1, middle).float().movedim(0, -1).cpu().numpy()

    moving, fixed = np.moveaxis(in_slice(data["image"]), -1, 0)[..., None]
    warped, displacement = in_slice(data["warped"]), in_slice(data["pred"])
    colours = np.sqrt(np.abs(in_slice(data["transform"].displacement.vectors)) / max(longest, 1e-6))
    tiles = [colour_tile(grey(image), zoom) for image in (fixed, moving, warped)]
    tiles += [colour_tile(red_blue(fixed - image), zoom) for image in (moving, warped)]
    tiles += [grid_tile(displacement, axis, zoom), colour_tile(colours, zoom)]
    sources = [(SpatialTransform(), fixed_labels), (data["transform"], data.get("moving_labels"))]
    fixed_there, warped_there = (
        None
        if labels is None
        else resample(transform, grid.plane(axis, middle), labels=[labels]).labels[0].values.squeeze(axis)
        for transform, labels in sources
    )
    if fixed_there is not None or warped_there is not None:
        tiles.append(outline_tile(tiles[0], fixed_there, warped_there))
    return tiles


def grey(image: np.ndarray) -> np.ndarray:
    """Slice (rows, columns, 1) in [0, 1] as colours (rows, columns, 3)."""
    return np.repeat(image, 3, axis=-1)


def red_blue(difference: np.ndarray) -> np.ndarray:
    """Differences (rows, columns, 1) in [-1, 1] as colours (rows, columns, 3): white is none, blue above, red below."""
    above, below = difference.clip(0, 1), (-difference).clip(0, 1)
    return 1 - np.concatenate([above, above + below, below], axis=-1)


def colour_tile(colours: np.ndarray, zoom: float) -> Image.Image:
    """Slice (rows, columns, 3) in [0, 1], turned as it is looked at."""
    pixels = (255 * colours.clip(0, 1)).astype(np.uint8).swapaxes(0, 1)[::-1]
    tile = Image.fromarray(np.ascontiguousarray(pixels))
    return tile.resize(size_of(colours, zoom), Image.Resampling.BILINEAR)


def size_of(values: np.ndarray, zoom: float) -> tuple[int, int]:
    """Width and height in pixels of a slice."""
    return max(1, round(values.shape[0] * zoom)), max(1, round(values.shape[1] * zoom))


def grid_tile(displacement: np.ndarray, axis: int, zoom: float) -> Image.Image:
    """Lines of the fixed grid where they come from; displacement (rows, columns, 3) in voxels, across an axis."""
    width, height = size_of(displacement, zoom)
    tile = Image.new("RGB", (width, height), BACKGROUND)
    draw = ImageDraw.Draw(tile)
    in_plane = [other for other in range(3) if other != axis]
    first, second = (
        (place + 0.5 + displacement[..., component]) * zoom
        for place, component in zip(np.indices(displacement.shape[:2]), in_plane, strict=True)
    )
    points = np.stack([first, height - second], axis=-1)
    step = max(1, round(LINE_DISTANCE / zoom))
    for line in [*points[::step], *points[:, ::step].swapaxes(0, 1)]:
        draw.line([(float(x), float(y)) for x, y in line], fill=LINE)
    return tile


def outline_tile(tile: Image.Image, fixed: np.ndarray | None, warped: np.ndarray | None) -> Image.Image:
    """A tile with the outlines of label maps (rows, columns) on it."""
    pixels = np.array(tile)
    edges = [
        np.zeros(pixels.shape[:2], bool) if labels is None else edge_of(labels, tile.size) for labels in (fixed, warped)
    ]
    for edge, colour in zip((*edges, edges[0] & edges[1]), (FIXED_OUTLINE, WARPED_OUTLINE, BOTH_OUTLINES), strict=True):
        pixels[edge] = colour
    return Image.fromarray(pixels)


def edge_of(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Where labels (rows, columns) change, in a tile of a width and height, as it is looked at."""
    turned = Image.fromarray(np.ascontiguousarray(labels.astype(np.int32).T[::-1]))
    large = np.array(turned.resize(size, Image.Resampling.NEAREST))
    edge = np.zeros(large.shape, bool)
    edge[:-1] |= large[:-1] != large[1:]
    edge[:, :-1] |= large[:, :-1] != large[:, 1:]
    return edge
