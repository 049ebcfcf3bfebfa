"""Run a config of the bundle, as `python -m monai.bundle run` does."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any

from ..config_text import check_plain_text
from ..errors import InputError, reason_of
from ..files import bundle_root

if TYPE_CHECKING:
    from monai.bundle import ConfigWorkflow

# Options of the verbs by the keys of the configs that they set, where their names differ.
_OPTIONS = {
    "accept_changes": "--accept-changes",
    "data_list": "--pairs",
    "dataset_dir": "--dataset",
    "max_epochs": "--max-epochs",
    "output_dir": "--output",
}


def run_workflow(config: str, kind: str, overlays: tuple[str, ...] = (), **options: Any) -> ConfigWorkflow:
    """Run a config with options.

    Give paths as `Path` objects and pairs in a tuple, in which MONAI looks for no code.

    Args:
        config: name of the config in configs/, without its ending.
        kind: "train" or "infer".
        overlays: paths of configs that override it.
        options: keys and values that override it.

    Returns:
        The workflow, after its run.

    Raises:
        InputError: if the config is missing, an overlay does not fit it, an option would be taken for code, or an
            `InputError` ends the run; the message then names the options of the verbs.
    """
    for key, value in options.items():
        check_plain_text(value, key)
    path = bundle_root() / "configs" / f"{config}.json"
    if not path.is_file():
        raise InputError(f"{path}: no such file; the installation is incomplete.")
    from monai.bundle import ConfigWorkflow

    for library in ("ignite", "monai.bundle.workflows"):
        logging.getLogger(library).setLevel(logging.CRITICAL)  # the caller reports an error once
    try:
        workflow = ConfigWorkflow([str(path), *overlays], workflow_type=kind, logging_file=False, **options)
    except KeyError as error:
        missing = str(error.args[0]).removeprefix("query key: ")
        raise InputError(f"{', '.join(overlays)}: sets a part of {missing}, a key that {path.name} lacks.") from error
    except (IndexError, ValueError) as error:  # such as text that is not JSON, or a list that is no list
        raise InputError(f"{', '.join(overlays)}: does not fit {path.name}: {error}") from error
    try:
        workflow.initialize()
        workflow.run()
        workflow.finalize()
    except Exception as error:
        reason = reason_of(error)
        if reason is None:
            raise
        raise InputError(_with_options(str(reason))) from error
    return workflow


def _with_options(message: str) -> str:
    """Replace keys of the configs in a message by the options of the verbs, but for parts of paths."""
    return re.sub(rf"(?<![\w/.-])(--)?({'|'.join(_OPTIONS)})(?![\w/-]|\.\w)", lambda found: _OPTIONS[found[2]], message)
