"""Random contrasts, so that a network learns what is where and not how bright it is."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, RandomizableTransform


class RandContrastd(RandomizableTransform, MapTransform):
    """Map the intensities of each image, from 0 to 1, by a random curve; the background stays 0.

    The curve is linear between random values at equal distances, so it may be inverted, or rise and fall. Each image
    gets its own.

    Args:
        keys: keys of the images (1, D, H, W), from 0 to 1.
        prob: probability that an image changes.
        num_values: number of random values.
        allow_missing_keys: whether to skip absent images instead of raising an error.

    Example:
        >>> import torch
        >>> image = torch.tensor([0.0, 0.2, 0.2, 1.0]).reshape(1, 1, 1, 4)
        >>> mapped = RandContrastd("moving", prob=1).set_random_state(seed=0)({"moving": image})["moving"]
        >>> [round(value, 2) for value in mapped.flatten().tolist()]
        [0.0, 0.62, 0.62, 0.47]
    """

    def __init__(
        self, keys: KeysCollection, prob: float = 0.5, num_values: int = 6, allow_missing_keys: bool = False
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob)
        self.num_values = num_values

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Map the images."""
        result = dict(data)
        for key in self.key_iterator(result):
            self.randomize(None)
            values = self.R.uniform(0.05, 1, self.num_values).astype(np.float32)
            if self._do_transform:
                result[key] = _mapped(result[key], torch.from_numpy(values))
        return result


class RandLabelIntensitiesd(RandomizableTransform, MapTransform):
    """Replace images by ones made from their label maps, with a random intensity for each label.

    Only label maps with high labels are used, since those with few leave most of an image empty. Source: M. Hoffmann et
    al., "SynthMorph: learning contrast-invariant registration without acquired images", IEEE TMI 2022.

    Args:
        keys: keys of the images (1, D, H, W), each with a label map of whole numbers under the key + "_labels".
        prob: probability that an image is replaced.
        least_labels: least value of the highest label.
        noise: largest standard deviation of the noise.

    Example:
        >>> import torch
        >>> labels = torch.tensor([0.0, 30, 30, 2]).reshape(1, 1, 1, 4)
        >>> made = RandLabelIntensitiesd("moving", prob=1, noise=0).set_random_state(seed=0)
        >>> [round(v, 2) for v in made({"moving": labels, "moving_labels": labels})["moving"].flatten().tolist()]
        [0.0, 0.37, 0.37, 0.62]
    """

    def __init__(self, keys: KeysCollection, prob: float = 0.5, least_labels: int = 20, noise: float = 0.05) -> None:
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, prob)
        self.least_labels = least_labels
        self.noise = noise

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace the images."""
        result = dict(data)
        for key in self.key_iterator(result):
            self.randomize(None)
            state = int(self.R.randint(2**31))
            if not self._do_transform:
                continue
            labels = result[f"{key}_labels"].as_subclass(torch.Tensor).long()
            highest = int(labels.max())
            if highest < self.least_labels:
                continue
            random = torch.Generator().manual_seed(state)  # on the CPU, so that all devices get the same numbers
            intensities = torch.rand(highest + 1, generator=random) * 0.95 + 0.05
            intensities[0] = 0
            noise = self.noise * torch.rand(1, generator=random) * torch.randn(labels.shape, generator=random)
            image = intensities.to(labels.device)[labels] + noise.to(labels.device)
            result[key] = (image * (labels > 0)).clamp(0, 1)
        return result


def _mapped(image: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Return an image from 0 to 1, mapped by the curve through values at equal distances; 0 stays 0."""
    values = values.to(image.device)
    places = image.as_subclass(torch.Tensor).clamp(0, 1) * (len(values) - 1)
    lower = places.long().clamp(max=len(values) - 2)
    share = places - lower
    return (values[lower] * (1 - share) + values[lower + 1] * share) * (image > 0)
