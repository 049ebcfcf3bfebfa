"""Lets torchvision's CUDA build be imported beside a CPU build of torch; on PYTHONPATH, Python runs it at its start.

The library with torchvision's operators does not load there, and the import ends at the first that it declares a fake
of. MONAI Label imports torchvision, but calls no such operator: that they have a schema is enough.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from types import ModuleType

SCHEMAS = ("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
           "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")  # fmt: skip


class DeclareOperators(MetaPathFinder):
    """Finds no module; declares the operators before torchvision is looked for."""

    declared = None

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        """Declare them once."""
        if name == "torchvision" and self.declared is None:
            from torch import library as operators

            self.declared = operators.Library("torchvision", "FRAGMENT")
            for schema in SCHEMAS:
                self.declared.define(schema)


sys.meta_path.insert(0, DeclareOperators())
