"""Variants of a training that an ablation compares."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..config_text import check_plain_text
from ..engine.command_line import check_key
from ..errors import InputError

# Rows of the tables of the paper's ablation, as keys of train.json and their values.
TABLES: dict[str, dict[str, list[Any]]] = {
    "table3": {"network_def#sacb_levels": [[], [5], [5, 4], [5, 4, 3], [5, 4, 3, 2]]},
    "table4": {
        "network_def#num_clusters": [5, 7, 9, 11],
        "network_def#descriptor": ["spatial", "channel", "mix"],
    },
}
# Keys that an ablation sets itself.
_OWN_KEYS = {
    "accept_changes", "bundle_root", "cache_dir", "checks", "ckpt_dir", "data_list", "dataset_dir", "device",
    "finalize", "imports", "initialize", "output_dir", "rank", "replace", "resume", "run", "seed", "training",
    "world_size",
}  # fmt: skip
# Keys of the preprocessing that evaluation has, too; the spacing is in the description of the weights.
_PREPROCESSING = ("initial", "modality")


@dataclass(frozen=True)
class Variant:
    """A training with one key changed.

    Attributes:
        group: table that the row belongs to.
        key: key of train.json.
        value: its value.
    """

    group: str
    key: str
    value: Any

    @property
    def changes(self) -> dict[str, Any]:
        """The change, as options of train.json."""
        return {self.key: self.value}

    @property
    def of_evaluation(self) -> dict[str, Any]:
        """The change, as options of evaluate.json; none if it concerns training alone."""
        return self.changes if self.key in _PREPROCESSING else {}

    @property
    def text(self) -> str:
        """The value, as text."""
        return self.value if isinstance(self.value, str) else json.dumps(self.value)

    @property
    def is_of_network(self) -> bool:
        """Whether an option of the network changes, and nothing else."""
        return self.key.startswith("network_def#")


def variants_of(rows: Sequence[str], vary: Sequence[Sequence[Any]]) -> list[Variant]:
    """Return the variants of the paper's tables, and those of further keys.

    Args:
        rows: names of `TABLES`.
        vary: lists of a key of train.json and its values, each of which is varied alone.

    Returns:
        The variants, in this order.

    Raises:
        InputError: if there is none, rows or vary are not such lists, a table is unknown, a key has no value or the
            same one twice, or a value would be taken for code.
    """
    if not isinstance(rows, (list, tuple)):
        raise InputError(f"rows is {rows!r}; it must be a list of tables, such as ['table3'].")
    if not isinstance(vary, (list, tuple)) or not all(isinstance(entry, (list, tuple)) and entry for entry in vary):
        raise InputError(
            f"vary is {vary!r}; it must be a list with a list for each key of train.json, which holds the key and its "
            "values, such as [['network_def#num_clusters', 5, 7]]."
        )
    groups: list[tuple[str, str, Sequence[Any]]] = []
    for name in rows:
        if name not in TABLES:
            raise InputError(f"There are no rows {name!r}; choose of {', '.join(TABLES)}.")
        groups += [(name, key, values) for key, values in TABLES[name].items()]
    for key, *values in vary:
        if not isinstance(key, str) or not values:
            raise InputError(f"vary needs a key of train.json and its values, not {[key, *values]}.")
        key = key.replace("::", "#")  # as MONAI's command line gives it
        groups.append((key, key, values))
    variants = [Variant(group, key, value) for group, key, values in groups for value in values]
    for variant in variants:
        check_plain_text([dict.fromkeys(variant.key.split("#")), variant.value], variant.key)
    for place, variant in enumerate(variants):
        if variant in variants[:place]:
            raise InputError(f"{variant.key} {variant.text} is given twice.")
    if not variants:
        raise InputError("There is nothing to vary; give rows or vary.")
    return variants


def check_variants(variants: Sequence[Variant], config: Mapping[str, Any]) -> None:
    """Check that the keys of variants are those of a training, before any starts.

    Args:
        variants: variants of the training.
        config: content of train.json and its overlays.

    Raises:
        InputError: if the config has no such key, or the ablation sets it itself.
    """
    for variant in variants:
        if variant.key.partition("#")[0] in _OWN_KEYS:
            raise InputError(f"{variant.key} cannot be varied, since an ablation sets it itself.")
        check_key(dict(config), variant.key, "train.json")


def folder_name(changes: Mapping[str, Any]) -> str:
    """Return the name of the folder of a training.

    Args:
        changes: changed keys and their values.

    Returns:
        A name that tells the changes, with a hash of them, or "unchanged".
    """
    if not changes:
        return "unchanged"
    full = json.dumps(changes, sort_keys=True)
    told = "-".join(re.findall(r"[\w.]+", full))[:60]
    return f"{told}-{hashlib.sha256(full.encode()).hexdigest()[:8]}"


def parsed(text: str) -> Any:
    """Return the value that a text stands for.

    Args:
        text: JSON, such as a number or a list, or plain text.

    Returns:
        The value.
    """
    try:
        return json.loads(text)
    except ValueError:
        return text
