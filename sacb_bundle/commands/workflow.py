"""Run a config of the bundle, as `python -m monai.bundle run` does."""

from __future__ import annotations

import logging
from typing import Any

from ..errors import InputError
from ..files import bundle_root


def run_workflow(config: str, kind: str, overlays: tuple[str, ...] = (), **options: Any) -> None:
    """Run a config with options filled in.

    Paths are `Path` objects among the options, and pairs lie in a tuple: MONAI would take "$" and "@" in a text, by
    itself or in a list, for an expression to run.

    Args:
        config: name of the config in configs/, without its ending.
        kind: "train" or "infer".
        overlays: paths of configs that change it.
        options: keys and values that change it.

    Raises:
        InputError: if the config is missing. MONAI wraps other errors in its own.
    """
    path = bundle_root() / "configs" / f"{config}.json"
    if not path.is_file():
        raise InputError(f"{path}: no such file; the installation is not whole.")
    from monai.bundle import ConfigWorkflow

    for library in ("ignite", "monai.bundle.workflows"):
        logging.getLogger(library).setLevel(logging.CRITICAL)  # an error is told once, by the caller
    given = {key: value for key, value in options.items() if value is not None}
    workflow = ConfigWorkflow([str(path), *overlays], workflow_type=kind, logging_file=False, **given)
    workflow.initialize()
    workflow.run()
    workflow.finalize()
