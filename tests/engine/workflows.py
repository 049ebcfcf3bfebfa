"""The bundle's workflows, small enough for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from monai.bundle import ConfigWorkflow

from sacb_bundle.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
COMMON = {"device": "cpu", "logging_file": False, "bundle_root": str(ROOT)}


def workflow(name: str, overlay: str | None = None, **options: Any) -> ConfigWorkflow:
    """Make and initialise a workflow of configs/, with a small network for training."""
    small = {"network_def#base_channels": 2} if name == "train" else {"jobs": 0}
    files = [str(ROOT / "configs" / f"{name}.json")]
    if overlay:
        files.append(str(ROOT / "configs" / "datasets" / f"{overlay}.json"))
    made = ConfigWorkflow(files, workflow_type="train" if name == "train" else "infer", **(COMMON | small | options))
    made.initialize()
    return made


def reason_of(error: BaseException) -> InputError:
    """Return the InputError behind an error that MONAI raised."""
    reason: BaseException | None = error
    while not isinstance(reason, InputError):
        assert reason is not None, f"no InputError behind {error!r}"
        reason = reason.__cause__
    return reason
