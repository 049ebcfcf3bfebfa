"""Dictionary transforms that the configs name."""

from .atlas_labels import AtlasLabelsd
from .atlas_pair import AtlasPaird
from .draw_registration import DrawRegistrationd
from .measure_registration import MeasureRegistrationd
from .save_registration import SaveRegistrationd
from .scale_intensity import ScaleIntensityByModalityd
from .to_common_grid import ToCommonGridd
from .to_working_grid import ToWorkingGridd
from .warp import Warpd

__all__ = [
    "AtlasLabelsd",
    "AtlasPaird",
    "DrawRegistrationd",
    "MeasureRegistrationd",
    "SaveRegistrationd",
    "ScaleIntensityByModalityd",
    "ToCommonGridd",
    "ToWorkingGridd",
    "Warpd",
]
