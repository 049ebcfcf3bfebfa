"""SACB-Net: deformable registration of 3D medical images with spatial-awareness convolutions."""

__version__ = "0.1.0"
