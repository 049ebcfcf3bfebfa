"""Scores of a registration: overlap and surface distances of labels, folding of the displacement field.

In every shape, D, H and W are the first, second and third axis of the array as nibabel gives it.
"""

from .folding import folding_percentage, jacobian_determinant, non_diffeomorphic_volume, sd_log_jacobian
from .overlap import dice
from .pair_scores import LABEL_SCORES, LabelMapScores, LabelScores, PairScores, score_labels, score_pair
from .statistics import mean_and_std
from .surface import SurfaceDistance, surface_distances

__all__ = [
    "LABEL_SCORES",
    "LabelMapScores",
    "LabelScores",
    "PairScores",
    "SurfaceDistance",
    "dice",
    "folding_percentage",
    "jacobian_determinant",
    "mean_and_std",
    "non_diffeomorphic_volume",
    "score_labels",
    "score_pair",
    "sd_log_jacobian",
    "surface_distances",
]
