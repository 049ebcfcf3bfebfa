"""Coordinates: the only package that relates voxels, world coordinates (RAS, mm) and ITK's coordinates (LPS, mm)."""

from .affine_fit import COARSE_FIT, AffineFit
from .alignment import INITIAL, align, check_initial, motion
from .alignment_cache import AlignmentCache
from .alignment_start import Start, StartSearch
from .body import Body, body_of, foreground
from .common_part import common_part
from .diffeomorphism import consistent_inverse, made_diffeomorphic, without_folds
from .displacement_field import DisplacementField
from .grid import Grid, check_same_grid
from .image_types import as_volume, in_type_of, source_name
from .inverse import inverse_error, invert, round_trip_error
from .mutual_information import MutualInformation
from .nifti import NIFTI_ENDINGS
from .points import warp_points, with_points_moved
from .resampling import Resampled, averaged, check_label_interpolation, resample, result_dtype, thinned
from .series import Series, TrailingAxes, as_series, series_dtype, warp_series
from .series_results import series_in_type_of, write_series
from .transform import Transform, checked_points
from .transform_files import read_transform, write_composite, write_displacement, write_learn2reg
from .volume import Volume, as_finite, as_image, as_label_map, as_mask, canonical, hash_of_voxels, is_label
from .volume_files import (
    VOLUME_ENDINGS,
    content_hash,
    read_grid,
    read_image,
    read_label_map,
    read_volume,
    reading_image,
    volume_name,
    write_volume,
)
from .working_grid import check_memory, fitting_spacing, working_grid

__all__ = [
    "COARSE_FIT",
    "INITIAL",
    "NIFTI_ENDINGS",
    "VOLUME_ENDINGS",
    "AffineFit",
    "AlignmentCache",
    "Body",
    "DisplacementField",
    "Grid",
    "MutualInformation",
    "Resampled",
    "Series",
    "Start",
    "StartSearch",
    "TrailingAxes",
    "Transform",
    "Volume",
    "align",
    "as_finite",
    "as_image",
    "as_label_map",
    "as_mask",
    "as_series",
    "as_volume",
    "averaged",
    "body_of",
    "canonical",
    "check_initial",
    "check_label_interpolation",
    "check_memory",
    "check_same_grid",
    "checked_points",
    "common_part",
    "consistent_inverse",
    "content_hash",
    "fitting_spacing",
    "foreground",
    "hash_of_voxels",
    "in_type_of",
    "inverse_error",
    "invert",
    "is_label",
    "made_diffeomorphic",
    "motion",
    "read_grid",
    "read_image",
    "read_label_map",
    "read_transform",
    "read_volume",
    "reading_image",
    "resample",
    "result_dtype",
    "round_trip_error",
    "series_dtype",
    "series_in_type_of",
    "source_name",
    "thinned",
    "volume_name",
    "warp_points",
    "warp_series",
    "with_points_moved",
    "without_folds",
    "working_grid",
    "write_composite",
    "write_displacement",
    "write_learn2reg",
    "write_series",
    "write_volume",
]
