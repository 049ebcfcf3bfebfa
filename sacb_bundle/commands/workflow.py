"""Run a config of the bundle, as `python -m monai.bundle run` does."""

from __future__ import annotations

import logging
from typing import Any

from ..config_text import check_plain_text
from ..errors import InputError
from ..files import bundle_root


def run_workflow(config: str, kind: str, overlays: tuple[str, ...] = (), **options: Any) -> None:
    """Run a config with options.

    Give paths as `Path` objects and pairs in a tuple, in which MONAI looks for no code.

    Args:
        config: name of the config in configs/, without its ending.
        kind: "train" or "infer".
        overlays: paths of configs that override it.
        options: keys and values that override it.

    Raises:
        InputError: if the config is missing, or an option would be taken for code; MONAI wraps other errors in its own.
    """
    for key, value in options.items():
        check_plain_text(value, key)
    path = bundle_root() / "configs" / f"{config}.json"
    if not path.is_file():
        raise InputError(f"{path}: no such file; the installation is incomplete.")
    from monai.bundle import ConfigWorkflow

    for library in ("ignite", "monai.bundle.workflows"):
        logging.getLogger(library).setLevel(logging.CRITICAL)  # the caller reports an error once
    workflow = ConfigWorkflow([str(path), *overlays], workflow_type=kind, logging_file=False, **options)
    workflow.initialize()
    workflow.run()
    workflow.finalize()
