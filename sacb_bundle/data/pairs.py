"""Which image is registered to which."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

from ..errors import InputError
from ..spatial import volume_name
from .dataset_folder import read_dataset, read_json

PAIR_KEYS = {"moving", "fixed", "seg_moving", "seg_fixed", "moving_mask", "fixed_mask", "id"}


@dataclass(frozen=True)
class PairList:
    """Pairs to register.

    Attributes:
        pairs: one dict a pair with "id", "moving" and "fixed", and "seg_moving" and "seg_fixed" where there are
            labels.
        labels: label values to score; None for all that occur.
    """

    pairs: list[dict[str, str]]
    labels: list[int] | None


def pair_indices(num_subjects: int, pairing: str) -> list[tuple[int, int]]:
    """Pairs (moving, fixed) of subjects, as indices.

    Args:
        num_subjects: at least 2.
        pairing: "ordered" for all ordered pairs, "consecutive" for each subject to the next and the last to the
            first, "atlas" for the first subject to each other one.

    Raises:
        InputError: if `pairing` is none of these.

    Example:
        >>> pair_indices(3, "consecutive")
        [(0, 1), (1, 2), (2, 0)]
    """
    if pairing == "ordered":
        return list(permutations(range(num_subjects), 2))
    if pairing == "consecutive":
        return [(index, (index + 1) % num_subjects) for index in range(num_subjects)]
    if pairing == "atlas":
        return [(0, index) for index in range(1, num_subjects)]
    raise InputError(f'pairing is {pairing!r}; it must be "ordered", "consecutive" or "atlas".')


def list_pairs(dataset_dir: str, data_list: str = "", pairing: str = "ordered", atlas: str | None = None) -> PairList:
    """Pairs of a data list, or of the validation subjects of a data set.

    Args:
        dataset_dir: see `read_dataset`; not looked at if there is a data list.
        data_list: see `read_data_list`; "" for none.
        pairing: see `pair_indices`.
        atlas: see `read_dataset`.

    Raises:
        InputError: see those functions.
    """
    if data_list:
        return PairList(read_data_list(data_list), labels=None)
    dataset = read_dataset(dataset_dir, atlas)
    indices = pair_indices(len(dataset.val), pairing)
    pairs = [subject_pair(dataset.val[moving], dataset.val[fixed]) for moving, fixed in indices]
    check_ids([pair["id"] for pair in pairs], Path(str(dataset_dir)))
    return PairList(pairs, dataset.labels)


def subject_pair(moving: dict[str, str], fixed: dict[str, str]) -> dict[str, str]:
    """Pair of two subjects."""
    pair = {"moving": moving["image"], "fixed": fixed["image"]}
    if "label" in moving:
        pair["seg_moving"] = moving["label"]
    if "label" in fixed:
        pair["seg_fixed"] = fixed["label"]
    return {"id": pair_id(pair)} | pair


def read_data_list(path: str | Path) -> list[dict[str, str]]:
    """Read pairs from a JSON file.

    Args:
        path: a list of objects with "moving" and "fixed", and optionally "seg_moving", "seg_fixed" (label maps),
            "moving_mask", "fixed_mask" (not 0 where the image counts) and "id" (the name of the pair's results).
            Relative paths are relative to the file's folder.

    Raises:
        InputError: if the file is missing or not such a list, or two pairs have the same id.
    """
    source = Path(str(path))
    if not source.is_file():
        raise InputError(f"data_list: there is no file {source}.")
    entries = read_json(source)
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise InputError(f'{source}: must be a list of objects with "moving" and "fixed".')
    pairs = []
    for number, entry in enumerate(entries, start=1):
        if not {"moving", "fixed"} <= entry.keys() <= PAIR_KEYS or not all(isinstance(v, str) for v in entry.values()):
            raise InputError(
                f"{source}: pair {number} has the keys {sorted(entry)}; it needs moving and fixed, may have "
                "seg_moving, seg_fixed, moving_mask, fixed_mask and id, and every value is a string."
            )
        pair = {key: str(source.parent / value) for key, value in entry.items() if key != "id"}
        pairs.append({"id": entry.get("id", pair_id(pair))} | pair)
    check_ids([pair["id"] for pair in pairs], source)
    return pairs


def pair_id(pair: dict[str, str]) -> str:
    """Name of a pair: MOVING_to_FIXED."""
    return f"{volume_name(pair['moving'])}_to_{volume_name(pair['fixed'])}"


def check_ids(ids: list[str], source: Path) -> None:
    """Raise an InputError unless the ids differ and each can be the name of a folder."""
    for value in ids:
        if value in ("", ".", "..") or "/" in value or "\\" in value:
            raise InputError(f"{source}: the id {value!r} cannot name a folder.")
    if len(set(ids)) < len(ids):
        twice = next(value for value in ids if ids.count(value) > 1)
        raise InputError(f'{source}: two pairs have the id {twice!r}; name them apart by "id" in a data list.')
