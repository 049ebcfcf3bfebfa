"""Register many pairs: plan them, keep cases independent of each other, and write tables and a report."""

from .cases import Cases
from .evaluator import CaseEvaluator
from .fingerprint import versions
from .loading import CaseDataset, CaseLoader
from .plan import Plan, Planner
from .report import write_report
from .study import Study

__all__ = [
    "CaseDataset",
    "CaseEvaluator",
    "CaseLoader",
    "Cases",
    "Plan",
    "Planner",
    "Study",
    "versions",
    "write_report",
]
