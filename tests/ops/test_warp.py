from __future__ import annotations

import pytest
import torch

from sacb_bundle.metrics import folding_percentage
from sacb_bundle.ops import compose, integrate, upsample_field, warp

SHAPE = (5, 6, 7)


def constant_field(*displacement: float, shape=SHAPE) -> torch.Tensor:
    return torch.tensor(displacement).reshape(1, 3, 1, 1, 1).expand(1, 3, *shape).clone()


def ramp(axis: int, shape=SHAPE) -> torch.Tensor:
    size = [1, 1, 1, 1, 1]
    size[axis + 2] = shape[axis]
    return torch.arange(float(shape[axis])).reshape(size).expand(1, 1, *shape).clone()


def test_no_displacement_changes_nothing() -> None:
    image = torch.rand(2, 3, *SHAPE)
    torch.testing.assert_close(warp(image, torch.zeros(2, 3, *SHAPE)), image, atol=1e-5, rtol=0)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_components_are_in_axis_order_and_pull(axis: int) -> None:
    displacement = [0.0, 0.0, 0.0]
    displacement[axis] = 1.25
    warped = warp(ramp(axis), constant_field(*displacement))
    expected = ramp(axis) + 1.25
    inside = expected <= SHAPE[axis] - 1
    torch.testing.assert_close(warped[inside], expected[inside], atol=1e-5, rtol=0)


def test_outside_is_zero() -> None:
    assert warp(torch.ones(1, 1, *SHAPE), constant_field(20.0, 0.0, 0.0)).abs().max() == 0


def test_nearest_keeps_labels() -> None:
    labels = torch.randint(0, 200, (1, 1, *SHAPE)).float()
    warped = warp(labels, constant_field(0.4, -0.3, 0.2), mode="nearest")
    assert torch.equal(warped, labels)


def test_coordinates_do_not_lose_precision_in_half_precision() -> None:
    image = torch.zeros(1, 1, 2, 2, 256, dtype=torch.bfloat16)
    image[..., 200] = 1
    warped = warp(image, constant_field(0.0, 0.0, 0.25, shape=(2, 2, 256)))
    assert warped.dtype == torch.bfloat16
    assert warped[0, 0, 0, 0, 200].item() == pytest.approx(0.75)


def test_compose_equals_warping_twice() -> None:
    shape = (16, 16, 16)
    places = torch.stack(torch.meshgrid(*[torch.linspace(0, 3, size) for size in shape], indexing="ij"))[None]
    first, second = 0.5 * torch.sin(places), 0.7 * torch.cos(places.flip(1))
    image = places.sum(dim=1, keepdim=True)
    twice, once = warp(warp(image, first), second), warp(image, compose(first, second))
    inside = (slice(None), slice(None), *[slice(2, -2)] * 3)
    torch.testing.assert_close(once[inside], twice[inside], atol=5e-3, rtol=0)


def test_upsampled_field_moves_the_same_way() -> None:
    field = upsample_field(constant_field(0.5, -1.0, 2.0))
    assert field.shape == (1, 3, 10, 12, 14)
    torch.testing.assert_close(field, constant_field(1.0, -2.0, 4.0, shape=(10, 12, 14)))


@pytest.mark.parametrize("depth", [4, 5])
def test_one_item_is_warped_as_an_item_of_a_batch_is(depth: int) -> None:
    generator = torch.Generator().manual_seed(0)
    image, field = (torch.randn(2, 3, depth, 3, 4, generator=generator, requires_grad=True) for _ in range(2))
    batch, items = warp(image, field), torch.cat([warp(image[i : i + 1], field[i : i + 1]) for i in range(2)])
    assert torch.equal(batch, items)
    upstream = torch.randn(batch.shape, generator=generator)
    for gradient, reference in zip(
        torch.autograd.grad(items, (image, field), upstream),
        torch.autograd.grad(batch, (image, field), upstream),
        strict=True,
    ):
        torch.testing.assert_close(gradient, reference, atol=1e-5, rtol=1e-5)


def bump(height: float, shape=(24, 24, 24)) -> torch.Tensor:
    """Velocity of one component that is largest in the middle, in voxels, and nearly 0 at the border."""
    distances = [((torch.arange(size) - (size - 1) / 2) / 4) ** 2 for size in shape]
    squared = distances[0][:, None, None] + distances[1][:, None] + distances[2]
    velocity = torch.zeros(1, 3, *shape)
    velocity[0, 1] = height * torch.exp(-squared / 2)
    return velocity


def test_integrated_velocity_is_undone_by_its_negative() -> None:
    velocity = bump(3.0)
    there_and_back = compose(integrate(velocity, 7), integrate(-velocity, 7))
    assert there_and_back.abs().max() < 0.05
    assert compose(velocity, -velocity).abs().max() > 0.5


def test_integrated_velocity_does_not_fold() -> None:
    velocity = bump(9.0)
    assert folding_percentage(velocity[0]) > 0.3
    assert folding_percentage(integrate(velocity, 7)[0]) == 0


def test_integration_follows_the_velocity() -> None:
    # The velocity v(x) = a x moves x to x exp(a).
    places = torch.arange(33.0) - 16
    velocity = (0.1 * places).reshape(1, 1, 1, 33).expand(1, 9, 9, 33)[:, None] * torch.tensor([0.0, 0, 1]).reshape(
        1, 3, 1, 1, 1
    )
    moved = integrate(velocity, 8)[0, 2, 4, 4]
    expected = places * (torch.tensor(0.1).exp() - 1)
    torch.testing.assert_close(moved[4:-4], expected[4:-4], atol=0.01, rtol=0)


def test_no_steps_leave_the_velocity() -> None:
    velocity = bump(3.0)
    assert integrate(velocity, 0) is velocity
