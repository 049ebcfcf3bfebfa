"""The paper's experiments: compare methods, and ablate the network."""

from .ablate import Ablation
from .compare import Comparison
from .methods import METHODS, Method
from .runs import Runs
from .untrained import SyN, ZeroField

__all__ = ["METHODS", "Ablation", "Comparison", "Method", "Runs", "SyN", "ZeroField"]
