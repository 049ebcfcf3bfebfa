"""Dictionary transforms that the configs name."""

from .save_registration import SaveRegistrationd
from .scale_intensity import ScaleIntensityByModalityd
from .to_working_grid import ToWorkingGridd
from .warp import Warpd

__all__ = ["SaveRegistrationd", "ScaleIntensityByModalityd", "ToWorkingGridd", "Warpd"]
