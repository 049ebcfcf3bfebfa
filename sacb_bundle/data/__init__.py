"""Subjects, pairs and their files."""

from .checks import check_labels, check_pairs, check_scan_grids, check_subjects, label_values
from .data_list import read_data_list
from .dataset_folder import DatasetFolder, read_dataset
from .epoch_sampler import EpochSampler
from .folder_pairs import atlas_pairs, pairs_by_name, study_pairs
from .pair_dataset import PairDataset
from .pairs import PairList, list_pairs, pair_indices
from .phantom import phantom_pair

__all__ = [
    "DatasetFolder",
    "EpochSampler",
    "PairDataset",
    "PairList",
    "atlas_pairs",
    "check_labels",
    "check_pairs",
    "check_scan_grids",
    "check_subjects",
    "label_values",
    "list_pairs",
    "pair_indices",
    "pairs_by_name",
    "phantom_pair",
    "read_data_list",
    "read_dataset",
    "study_pairs",
]
