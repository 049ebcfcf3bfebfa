"""The records of a pair: case.json of its results, and error.json of a failure.

Both have a format number. Records of another version and damaged records are not used, so every value is checked here.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import InputError
from ..files import is_text, read_or_empty, write_json
from ..metrics import LABEL_SCORES

RECORD = "case.json"
# Reason that a case of a study failed.
FAILURE = "error.json"
# Number of the format of these files and of study.json. Raise it when the meaning of a value changes.
FORMAT = 6
# Measures of every pair that are numbers, see `sacb_bundle.registration.result.Registration.measures`.
MEASURES = (
    "similarity_before", "similarity_after", "folding_percent",
    "displacement_mean_mm", "displacement_max_mm", "displacement_border_mm", "inverse_failed_percent",
    "alignment_shift_mm", "alignment_turn_degrees", "alignment_scale",
    "mutual_information", "way_back_percent", "mirror_evidence", "trust",
    "fixed_in_view_percent", "moving_in_view_percent", "fixed_beyond_percent", "moving_beyond_percent",
)  # fmt: skip
LARGEST_NUMBER = 1e15


def write_record(folder: Path, **facts: Any) -> None:
    """Write the record of the results in a folder, with their names and sizes and the version of the package.

    Args:
        folder: folder of the results.
        facts: "id", "hashes" of the inputs and "measures", and if known, "inputs" (paths), "options" of the command
            line, "settings" of a study (a hash), "weights" (their SHA-256) and "seconds".

    Raises:
        InputError: if the record cannot be written, or a fact has another type than `read_record` expects.
    """
    defaults: dict[str, Any] = {"inputs": {}, "settings": "", "seconds": {}}
    sizes = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
    record = defaults | facts | {"format": FORMAT, "version": __version__, "results": sizes}
    if wrong := _wrong_values(record):
        raise InputError(f"The record cannot hold these values of {', '.join(wrong)}.")
    try:
        write_json(record, folder / RECORD)
    except InputError:
        raise
    except (TypeError, ValueError) as error:
        raise InputError(f"The record can hold only text, finite numbers, lists and dictionaries: {error}.") from error


def read_record(folder: Path) -> dict[str, Any]:
    """Read the record of a folder of results.

    Args:
        folder: folder of the results, which need not exist.

    Returns:
        The facts that `write_record` wrote; empty if the record is missing, damaged or of another version.
    """
    content = read_or_empty(folder / RECORD, dict)
    return {} if _fault_in(content) else content


def fault_of_record(folder: Path) -> str:
    """Explain why the record of a folder of results cannot be used.

    Args:
        folder: folder of the results, which need not exist.

    Returns:
        The reason, as text; "" if there is no record, or it can be used.
    """
    return _fault_in(read_or_empty(folder / RECORD, dict)) if (folder / RECORD).exists() else ""


def listed_results(folder: Path) -> set[str]:
    """List the results that the record of a folder names, even if the record is of another version.

    Args:
        folder: folder of the results, which need not exist.

    Returns:
        The names, which anyone may have written; none if there is no such record.
    """
    content = read_or_empty(folder / RECORD, dict)
    typed = all(isinstance(content.get(key), dict) for key in ("inputs", "hashes", "results", "measures"))
    return set(content["results"]) if typed else set()


def write_failure(folder: Path, case: str, failure: dict[str, str]) -> None:
    """Record why a case failed.

    Args:
        folder: folder of the case, made if necessary.
        case: id of the case.
        failure: error to record, see `sacb_bundle.errors.failure_of`.

    Raises:
        InputError: if the file cannot be written.
    """
    write_json({"format": FORMAT, "id": case, **failure}, folder / FAILURE)


def read_failure(folder: Path) -> str:
    """Read why the last attempt at a case failed.

    Args:
        folder: folder of the case, which need not exist.

    Returns:
        The error message; "" if the attempt did not fail, or error.json is damaged or of another version.
    """
    content = read_or_empty(folder / FAILURE, dict)
    error = content.get("error")
    return str(error) if has_format(content) and is_text(error) else ""


def has_foreign_failure(folder: Path) -> bool:
    """Tell whether a folder holds an error.json that no version of this package wrote.

    Args:
        folder: folder of the case, which need not exist.

    Returns:
        Whether it does.
    """
    content = read_or_empty(folder / FAILURE, dict)
    own = type(content.get("format")) is int and is_text(content.get("id")) and is_text(content.get("error"))
    return (folder / FAILURE).exists() and not own


def has_format(content: dict[str, Any]) -> bool:
    """Tell whether this version wrote a record.

    Args:
        content: content of case.json, error.json or study.json.

    Returns:
        True if it has the format of this version.
    """
    return type(content.get("format")) is int and content["format"] == FORMAT


def is_number(value: object, least: float = -LARGEST_NUMBER) -> bool:
    """Tell whether a value is a finite number: not a truth value, and not absurdly large.

    Args:
        value: value to check.
        least: smallest number.

    Returns:
        True if it is such a number.
    """
    return type(value) in (int, float) and least <= value <= LARGEST_NUMBER  # type: ignore[operator]


def _fault_in(content: dict[str, Any]) -> str:
    """Return why the content of case.json cannot be used, in words; "" if it can."""
    if not has_format(content):
        return f"{RECORD} is of another version, or damaged"
    wrong = _wrong_values(content)
    return f"{RECORD} is damaged: {', '.join(wrong)}" if wrong else ""


def _wrong_values(content: dict[str, Any]) -> list[str]:
    """Return the names of the values in case.json that are missing or wrong."""
    measures = content.get("measures")
    if not isinstance(measures, dict):
        return ["measures"]
    wrong = [key for key, fits in _FACTS.items() if not fits(content.get(key))]
    wrong += [key for key, fits in _MEASURES.items() if not fits(measures.get(key))]
    wrong += [key for key, fits in _LABEL_MEASURES.items() if key in measures and not fits(measures[key])]
    if (measures.get("dice_before") is None) != (measures.get("dice_after") is None):
        wrong.append("dice_after")
    return wrong


def _is_positive(value: object) -> bool:
    """Return whether a value is a number above 0."""
    return is_number(value, least=1e-9)


def _is_number_or_none(value: object) -> bool:
    """Return whether a value is a number, or None."""
    return value is None or is_number(value)


def _is_file_name(value: object) -> bool:
    """Return whether a value is the name of a file, and no path to another folder."""
    return is_text(value) and Path(str(value)).name == value


def _is_whole(value: object) -> bool:
    """Return whether a value is a whole number of at least 0."""
    return type(value) is int and is_number(value, least=0)


def _is_row(value: object) -> bool:
    """Return whether a value holds the scores of a label."""
    return (
        isinstance(value, dict)
        and value.keys() == {"label", *LABEL_SCORES}
        and _is_whole(value["label"])
        and all(_is_number_or_none(value[name]) for name in LABEL_SCORES)
    )


def _list_of(fits: Callable[[object], bool], length: int | None = None) -> Callable[[object], bool]:
    """Make a function that tells whether a value is a list of values of a kind."""
    return lambda value: isinstance(value, list) and length in (None, len(value)) and all(map(fits, value))


def _dict_of(fits: Callable[[object], bool], key_fits: Callable[[object], bool] = is_text) -> Callable[[object], bool]:
    """Make a function that tells whether a value is a dictionary of values of a kind."""
    return lambda value: isinstance(value, dict) and all(key_fits(key) and fits(child) for key, child in value.items())


_FACTS: dict[str, Callable[[object], bool]] = {
    "inputs": _dict_of(is_text),
    "hashes": _dict_of(is_text),
    "settings": is_text,
    "seconds": _dict_of(lambda value: is_number(value, least=0)),
    "results": lambda value: bool(value) and _dict_of(_is_whole, key_fits=_is_file_name)(value),
}
_MEASURES: dict[str, Callable[[object], bool]] = {
    **dict.fromkeys(MEASURES, is_number),
    **dict.fromkeys(("spacing", "alignment_scale"), _is_positive),
    **dict.fromkeys(
        ("alignment_alone", "uniform_scale", "refined", "fixed_header_lost", "moving_header_lost"),
        lambda value: isinstance(value, bool),
    ),
    **dict.fromkeys(("refine_steps", "refine_best_step"), _is_whole),
    **dict.fromkeys(("fixed_modality", "moving_modality", "refine_reason", "refine_similarity"), is_text),
    **dict.fromkeys(("fixed_background", "moving_background", "loss_before", "loss_after"), _is_number_or_none),
    "loss_curve": _list_of(_is_number_or_none),
    **dict.fromkeys(("inverse_error_mean_voxels", "inverse_error_p99_voxels"), _is_number_or_none),
    **dict.fromkeys(("fixed_range", "moving_range"), _list_of(_is_number_or_none, length=2)),
    **dict.fromkeys(
        ("fixed_spacing", "moving_spacing", "fixed_extent", "moving_extent"), _list_of(_is_positive, length=3)
    ),
}
_LABEL_MEASURES: dict[str, Callable[[object], bool]] = {
    **dict.fromkeys(LABEL_SCORES, _is_number_or_none),
    "labels": _list_of(_is_row),
    **dict.fromkeys(("left_out", "vanished"), _list_of(_is_whole)),
}
