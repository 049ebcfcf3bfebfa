"""Dictionary transforms that the configs name."""

from .draw_registration import DrawRegistrationd
from .measure_registration import MeasureRegistrationd
from .save_registration import SaveRegistrationd
from .scale_intensity import ScaleIntensityByModalityd
from .to_working_grid import ToWorkingGridd
from .warp import Warpd

__all__ = [
    "DrawRegistrationd",
    "MeasureRegistrationd",
    "SaveRegistrationd",
    "ScaleIntensityByModalityd",
    "ToWorkingGridd",
    "Warpd",
]
