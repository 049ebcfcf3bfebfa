from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from sacb_bundle.transforms import ScaleIntensityd, Warpd, WithinMasksd

AFFINE = np.diag([2.0, 3.0, 4.0, 1.0])


def shift_by_one() -> torch.Tensor:
    field = torch.zeros(3, 4, 5, 6)
    field[1] = 1
    return field


def test_warp_adds_items_and_keeps_metadata() -> None:
    image = MetaTensor(torch.rand(1, 4, 5, 6), affine=torch.from_numpy(AFFINE))
    labels = torch.randint(0, 9, (1, 4, 5, 6))
    result = Warpd(["moving", "moving_labels"], "pred", ["warped", "warped_labels"], ("bilinear", "nearest"))(
        {"moving": image, "moving_labels": labels, "pred": shift_by_one()}
    )
    torch.testing.assert_close(result["warped"].as_tensor()[:, :, :-1], image.as_tensor()[:, :, 1:])
    assert torch.equal(result["warped_labels"][:, :, :-1], labels[:, :, 1:].float())
    assert np.array_equal(result["warped"].affine, AFFINE)
    assert result["moving"] is image


def test_outside_of_an_image_is_its_minimum_and_of_labels_zero() -> None:
    far = torch.full((3, 4, 5, 6), 50.0)
    ct, labels = torch.linspace(-1000, 1000, 120).reshape(1, 4, 5, 6), torch.full((1, 4, 5, 6), 3.0)
    result = Warpd(["ct", "seg"], "pred", ["warped", "warped_labels"], ("bilinear", "nearest"))(
        {"ct": ct, "seg": labels, "pred": far}
    )
    assert (result["warped"] == -1000).all()
    assert (result["warped_labels"] == 0).all()


def test_missing_key() -> None:
    with pytest.raises(KeyError, match="moving_labels"):
        Warpd("moving_labels", "pred", "warped_labels", "nearest")({"pred": shift_by_one()})
    allowed = Warpd("moving_labels", "pred", "warped_labels", "nearest", allow_missing_keys=True)
    assert set(allowed({"pred": shift_by_one()})) == {"pred"}


def test_label_maps_count_within_both_masks() -> None:
    masks = torch.ones(2, 4, 5, 6)
    masks[0, :, 3], masks[1, 2] = 0, 0
    labels = torch.full((1, 4, 5, 6), 3.0)
    given = {"masks": masks, "pred": shift_by_one(), "label": labels, "warped_labels": 2 * labels}
    result = WithinMasksd(["warped_labels", "label"])(given)
    shown = torch.ones(4, 5, 6)
    shown[2], shown[:, 2], shown[:, 4] = 0, 0, 0  # the shift comes from outside the moving image there
    assert torch.equal(result["label"][0], 3 * shown)
    assert torch.equal(result["warped_labels"][0], 6 * shown)
    del given["masks"]
    assert WithinMasksd("label")(given)["label"] is labels


def test_an_image_is_darkest_outside_its_mask() -> None:
    image = torch.zeros(1, 12, 12, 12)
    image[:, 2:10, 2:10, 2:10] = 1 + torch.rand(1, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(image)
    mask[:, :6] = 0
    scaled = ScaleIntensityd("image", "mr")({"image": image, "mask": mask})["image"]
    other = image.clone()
    other[:, 3:5, 3:5, 3:5] = 1.9
    assert scaled[:, :6].max() == 0
    assert scaled[:, 6:10, 2:10, 2:10].min() > 0.4
    assert torch.equal(ScaleIntensityd("image", "mr")({"image": other, "mask": mask})["image"], scaled)
