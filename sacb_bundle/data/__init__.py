"""Data sets: subjects, pairs and their files."""

from .atlases import Atlas, atlas_names, read_atlas
from .augmentation import check_augmentation
from .checks import (
    check_labels,
    check_masks,
    check_mixture,
    check_scan_grids,
    check_training_items,
    check_training_labels,
    has_labels,
    has_masks,
    label_values,
    labels_to_validate,
)
from .common_grid import CommonGrid
from .data_list import read_data_list
from .dataset_folder import DatasetFolder, labels_to_score, read_dataset
from .epoch_sampler import EpochSampler
from .folder_pairs import atlas_pairs, pairs_by_name, study_pairs
from .pair_mixture import PairMixture, read_datasets
from .pairs import PairFiles, image_files, list_pairs, pair_indices, training_data
from .phantom import phantom_images, phantom_pair
from .template import Template

__all__ = [
    "Atlas",
    "CommonGrid",
    "DatasetFolder",
    "EpochSampler",
    "PairFiles",
    "PairMixture",
    "Template",
    "atlas_names",
    "atlas_pairs",
    "check_augmentation",
    "check_labels",
    "check_masks",
    "check_mixture",
    "check_scan_grids",
    "check_training_items",
    "check_training_labels",
    "has_labels",
    "has_masks",
    "image_files",
    "label_values",
    "labels_to_score",
    "labels_to_validate",
    "list_pairs",
    "pair_indices",
    "pairs_by_name",
    "phantom_images",
    "phantom_pair",
    "read_atlas",
    "read_data_list",
    "read_dataset",
    "read_datasets",
    "study_pairs",
    "training_data",
]
