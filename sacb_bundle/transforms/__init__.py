"""Dictionary transforms for MONAI's configs: adapters of `registration` and `spatial`."""

from .atlas_labels import AtlasLabelsd
from .atlas_pair import AtlasPaird
from .labels_on_working_grid import LabelsOnWorkingGridd
from .measure_registration import MeasureRegistrationd
from .prepare_pair import PreparePaird
from .prepare_subject import PrepareSubjectd
from .rand_contrast import RandContrastd, RandLabelIntensitiesd
from .request_refinement import RequestRefinementd
from .save_registration import SaveRegistrationd
from .save_slices import SaveSlicesd
from .scale_intensity import ScaleIntensityd
from .score_registration import ScoreRegistrationd
from .to_registration import ToRegistrationd
from .warp import Warpd
from .within_masks import WithinMasksd

__all__ = [
    "AtlasLabelsd",
    "AtlasPaird",
    "LabelsOnWorkingGridd",
    "MeasureRegistrationd",
    "PreparePaird",
    "PrepareSubjectd",
    "RandContrastd",
    "RandLabelIntensitiesd",
    "RequestRefinementd",
    "SaveRegistrationd",
    "SaveSlicesd",
    "ScaleIntensityd",
    "ScoreRegistrationd",
    "ToRegistrationd",
    "Warpd",
    "WithinMasksd",
]
