"""Coordinates: the only place that knows how voxels and millimetres relate."""

from .grid import Grid

__all__ = ["Grid"]
