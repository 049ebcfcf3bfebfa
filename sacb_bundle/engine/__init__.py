"""Components that the configs plug into the engines of MONAI and ignite."""

from .batch import TrainingBatch, prepare_case, prepare_labelled_pair, prepare_pair
from .clip_gradients import ClipGradients
from .command_line import check_command_line, keep_names, show_input_errors_plainly
from .inferer import RefiningInferer, RegistrationInferer
from .processes import join_processes
from .progress import TrainingProgress
from .run_folder import make_run_folders
from .save_best import SaveBest
from .save_last import SaveLast
from .scores import EvaluationTables
from .seed_epochs import SeedEpochs
from .stop_if_diverged import StopIfDiverged
from .summary_writer import LazySummaryWriter
from .trainer import RegistrationTrainer
from .training_cost import TrainingCost
from .training_info import data_names, training_info
from .training_state import TrainingState, epochs_to_train
from .validation import MeanLoss, higher_is_better, is_validated, lower_is_better

__all__ = [
    "ClipGradients",
    "EvaluationTables",
    "LazySummaryWriter",
    "MeanLoss",
    "RefiningInferer",
    "RegistrationInferer",
    "RegistrationTrainer",
    "SaveBest",
    "SaveLast",
    "SeedEpochs",
    "StopIfDiverged",
    "TrainingBatch",
    "TrainingCost",
    "TrainingProgress",
    "TrainingState",
    "check_command_line",
    "data_names",
    "epochs_to_train",
    "higher_is_better",
    "is_validated",
    "join_processes",
    "keep_names",
    "lower_is_better",
    "make_run_folders",
    "prepare_case",
    "prepare_labelled_pair",
    "prepare_pair",
    "show_input_errors_plainly",
    "training_info",
]
