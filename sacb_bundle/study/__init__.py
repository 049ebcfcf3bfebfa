"""Registration of many pairs: the plan, cases that succeed or fail independently, tables and the report."""

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
