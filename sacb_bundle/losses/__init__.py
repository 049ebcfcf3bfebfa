"""Losses of unsupervised registration."""

from .ncc import LocalNCCLoss
from .registration import RegistrationLoss
from .smoothness import SmoothnessLoss, squared_differences

__all__ = ["LocalNCCLoss", "RegistrationLoss", "SmoothnessLoss", "squared_differences"]
