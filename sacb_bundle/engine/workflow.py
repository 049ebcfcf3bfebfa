"""Run a config of the bundle, as `python -m monai.bundle run` does."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from monai.bundle import ConfigWorkflow

from ..config_text import check_plain_text
from ..errors import InputError, reason_of
from ..files import bundle_root
from .command_line import within_run

# Options of the verbs by the keys of the configs that they set, where their names differ.
_OPTIONS = {
    "accept_changes": "--accept-changes",
    "data_list": "--pairs",
    "dataset_dir": "--dataset",
    "max_epochs": "--max-epochs",
    "output_dir": "--output",
}


# Folders of configs that go on top of another.
OVERLAYS = ("datasets", "networks")


class Component(dict[str, Any]):
    """Definition of an object that a config makes, as the value of an option.

    Other options may not define objects, since their values come from others.

    Args:
        target: class or function that makes the object, such as "sacb_bundle.networks.build_network".
        arguments: its arguments, in which no object is defined.

    Raises:
        InputError: if an argument would be taken for code.
    """

    def __init__(self, target: str, **arguments: Any) -> None:
        for name, value in arguments.items():
            check_plain_text(value, name)
        super().__init__(_target_=target, **arguments)


def run_workflow(config: str, kind: str, overlays: tuple[str, ...] = (), /, **options: Any) -> ConfigWorkflow:
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
        InputError: as in `make_workflow`, or if an `InputError` ends the run; the message then names the options of the
            verbs.
    """
    workflow = make_workflow(config, kind, overlays, **options)
    try:
        with within_run():
            workflow.initialize()
            workflow.run()
            workflow.finalize()
    except Exception as error:
        reason = reason_of(error)
        if reason is None:
            raise
        raise InputError(_with_options(str(reason))) from error
    return workflow


def make_workflow(config: str, kind: str, overlays: tuple[str, ...] = (), /, **options: Any) -> ConfigWorkflow:
    """Read a config with options, without running it.

    Args:
        config: as in `run_workflow`.
        kind: as in `run_workflow`.
        overlays: as in `run_workflow`.
        options: as in `run_workflow`.

    Returns:
        The workflow.

    Raises:
        InputError: if the config is missing, an overlay does not fit it, or an option would be taken for code.
    """
    for key, value in options.items():
        if isinstance(value, Component):
            options[key] = dict(value)  # MONAI copies a dictionary by its class
        else:
            check_plain_text(value, key)
    path = bundle_root() / "configs" / f"{config}.json"
    if not path.is_file():
        raise InputError(f"{path}: no such file; the installation is incomplete.")
    for library in ("ignite", "monai.bundle.workflows"):
        logging.getLogger(library).setLevel(logging.CRITICAL)  # the caller reports an error once
    try:
        return ConfigWorkflow([str(path), *overlays], workflow_type=kind, logging_file=False, **options)
    except KeyError as error:
        missing = str(error.args[0]).removeprefix("query key: ")
        raise InputError(f"{', '.join(overlays)}: sets a part of {missing}, a key that {path.name} lacks.") from error
    except (IndexError, ValueError) as error:  # such as text that is not JSON, or a list that is no list
        raise InputError(f"{', '.join(overlays)}: does not fit {path.name}: {error}") from error


def overlays_of(config: str | Path | Sequence[str | Path] | None) -> tuple[str, ...]:
    """Return the paths of the configs to apply on top of another: that of a data set, of a network, or both.

    Args:
        config: name in configs/datasets or configs/networks, or path of a JSON file; or several, of which later ones
            win; None for none.

    Returns:
        The paths.

    Raises:
        InputError: if there is no such config.
    """
    configs = [config] if isinstance(config, (str, Path)) else config or []
    return tuple(str(_overlay(each)) for each in configs)


def _overlay(config: str | Path) -> Path:
    """Return the path of a config of a data set or a network."""
    shipped = {path.stem: path for folder in OVERLAYS for path in (bundle_root() / "configs" / folder).glob("*.json")}
    path = Path(config) if Path(config).is_file() else shipped.get(str(config))
    if path is None:
        raise InputError(f"config is {config}; it must be a JSON file, or one of {', '.join(sorted(shipped))}.")
    return path


def _with_options(message: str) -> str:
    """Replace keys of the configs in a message by the options of the verbs, but for parts of paths."""
    return re.sub(rf"(?<![\w/.-])(--)?({'|'.join(_OPTIONS)})(?![\w/-]|\.\w)", lambda found: _OPTIONS[found[2]], message)
