"""Lists of pairs to register: tables, JSON, and data sets of the Learn2Reg challenge."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import parse_json, read_text
from ..registration.pair import IMAGES
from ..spatial import volume_name
from ..tables import parse_table

# Columns of a table and keys of a JSON list.
PAIR_KEYS = (*IMAGES, "id")
# Alternative keys of label maps in a JSON list.
ALIASES = {"seg_fixed": "fixed_labels", "seg_moving": "moving_labels"}
LONGEST_ID_BYTES = 255
LEARN2REG_LISTS = ("registration_val", "registration_test")


def read_data_list(path: str | Path) -> list[dict[str, str]]:
    """Read pairs from a file. Paths in it are relative to its folder.

    Args:
        path: one of

            - a table (CSV), with cells separated by commas, semicolons or tabs, and the columns fixed and moving, and
              optionally fixed_labels, moving_labels, fixed_mask, moving_mask (nonzero where the image counts) and id
              (the name of the pair's results);
            - JSON, a list of objects with "moving" and "fixed", and optionally "moving_labels", "fixed_labels" (label
              maps), "moving_mask", "fixed_mask" and "id";
            - JSON, the description of a data set of the Learn2Reg challenge: its validation pairs, or otherwise its
              test pairs, with the label maps in labelsXX beside imagesXX.

    Returns:
        Pairs with the keys of the JSON list. Pairs without an id are named MOVING_to_FIXED, after their files and as
        many parent folders as make them distinct.

    Raises:
        InputError: if the file is missing or not such a list, or ids are invalid or equal.
    """
    source = Path(str(path))
    text = read_text(source)
    is_json = source.suffix.lower() == ".json" or text.lstrip().startswith(("[", "{"))
    pairs = _pairs_of_json(text, source) if is_json else _pairs_of_table(text, source)
    if any("\0" in value for pair in pairs for value in pair.values()):
        raise InputError(f"{source}: a path contains a null byte.")
    pairs = [
        {key: value if key == "id" else str(source.parent / value) for key, value in pair.items()} for pair in pairs
    ]
    return named(pairs, source)


def _pairs_of_table(text: str, source: Path) -> list[dict[str, str]]:
    """Return the pairs in the text of a table; an empty cell means that there is no such file.

    Raises:
        InputError: if it is not a table of pairs.
    """
    table = parse_table(text, ("fixed", "moving"), source)
    if strange := [name for name in table.columns if name not in PAIR_KEYS]:
        known = ", ".join(PAIR_KEYS)
        raise InputError(f"{source}: the columns {strange} are unknown; remove them, or rename them to one of {known}.")
    if not table.rows:
        raise InputError(f"{source}: lists no pairs.")
    pairs = []
    for line, row in table.rows:
        pair = {column: cell.strip() for column, cell in row.items() if cell.strip()}
        if not {"fixed", "moving"} <= pair.keys():
            raise InputError(f"{source}, line {line}: names no {'moving' if 'fixed' in pair else 'fixed'} image.")
        pairs.append(pair)
    return pairs


def _pairs_of_json(text: str, source: Path) -> list[dict[str, str]]:
    """Return the pairs in the text of a JSON file.

    Raises:
        InputError: if it is not a list of pairs, or a data set of Learn2Reg.
    """
    content = parse_json(text, source)
    if isinstance(content, dict):
        return _learn2reg_pairs(content, source)
    if not isinstance(content, list) or not content or not all(isinstance(pair, dict) for pair in content):
        raise InputError(f'{source}: must be a list of objects with "moving" and "fixed".')
    content = [{ALIASES.get(key, key): value for key, value in pair.items()} for pair in content]
    for number, pair in enumerate(content, start=1):
        if not {"moving", "fixed"} <= pair.keys() <= set(PAIR_KEYS) or not all(
            isinstance(v, str) for v in pair.values()
        ):
            raise InputError(
                f"{source}: pair {number} has the keys {sorted(pair)}; moving and fixed are required, moving_labels, "
                "fixed_labels, moving_mask, fixed_mask and id are optional, and every value must be a string."
            )
    return content


def _learn2reg_pairs(content: dict[str, Any], source: Path) -> list[dict[str, str]]:
    """Return the pairs of a data set of the Learn2Reg challenge.

    Raises:
        InputError: if the content of the JSON file lists no pairs.
    """
    name = next((name for name in LEARN2REG_LISTS if content.get(name) and isinstance(content[name], list)), None)
    if name is None:
        raise InputError(
            f'{source}: must be a list of objects with "moving" and "fixed", or the description of a data set of '
            f"Learn2Reg, with a list {' or '.join(LEARN2REG_LISTS)}."
        )
    pairs = []
    for number, entry in enumerate(content[name], start=1):
        if not isinstance(entry, dict) or not all(isinstance(entry.get(role), str) for role in ("fixed", "moving")):
            raise InputError(f"{source}: pair {number} of {name} lacks a fixed or moving image.")
        pair = {role: entry[role] for role in ("fixed", "moving")}
        for role in ("fixed", "moving"):
            image = Path(entry[role])
            labels = image.parent.parent / image.parent.name.replace("images", "labels") / image.name
            if labels != image and os.path.isfile(source.parent / labels):
                pair[f"{role}_labels"] = str(labels)
        pairs.append(pair)
    return pairs


def named(pairs: list[dict[str, str]], source: Path) -> list[dict[str, str]]:
    """Return the pairs, each with an id that is valid as a folder name.

    Args:
        pairs: pairs, with or without an id.
        source: file or folder that lists the pairs, for error messages.

    Returns:
        The pairs in the same order. Those without an id are named MOVING_to_FIXED, see `distinct_names`.

    Raises:
        InputError: if an id is invalid, or two ids name the same folder.
    """
    names = distinct_names({pair[role] for pair in pairs if "id" not in pair for role in ("moving", "fixed")})
    pairs = [
        pair if "id" in pair else {"id": f"{names[pair['moving']]}_to_{names[pair['fixed']]}"} | pair for pair in pairs
    ]
    ids = [pair["id"] for pair in pairs]
    for value in ids:
        hidden = value.startswith((".", "unfinished-")) or not value.strip()
        if hidden or not value.isprintable() or "/" in value or "\\" in value:
            raise InputError(f"{source}: the id {value!r} cannot name a folder of results.")
        if len(os.fsencode(value)) > LONGEST_ID_BYTES:
            raise InputError(
                f"{source}: the id {value!r} is longer than the {LONGEST_ID_BYTES} bytes of a folder name; give "
                "shorter ids in a data list."
            )
    folders = Counter(map(_folder_name, ids))
    if twice := [value for value in ids if folders[_folder_name(value)] > 1]:
        raise InputError(
            f"{source}: two pairs have the ids {twice[0]!r} and {twice[1]!r}, which name the same folder if case is "
            "ignored; give distinct ids in a data list."
        )
    return pairs


def _folder_name(value: str) -> str:
    """Return an id as compared by file systems that ignore case and Unicode normalisation."""
    return unicodedata.normalize("NFC", value).casefold()


def distinct_names(paths: Iterable[str]) -> dict[str, str]:
    """Return the names of files without endings, with as many parent folders as make equal names distinct.

    Args:
        paths: paths of the files, which need not exist.

    Returns:
        The name of each file by its path. Files in one folder that differ only in their endings share a name.

    Example:
        >>> distinct_names(["a/s1/t1.nii", "a/s2/t1.nii", "b.nii"])
        {'a/s1/t1.nii': 's1_t1', 'a/s2/t1.nii': 's2_t1', 'b.nii': 'b'}
    """
    names = {path: volume_name(path) for path in paths}
    folders = {path: [part for part in Path(path).parts[:-1] if part != Path(path).anchor] for path in names}
    while True:
        # Files with the same name in one folder are skipped: no parent folder makes them distinct.
        places = Counter(name for name, _ in {(name, tuple(folders[path])) for path, name in names.items()})
        longer = {
            path: f"{folders[path].pop()}_{name}" for path, name in names.items() if places[name] > 1 and folders[path]
        }
        if not longer:
            return names
        names |= longer
