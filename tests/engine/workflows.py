"""The bundle's workflows, made small enough for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from monai.bundle import ConfigWorkflow

from sacb_bundle.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
COMMON = {"device": "cpu", "logging_file": False, "bundle_root": str(ROOT)}


def workflow(name: str, overlay: str | None = None, **options: Any) -> ConfigWorkflow:
    """A workflow of configs/, initialised; a training of a small network."""
    small = {"network_def#base_channels": 2} if name == "train" else {"jobs": 0}
    files = [str(ROOT / "configs" / f"{name}.json")]
    if overlay:
        files.append(str(ROOT / "configs" / "datasets" / f"{overlay}.json"))
    made = ConfigWorkflow(files, workflow_type="train" if name == "train" else "infer", **(COMMON | small | options))
    made.initialize()
    return made


def reason_of(error: BaseException) -> InputError:
    """The InputError behind an error that MONAI raised."""
    reason: BaseException | None = error
    while not isinstance(reason, InputError):
        assert reason is not None, f"no InputError behind {error!r}"
        reason = reason.__cause__
    return reason
