"""Allow torchvision's CUDA build to be imported with a CPU build of torch; Python runs this file from PYTHONPATH.

The library with torchvision's operators does not load there, and the import fails at the first operator for which
torchvision declares a fake. MONAI Label imports torchvision but calls no such operator, so a schema is enough.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from types import ModuleType

SCHEMAS = ("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
           "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")  # fmt: skip


class DeclareOperators(MetaPathFinder):
    """Find no module, but declare the operators before torchvision is imported."""

    declared = None

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        """Declare the operators once."""
        if name == "torchvision" and self.declared is None:
            from torch import library as operators

            self.declared = operators.Library("torchvision", "FRAGMENT")
            for schema in SCHEMAS:
                self.declared.define(schema)


sys.meta_path.insert(0, DeclareOperators())
