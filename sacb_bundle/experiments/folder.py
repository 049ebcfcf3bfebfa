"""The folder of an experiment, whose results all have the same settings."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import make_folder, read_json, write_json
from ..results.result_folder import lock

SETTINGS, LOCK, ALIGNMENTS = "settings.json", ".lock", "alignments"
# Files that are there before any result.
_WITHOUT_RESULTS = {SETTINGS, LOCK, ALIGNMENTS}
# Seconds to wait for another process that writes the settings or the tables.
WAIT_S = 60


def claim_folder(folder: Path, settings: Mapping[str, Any]) -> None:
    """Make the folder of an experiment, or check that an earlier experiment there had the same settings.

    Args:
        folder: folder of the results.
        settings: settings of the experiment, of JSON types.

    Raises:
        InputError: if the folder holds results of other settings, or files without settings, or cannot be written to.
    """
    make_folder(folder)
    taken = lock(folder / LOCK, WAIT_S)
    try:
        _check_settings(folder, settings)
        write_json(dict(settings), folder / SETTINGS)
    finally:
        taken.release()


def _check_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    """Raise an InputError if the folder holds results of other settings, or files without settings."""
    path = folder / SETTINGS
    if not path.is_file():
        if strangers := sorted(set(os.listdir(folder)) - {LOCK}):
            raise InputError(
                f"{folder}: holds other files, such as {strangers[0]}, but no {SETTINGS}; choose an empty folder."
            )
        return
    if set(os.listdir(folder)) <= _WITHOUT_RESULTS:
        return
    earlier = read_json(path)
    if not isinstance(earlier, dict):
        raise InputError(f"{path}: must hold an object of settings; choose another output.")
    if differing := sorted(key for key in earlier.keys() | settings if earlier.get(key) != settings.get(key)):
        changes = "; ".join(_change(key, earlier.get(key), settings.get(key)) for key in differing)
        raise InputError(
            f"{folder}: holds results of other settings ({changes}), which are never mixed; choose another output, or "
            "give the settings of before."
        )


def _change(key: str, before: Any, now: Any) -> str:
    """Describe the change of a setting, in full if its values are short."""
    if all(value is None or isinstance(value, (str, int, float, bool)) for value in (before, now)):
        return f"{key} {before} → {now}"
    return key
