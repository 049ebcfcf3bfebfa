"""SACB-Net: deformable registration of 3D medical images with spatial-awareness convolutions."""
