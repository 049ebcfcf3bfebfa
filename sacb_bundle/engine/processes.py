"""Several processes that train one network."""

from __future__ import annotations

import logging
import os

import torch
from torch import distributed

from ..checks import default_device
from ..errors import InputError


def join_processes(device: str | torch.device) -> None:
    """Make this process one of those that torchrun has started, which exchange gradients by NCCL, or gloo on the CPU.

    What it needs to know is in the environment, as torchrun and PyTorch's "env://" have it. The first process tells how
    the training goes; of the others, only warnings and errors are shown.

    Args:
        device: of this process; "cuda", without a number, is the GPU that `default_device` gives it.

    Raises:
        InputError: if it is not one of several.
    """
    if not {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys():
        raise InputError(
            "configs/multi_gpu_train.json is for several processes; start them with "
            "torchrun --nproc-per-node N -m monai.bundle run training ..., or leave that config out."
        )
    device = torch.device(device)
    if device.type == "cuda":
        torch.cuda.set_device(default_device() if device.index is None else device)
    if not distributed.is_initialized():
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    if distributed.get_rank() > 0:
        logging.disable(logging.INFO)
