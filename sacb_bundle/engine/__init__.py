"""What the configs plug into MONAI's and ignite's engines."""

from .batch import prepare_labelled_pair, prepare_pair
from .command_line import check_command_line, show_input_errors_plainly
from .inferer import RegistrationInferer
from .progress import TrainingProgress
from .save_best import SaveBest
from .scores import SaveScores
from .stop_if_diverged import StopIfDiverged
from .training_state import TrainingState
from .validation import MeanLoss, lower_is_better

__all__ = [
    "MeanLoss",
    "RegistrationInferer",
    "SaveBest",
    "SaveScores",
    "StopIfDiverged",
    "TrainingProgress",
    "TrainingState",
    "check_command_line",
    "lower_is_better",
    "prepare_labelled_pair",
    "prepare_pair",
    "show_input_errors_plainly",
]
