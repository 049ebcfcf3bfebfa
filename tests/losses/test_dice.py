"""Dice of warped label maps, against MONAI's loss of one-hot maps."""

from __future__ import annotations

import math

import pytest
import torch
from monai.losses import DiceLoss as MonaiDiceLoss
from monai.losses import MaskedDiceLoss
from monai.networks import one_hot

from sacb_bundle.errors import InputError
from sacb_bundle.losses import DiceLoss
from sacb_bundle.ops import common_mask, fused_kernels, warp, warped_label_sums

LABELS = [2, 5, 9]


def example(*labels: int, seed: int = 0, batch: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    """Label maps in blocks of three voxels, and a field that also points out of the image."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.tensor([0, *labels])
    blocks = values[torch.randint(0, len(values), (batch, 2, 4, 5, 3), generator=generator)]
    for axis in (2, 3, 4):
        blocks = blocks.repeat_interleave(3, dim=axis)
    field = 3 * torch.rand(batch, 3, *blocks.shape[2:], generator=generator) - 1
    return field.requires_grad_(), blocks.float()


def one_hot_maps(field: torch.Tensor, labels: torch.Tensor, values: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    numbers = torch.zeros_like(labels)
    for number, value in enumerate(values, start=1):
        numbers[labels == value] = number
    moving, fixed = (one_hot(numbers[:, channel : channel + 1], len(values) + 1) for channel in (0, 1))
    return warp(moving, field), fixed


def gradient_of(loss: torch.Tensor, field: torch.Tensor) -> torch.Tensor:
    (gradient,) = torch.autograd.grad(loss, field)
    return gradient


def test_it_is_that_of_monai_with_its_gradient() -> None:
    field, labels = example(*LABELS, 7)  # 7 does not count
    expected = MonaiDiceLoss(include_background=False)(*one_hot_maps(field, labels, LABELS))
    found = DiceLoss(LABELS)(field, labels)
    assert 0.3 < found.item() == pytest.approx(expected.item(), rel=1e-6)
    torch.testing.assert_close(gradient_of(found, field), gradient_of(expected, field), rtol=1e-4, atol=1e-8)


def test_outside_the_masks_nothing_counts() -> None:
    field, labels = example(*LABELS)
    masks = (torch.rand(labels.shape, generator=torch.Generator().manual_seed(1)) > 0.3).float()
    field = field.detach().round()  # so that the warped mask has no fractions, which MONAI would square
    mask = common_mask(masks, field)
    assert 0.3 < mask.mean() < 0.5
    expected = MaskedDiceLoss(include_background=False)(*one_hot_maps(field, labels, LABELS), mask=mask)
    assert DiceLoss(LABELS)(field, labels, masks).item() == pytest.approx(expected.item(), rel=1e-5)
    masks[..., :6] = 0
    changed = labels.clone()
    changed[:, 1, ..., :6] = 2
    assert DiceLoss(LABELS)(field, changed, masks).item() == DiceLoss(LABELS)(field, labels, masks).item()


def test_only_labels_of_both_images_count() -> None:
    field, labels = example(*LABELS, batch=1)
    labels[:, 1][labels[:, 1] == 9] = 0
    expected = MonaiDiceLoss(include_background=False)(*one_hot_maps(field, labels, [2, 5]))
    assert DiceLoss([*LABELS, 100])(field, labels).item() == pytest.approx(expected.item(), rel=1e-6)
    none = DiceLoss([100])(field, labels)
    assert none.item() == 0
    assert gradient_of(none, field).abs().max() == 0


def test_it_needs_no_memory_for_each_label(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the backward pass keeps is the same for 134 labels."""
    field, labels = example(*range(1, 135))

    def kept(number: int) -> int:
        sizes = dict[int, int]()

        def note(tensor: torch.Tensor) -> torch.Tensor:
            sizes[tensor.data_ptr()] = tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            loss = DiceLoss(list(range(1, number + 1)))(field, labels)
        assert loss.requires_grad
        return sum(sizes.values())

    assert kept(134) < 1.01 * kept(2)


def test_a_step_against_the_gradient_raises_the_overlap() -> None:
    labels = torch.zeros(1, 2, 12, 12, 12)
    labels[0, 0, 3:7, 3:9, 3:9], labels[0, 1, 4:8, 3:9, 3:9] = 1, 1
    field = torch.zeros(1, 3, 12, 12, 12, requires_grad=True)
    loss = DiceLoss([1])
    before = loss(field, labels)
    gradient = gradient_of(before, field)
    assert gradient[0, 0].sum() > 0  # the object lies one voxel lower in the moving image
    after = loss((field - 0.5 * gradient / gradient.abs().max()).detach(), labels)
    assert after < before


@pytest.mark.parametrize("labels", [[], [0], [1.5], [-1]])
def test_labels_that_cannot_be_compared_are_refused(labels: list) -> None:
    with pytest.raises(InputError, match=r"labels is .*; it must be a list of label values, whole numbers above 0"):
        DiceLoss(labels)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("fused", [True, False])
def test_on_a_gpu_it_gives_the_same_bytes_each_time(fused: bool) -> None:
    field, labels = example(*LABELS)
    masks = torch.ones_like(labels).cuda()
    expected = DiceLoss(LABELS)(field, labels)
    on_gpu, loss = field.detach().cuda().requires_grad_(), DiceLoss(LABELS).cuda()
    with fused_kernels(fused):
        for given in ((), (masks,)):
            losses = [loss(on_gpu, labels.cuda(), *given) for _ in range(3)]
            gradients = [gradient_of(each, on_gpu) for each in losses]
            assert all(torch.equal(each, losses[0]) for each in losses)
            assert all(torch.equal(each, gradients[0]) for each in gradients)
    assert loss(on_gpu, labels.cuda()).item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_field_that_is_not_finite_gives_nan(value: float) -> None:
    labels = torch.randint(0, 3, (1, 2, 8, 8, 8), generator=torch.Generator().manual_seed(0))
    field = torch.zeros(1, 3, 8, 8, 8)
    field[0, 1, 2, 3, 4] = value
    assert all(sums.isnan().all() for sums in warped_label_sums(labels[:, 0], labels[:, 1], field, 3))
