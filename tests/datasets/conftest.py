from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sacb_bundle.spatial import align


@pytest.fixture
def by_shift(monkeypatch: pytest.MonkeyPatch) -> None:
    """Align by a shift, which takes a moment, instead of an affine transform, which takes seconds."""

    def align_by_shift(fixed: Any, moving: Any, initial: str, *masks: Any) -> np.ndarray:
        assert initial == "affine"
        return align(fixed, moving, "center", *masks)

    monkeypatch.setattr("sacb_bundle.spatial.alignment_cache.align", align_by_shift)
