from __future__ import annotations

import pytest
import torch
from monai.transforms import (
    Compose,
    DivisiblePadd,
    OneOf,
    RandAdjustContrastd,
    RandAffined,
    RandFlipd,
    RandShiftIntensityd,
    RandSimulateLowResolutiond,
    RandSmoothDeformd,
)

from sacb_bundle.data import EpochSampler, check_augmentation
from sacb_bundle.data.pair_dataset import PairDataset
from sacb_bundle.errors import InputError


def load(subject: dict[str, float]) -> dict[str, torch.Tensor]:
    """Make a subject whose voxels encode its number and their position along axis 0."""
    image = subject["image"] + torch.arange(4.0).reshape(1, 4, 1, 1).expand(1, 4, 2, 2) / 10
    mask = {"mask": (image > 1.15).float()} if "mask" in subject else {}
    return {"image": image} | ({"label": image.round()} if "label" in subject else {}) | mask


def test_pairs_are_moving_then_fixed() -> None:
    dataset = PairDataset([{"image": 1, "label": 0}, {"image": 2, "label": 0}, {"image": 3}], load)
    assert [[round(channel[0, 0, 0].item()) for channel in pair["image"]] for pair in dataset] == [
        [1, 2], [1, 3], [2, 1], [2, 3], [3, 1], [3, 2],
    ]  # fmt: skip
    assert ["fixed_labels" in pair for pair in dataset] == [True, False, True, False, False, False]
    assert torch.equal(dataset[0]["fixed_labels"], dataset[0]["image"][1:].round())


def test_tensors_are_kept_on_the_device_unless_they_would_fill_it(monkeypatch: pytest.MonkeyPatch) -> None:
    data = [{"image": 1, "label": 0}, {"image": 2, "label": 0}]
    pair = PairDataset(data, load, device="meta")[0]
    assert {tensor.device.type for tensor in pair.values()} == {"meta"}
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (255, 1000))  # 2 subjects of 2 maps of 64 bytes
    assert PairDataset(data, load, device="cuda")[0]["image"].device.type == "cpu"


def test_mirror_doubles_the_subjects_and_swaps_left_and_right() -> None:
    plain, mirrored = (PairDataset([{"image": 1}, {"image": 2}], load, mirror=mirror) for mirror in (False, True))
    assert (len(plain), len(mirrored)) == (2, 12)
    index = mirrored.pairs.index((1, 2))
    torch.testing.assert_close(mirrored[index]["image"][1], plain[0]["image"][0].flip(0))


def test_augmentation_changes_the_images_each_time_anew_and_neither_the_subjects_nor_the_labels() -> None:
    shifts = Compose([RandShiftIntensityd("moving", offsets=1, prob=1)])
    data = [{"image": 1, "label": 0}, {"image": 2, "label": 0}]
    plain, augmented = (PairDataset(data, load, augmentation=augmentation) for augmentation in (None, shifts))
    shifts.set_random_state(seed=3)
    first, again = augmented[0], augmented[0]
    assert torch.equal(first["image"][1], plain[0]["image"][1])
    assert torch.equal(first["moving_labels"], plain[0]["moving_labels"])
    assert len({pair["image"][0, 0, 0, 0].item() for pair in (plain[0], first, again)}) == 3
    shifts.set_random_state(seed=3)
    assert torch.equal(augmented[0]["image"], first["image"])


def test_masks_are_those_of_the_pair_and_of_ones_for_an_image_without_one() -> None:
    plain = PairDataset([{"image": 1}, {"image": 2}], load)
    assert "masks" not in plain[0]
    dataset = PairDataset([{"image": 1, "mask": 0}, {"image": 2}], load, mirror=True)
    assert dataset[0]["masks"][:, :, 0, 0].tolist() == [[0, 0, 1, 1], [1, 1, 1, 1]]
    mirrored = dataset[dataset.pairs.index((1, 2))]
    assert mirrored["masks"][:, :, 0, 0].tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]


def test_augmentation_moves_images_label_maps_and_masks_alike() -> None:
    keys = [f"{role}{kind}" for role in ("moving", "fixed") for kind in ("", "_labels", "_mask")]
    data = [{"image": 1, "label": 0, "mask": 0}, {"image": 2, "label": 0}]
    flip = Compose([RandFlipd(keys, prob=1, spatial_axis=0)])
    plain, augmented = (PairDataset(data, load, augmentation=augmentation) for augmentation in (None, flip))
    assert plain[0].keys() == augmented[0].keys() == {"image", "masks", "moving_labels", "fixed_labels"}
    for key, value in plain[0].items():
        assert torch.equal(augmented[0][key].as_subclass(torch.Tensor), value.flip(1)), key


def test_only_transforms_that_move_images_must_move_label_maps() -> None:
    moved = ["moving", "moving_labels"]
    fits = [
        RandAdjustContrastd("moving"),
        RandSimulateLowResolutiond("moving"),
        DivisiblePadd(moved, k=16),
        Compose([RandAffined(moved, mode=("bilinear", "nearest"))]),
    ]
    check_augmentation(Compose(fits), ["labels"])
    check_augmentation(RandAffined("moving"), [])
    for transform in (DivisiblePadd("moving", k=16), RandSmoothDeformd("moving", (8, 8, 8), (2, 2, 2))):
        with pytest.raises(InputError, match=f"{type(transform).__name__} moves moving, but not moving_labels, which"):
            check_augmentation(Compose([OneOf([transform])]), ["labels"])
        with pytest.raises(InputError):
            check_augmentation(transform, ["labels"])


def test_order_depends_on_seed_and_epoch_alone() -> None:
    data = list(range(30))

    def order(seed: int, epoch: int) -> list[int]:
        sampler = EpochSampler(data, seed=seed, samples_per_epoch=10)  # type: ignore[arg-type]
        sampler.set_epoch(epoch)
        assert len(sampler) == 10
        torch.rand(1)
        return list(sampler)

    assert order(0, 1) == order(0, 1)
    assert order(0, 1) != order(0, 2) != order(1, 2)


def test_epoch_is_never_longer_than_the_data() -> None:
    assert sorted(EpochSampler(list(range(5)), 0, 100)) == list(range(5))  # type: ignore[arg-type]
    assert len(EpochSampler(list(range(5)), 0)) == 5  # type: ignore[arg-type]
