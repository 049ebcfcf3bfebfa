"""Losses of unsupervised registration."""

from .ncc import LocalNCCLoss
from .registration import RegistrationLoss
from .smoothness import SmoothnessLoss

__all__ = ["LocalNCCLoss", "RegistrationLoss", "SmoothnessLoss"]
