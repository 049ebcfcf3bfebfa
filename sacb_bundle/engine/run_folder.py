"""Protect the weights of earlier training runs, and those that ship."""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError
from ..files import make_folder, real_path, shipped_weights

WEIGHTS, STATE = "model.pt", "last.pt"


def make_run_folders(output_dir: str | Path, ckpt_dir: str | Path, resume: bool | str | Path, replace: bool) -> None:
    """Make the folders of a training run, unless that would replace weights.

    Args:
        output_dir: folder of the state and the logs.
        ckpt_dir: folder of the weights.
        resume: whether the run continues an earlier one, or the path of the state to continue from.
        replace: whether to allow replacing the weights of an earlier run, or those that ship.

    Raises:
        InputError: if weights would be replaced, or a folder cannot be written to.
    """
    weights, state = Path(ckpt_dir) / WEIGHTS, Path(output_dir) / STATE
    if not replace and real_path(weights) == real_path(shipped_weights()):
        raise InputError(f"{weights}: these weights ship with the bundle, and a training does not replace them.")
    for path in (weights, state):
        if path.exists() and not resume and not replace:
            raise InputError(
                f"{path}: belongs to an earlier training; continue it with --resume, or choose another output_dir."
            )
    make_folder(ckpt_dir)
    make_folder(output_dir)
