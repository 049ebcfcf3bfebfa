"""Keep alignments between runs."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path

import numpy as np

from ..files import read_or_empty, write_json
from .alignment import ALIGNMENT_FORMAT, align
from .volume import Volume


class AlignmentCache:
    """Alignments kept in a folder, each in a file named by the hash of everything it depends on.

    Args:
        folder: folder of the alignments, made when the first one is kept. Several processes may share it.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def align(
        self,
        fixed: Volume,
        moving: Volume,
        initial: str,
        fixed_mask: Volume | None = None,
        moving_mask: Volume | None = None,
    ) -> np.ndarray:
        """Return the alignment that is kept for these images, or find and keep it.

        Args:
            fixed: fixed image.
            moving: moving image.
            initial: type of the transform, see `sacb_bundle.spatial.align`.
            fixed_mask: mask of the part of the fixed image that counts.
            moving_mask: mask of the part of the moving image that counts.

        Returns:
            The 4x4 matrix from fixed to moving world coordinates, in mm, RAS.

        Raises:
            InputError: as `sacb_bundle.spatial.align`, or if the cache cannot be written.
        """
        if initial == "none":
            return align(fixed, moving, initial, fixed_mask, moving_mask)
        digest = hashlib.sha256(f"{ALIGNMENT_FORMAT} {initial}".encode())
        for volume in (fixed, moving, fixed_mask, moving_mask):
            digest.update(_description(volume))
        path = self.folder / f"{digest.hexdigest()}.json"
        with suppress(ValueError, TypeError):  # missing or damaged
            kept = np.array(read_or_empty(path, dict).get("matrix"), dtype=np.float64)
            if kept.shape == (4, 4) and np.isfinite(kept).all():
                return kept
        matrix = align(fixed, moving, initial, fixed_mask, moving_mask)
        write_json({"matrix": matrix.tolist()}, path)
        return matrix


def _description(volume: Volume | None) -> bytes:
    """Return a hash of the voxels of a volume and their place."""
    if volume is None:
        return b"none"
    values = np.ascontiguousarray(volume.values)
    digest = hashlib.sha256(f"{values.dtype.str} {values.shape}".encode())
    digest.update(volume.grid.affine.astype(np.float64).tobytes())
    digest.update(values.tobytes())
    return digest.digest()
