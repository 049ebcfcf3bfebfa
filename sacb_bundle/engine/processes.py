"""Train one network with several processes."""

from __future__ import annotations

import logging
import os

import torch
from torch import distributed

from ..checks import default_device
from ..errors import InputError


def join_processes(device: str | torch.device) -> None:
    """Connect this process to the others started by torchrun, to exchange gradients by NCCL, or gloo on the CPU.

    The environment holds the addresses, as for PyTorch's "env://". The first process logs progress; the others log
    only warnings and errors.

    Args:
        device: device of this process; "cuda", without a number, is the GPU that `default_device` selects.

    Raises:
        InputError: if the process was not started by torchrun.
    """
    if not {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys():
        raise InputError(
            "configs/multi_gpu_train.json is for several processes; start them with "
            "torchrun --nproc-per-node N -m monai.bundle run training ..., or omit that config."
        )
    device = torch.device(device)
    if device.type == "cuda":
        torch.cuda.set_device(default_device() if device.index is None else device)
    if not distributed.is_initialized():
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    if distributed.get_rank() > 0:
        logging.disable(logging.INFO)
