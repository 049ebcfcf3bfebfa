"""The networks that SACB-Net is compared with, written from their papers on the operations of this package."""

from .fourier_net import FourierNet
from .im2grid import Im2Grid
from .lap_irn import LapIRN
from .lku_net import LKUNet
from .mode_t import ModeT
from .voxelmorph import VoxelMorph

__all__ = ["FourierNet", "Im2Grid", "LKUNet", "LapIRN", "ModeT", "VoxelMorph"]
