"""Losses for unsupervised registration.

In every shape, D, H and W are the first, second and third axis of the array as nibabel gives it.
"""

from .ncc import LocalNCCLoss
from .registration import RegistrationLoss
from .smoothness import SmoothnessLoss

__all__ = ["LocalNCCLoss", "RegistrationLoss", "SmoothnessLoss"]
