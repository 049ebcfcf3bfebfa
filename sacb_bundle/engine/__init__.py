"""What the configs plug into MONAI's and ignite's engines."""

from .apply_transform import apply_transform
from .batch import prepare_labelled_pair, prepare_pair
from .command_line import (
    check_command_line,
    check_counts,
    check_device,
    check_numbers,
    default_device,
    show_input_errors_plainly,
)
from .inferer import RegistrationInferer
from .invert_transform import invert_transform
from .processes import join_processes
from .progress import TrainingProgress
from .save_best import SaveBest
from .save_last import SaveLast
from .score_registration import score_registration
from .scores import SaveScores
from .seed_epochs import SeedEpochs
from .stop_if_diverged import StopIfDiverged
from .training_state import TrainingState
from .validation import MeanLoss, lower_is_better

__all__ = [
    "MeanLoss",
    "RegistrationInferer",
    "SaveBest",
    "SaveLast",
    "SaveScores",
    "SeedEpochs",
    "StopIfDiverged",
    "TrainingProgress",
    "TrainingState",
    "apply_transform",
    "check_command_line",
    "check_counts",
    "check_device",
    "check_numbers",
    "default_device",
    "invert_transform",
    "join_processes",
    "lower_is_better",
    "prepare_labelled_pair",
    "prepare_pair",
    "score_registration",
    "show_input_errors_plainly",
]
