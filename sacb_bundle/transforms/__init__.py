"""Dictionary transforms that the configs name."""

from .save_registration import SaveRegistrationd
from .warp import Warpd

__all__ = ["SaveRegistrationd", "Warpd"]
