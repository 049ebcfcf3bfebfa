"""Losses for unsupervised registration.

In every shape, D, H and W are the first, second and third axis of the array as nibabel gives it.
"""

from .bending import BendingEnergyLoss
from .folding import FoldingLoss
from .mutual_information import MutualInformationLoss
from .ncc import LocalNCCLoss
from .registration import RegistrationLoss
from .self_similarity import SelfSimilarityLoss
from .smoothness import SmoothnessLoss

__all__ = [
    "BendingEnergyLoss",
    "FoldingLoss",
    "LocalNCCLoss",
    "MutualInformationLoss",
    "RegistrationLoss",
    "SelfSimilarityLoss",
    "SmoothnessLoss",
]
