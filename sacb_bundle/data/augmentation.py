"""Check that random transforms of training images treat label maps and masks alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from monai.transforms import MapTransform

from ..errors import InputError

# Modules of MONAI whose transforms move, crop or pad, with one exception, and one such transform elsewhere.
SPATIAL_MODULES = ("monai.transforms.spatial.", "monai.transforms.croppad.")
NOT_SPATIAL, ALSO_SPATIAL = "RandSimulateLowResolutiond", "RandSmoothDeformd"
NEAREST = ("nearest", "nearest-exact", "0")


def check_augmentation(augmentation: Callable, kinds: Sequence[str]) -> None:
    """Check that each transform that moves an image moves its label map and its mask as well, without interpolation.

    Only MONAI's own transforms are checked; others must see to it themselves.

    Args:
        augmentation: random transform of training pairs, or a `Compose` of several, see
            `sacb_bundle.data.pair_dataset.PairDataset`.
        kinds: "labels" and "mask", those that the loss needs.

    Raises:
        InputError: if a transform moves only the image, or interpolates labels.
    """
    for transform in _spatial([augmentation]):
        keys = [str(key) for key in transform.keys]
        maps = [f"{role}_{kind}" for role in ("moving", "fixed") if role in keys for kind in kinds]
        name = f"augmentation: {type(transform).__name__}"
        if missing := [key for key in maps if key not in keys]:
            raise InputError(
                f"{name} moves {', '.join(keys)}, but not {', '.join(missing)}, which the loss compares; name them in "
                "its keys, too, with the mode nearest."
            )
        modes = getattr(transform, "mode", ()) if type(transform).__module__.startswith(SPATIAL_MODULES[0]) else ()
        for key, mode in zip(keys, modes, strict=False):
            if key in maps and str(mode) not in NEAREST:
                raise InputError(f"{name} has the mode {mode} for {key}; it must be nearest.")


def _spatial(transforms: Iterable[object]) -> Iterator[MapTransform]:
    """Yield the transforms of MONAI that move, crop or pad."""
    for transform in transforms:
        if isinstance(inner := getattr(transform, "transforms", None), (list, tuple)):
            yield from _spatial(inner)  # such as Compose, OneOf, SomeOf
        name = type(transform).__name__
        if isinstance(transform, MapTransform) and (
            name == ALSO_SPATIAL or (type(transform).__module__.startswith(SPATIAL_MODULES) and name != NOT_SPATIAL)
        ):
            yield transform
