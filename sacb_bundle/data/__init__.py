"""Subjects, pairs and their files."""

from .checks import check_labels, check_pairs, check_scans, check_subjects, label_values
from .data_list import read_data_list
from .dataset_folder import DatasetFolder, read_dataset
from .epoch_sampler import EpochSampler
from .pair_dataset import PairDataset
from .pairs import PairList, list_pairs, pair_indices
from .phantom import phantom_pair

__all__ = [
    "DatasetFolder",
    "EpochSampler",
    "PairDataset",
    "PairList",
    "check_labels",
    "check_pairs",
    "check_scans",
    "check_subjects",
    "label_values",
    "list_pairs",
    "pair_indices",
    "phantom_pair",
    "read_data_list",
    "read_dataset",
]
