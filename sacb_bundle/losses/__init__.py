"""Losses for registration, unsupervised or weakly supervised.

In every shape, D, H and W are the first, second and third axis of the array as nibabel gives it.
"""

from .bending import BendingEnergyLoss
from .dice import DiceLoss
from .folding import FoldingLoss
from .inverse_consistency import InverseConsistencyLoss
from .landmarks import LandmarkLoss
from .mutual_information import MutualInformationLoss
from .ncc import LocalNCCLoss
from .registration import RegistrationLoss
from .self_similarity import SelfSimilarityLoss
from .smoothness import SmoothnessLoss
from .training import TrainingLoss

__all__ = [
    "BendingEnergyLoss",
    "DiceLoss",
    "FoldingLoss",
    "InverseConsistencyLoss",
    "LandmarkLoss",
    "LocalNCCLoss",
    "MutualInformationLoss",
    "RegistrationLoss",
    "SelfSimilarityLoss",
    "SmoothnessLoss",
    "TrainingLoss",
]
