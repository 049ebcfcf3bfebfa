from __future__ import annotations

import pytest

from sacb_bundle.registration import refine


@pytest.fixture
def weights_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Optimise the weights on the CPU, too, without correcting the field."""
    monkeypatch.setattr(refine, "_optimises_weights", lambda device: True)
    monkeypatch.setattr(refine, "CORRECTION_SHARE", 0.0)
