import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from sacb_bundle.metrics.arrays import as_field, as_label_map, as_label_map_pair, as_spacing

LABELS = np.arange(24).reshape(2, 3, 4)


def _read_only(values: np.ndarray) -> np.ndarray:
    values = values.copy()
    values.flags.writeable = False
    return values


@pytest.mark.parametrize(
    "values",
    [
        LABELS.astype(np.uint8),
        LABELS.astype(np.uint16),
        LABELS.astype(">i4"),
        LABELS.astype(np.float32),
        np.flip(np.flip(LABELS, 0).copy(), 0),
        np.asfortranarray(LABELS),
        _read_only(LABELS),
        torch.from_numpy(LABELS).to(torch.int16),
        torch.from_numpy(LABELS).float(),
        MetaTensor(LABELS).float(),
    ],
    ids=[
        "uint8",
        "uint16",
        "big-endian",
        "float",
        "flipped",
        "fortran",
        "read-only",
        "int16",
        "tensor",
        "meta",
    ],
)
def test_label_map_of_any_type_becomes_an_int64_tensor(values: np.ndarray | torch.Tensor) -> None:
    label_map = as_label_map(values)
    assert type(label_map) is torch.Tensor
    assert label_map.dtype == torch.int64
    np.testing.assert_array_equal(label_map.numpy(), LABELS)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (LABELS[0], "shape"),
        (LABELS[None], "shape"),
        (LABELS + 0.5, "whole numbers"),
        (np.full((2, 2, 2), np.nan), "whole numbers"),
    ],
)
def test_malformed_label_map_is_refused(values: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        as_label_map(values)


def test_label_maps_of_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="different shapes"):
        as_label_map_pair(LABELS, LABELS[:, :2])


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
        (torch.int64, torch.float32),
    ],
)
def test_field_is_detached_and_has_at_least_single_precision(given: torch.dtype, kept: torch.dtype) -> None:
    values = torch.ones(3, 2, 3, 4, dtype=given, requires_grad=given.is_floating_point)
    field = as_field(values)
    assert field.dtype == kept
    assert not field.requires_grad


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((2, 4, 4, 4)), "shape"),
        (np.zeros((4, 4, 4)), "shape"),
        (np.zeros((1, 3, 4, 4, 4)), "shape"),
        (np.zeros((3, 4, 1, 4)), "shape"),
        (np.full((3, 4, 4, 4), np.nan), "not finite"),
        (np.full((3, 4, 4, 4), np.inf), "not finite"),
    ],
)
def test_malformed_field_is_refused(values: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        as_field(values)


@pytest.mark.parametrize("spacing", [(1, 1), (1, 1, 0), (1, 1, -1), (1, 1, float("nan")), (1, 1, float("inf")), 1.0])
def test_malformed_spacing_is_refused(spacing: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="three positive numbers"):
        as_spacing(spacing)
