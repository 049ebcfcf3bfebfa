"""A picture of a registration."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.transforms import Transform
from PIL import Image, ImageDraw, ImageFont

from ..ops import warp
from ..spatial import Transform as SpatialTransform
from ..spatial import read_label_map, resample

# In pixels.
TILE, GAP, HEADING, FONT = 168, 6, 20, 12
# In voxels, between lines of the warped grid.
GRID_STEP = 4
FIXED_OUTLINE, WARPED_OUTLINE = (64, 220, 64), (255, 90, 200)
BACKGROUND, TEXT, LINE = (16, 16, 16), (225, 225, 225), (120, 190, 255)
# Axis across each plane. Rows show the two others, the later one upwards, as the working grid (RAS) has them.
PLANES = {"axial": 2, "coronal": 1, "sagittal": 0}
QUALITY = 85


class DrawRegistrationd(Transform):
    """Draw a registered pair in three planes of the working grid, into "folder"/picture.jpg.

    Columns: fixed, moving after the alignment, warped; the differences fixed - moving and fixed - warped (blue where
    fixed is brighter, red where it is darker); where the lines of a grid come from; the displacement as a colour (red:
    left-right, green: front-back, blue: up-down); where there are labels, their outlines (fixed green, warped pink).

    It reads what `sacb_bundle.transforms.SaveRegistrationd` reads and adds, and "seg_fixed" where it is there.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Draw, and return the data as they were."""
        image = data["image"].as_subclass(torch.Tensor).float()
        field = data["pred"].as_subclass(torch.Tensor).float()
        with torch.no_grad():
            warped = warp(image[:1, None], field[None])[0, 0].cpu().numpy()
        moving, fixed = image.cpu().numpy()
        displacement = field.movedim(0, -1).cpu().numpy()
        lengths = data["transform"].displacement.vectors.norm(dim=0)
        longest = max(float(lengths.max()), 1e-6)
        colours = data["transform"].displacement.vectors.movedim(0, -1).abs().cpu().numpy() / longest
        columns: list[tuple[str, np.ndarray]] = [
            ("fixed", grey(fixed)),
            ("moving, aligned", grey(moving)),
            ("warped", grey(warped)),
            ("fixed - moving", red_blue(fixed - moving)),
            ("fixed - warped", red_blue(fixed - warped)),
            ("", displacement),
            (f"displacement to {longest:.1f} mm", np.sqrt(colours)),
        ]
        labels = label_maps(data)
        headings = [name or "warped grid" for name, _ in columns] + ["labels"] * bool(labels)
        sheet = Image.new("RGB", (len(headings) * (TILE + GAP), HEADING + len(PLANES) * (TILE + GAP)), BACKGROUND)
        draw = ImageDraw.Draw(sheet)
        font = ImageFont.load_default(FONT)
        for column, heading in enumerate(headings):
            draw.text((column * (TILE + GAP) + GAP, 3), heading, fill=TEXT, font=font)
        zoom = TILE / max(fixed.shape)
        for row, (name, axis) in enumerate(PLANES.items()):
            middle = fixed.shape[axis] // 2
            tiles = [
                grid_tile(np.take(values, middle, axis), axis, zoom)
                if not heading
                else colour_tile(np.take(values, middle, axis), zoom)
                for heading, values in columns
            ]
            if labels:
                slices = [np.take(values, middle, axis) for values in labels]
                tiles.append(outline_tile(np.take(grey(fixed), middle, axis), slices, zoom))
            for column, tile in enumerate(tiles):
                left = column * (TILE + GAP) + (TILE - tile.width) // 2
                sheet.paste(tile, (left, HEADING + row * (TILE + GAP) + (TILE - tile.height) // 2))
            draw.text((GAP, HEADING + row * (TILE + GAP)), name, fill=TEXT, font=font)
        sheet.save(data["folder"] / "picture.jpg", quality=QUALITY)
        return dict(data)


def label_maps(data: Mapping[Hashable, Any]) -> list[np.ndarray]:
    """Fixed and warped label map (D, H, W) on the working grid; those that there are, if the fixed one is."""
    if "seg_fixed" not in data:
        return []
    transform = data["transform"]
    grid = transform.displacement.grid
    maps = [resample(SpatialTransform(), grid, labels=[read_label_map(data["seg_fixed"])])]
    if "moving_labels" in data:
        maps.append(resample(transform, grid, labels=[data["moving_labels"]]))
    return [result.labels[0].values for result in maps]


def grey(image: np.ndarray) -> np.ndarray:
    """Image (D, H, W) in [0, 1] as colours (D, H, W, 3)."""
    return np.repeat(image[..., None], 3, axis=-1)


def red_blue(difference: np.ndarray) -> np.ndarray:
    """Differences (D, H, W) in [-1, 1] as colours (D, H, W, 3): white for none, blue above, red below."""
    above, below = difference.clip(0, 1), (-difference).clip(0, 1)
    return 1 - np.stack([above, above + below, below], axis=-1)


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
    for line in [*points[::GRID_STEP], *points[:, ::GRID_STEP].swapaxes(0, 1)]:
        draw.line([(float(x), float(y)) for x, y in line], fill=LINE)
    return tile


def outline_tile(background: np.ndarray, labels: list[np.ndarray], zoom: float) -> Image.Image:
    """Slice with the outlines of one or two label maps."""
    tile = colour_tile(background, zoom)
    pixels = np.array(tile)
    for values, colour in zip(labels, (FIXED_OUTLINE, WARPED_OUTLINE), strict=False):
        turned = Image.fromarray(np.ascontiguousarray(values.astype(np.int32).T[::-1]))
        large = np.array(turned.resize(tile.size, Image.Resampling.NEAREST))
        edge = np.zeros(large.shape, bool)
        edge[:-1] |= large[:-1] != large[1:]
        edge[:, :-1] |= large[:, :-1] != large[:, 1:]
        pixels[edge] = colour
    return Image.fromarray(pixels)
