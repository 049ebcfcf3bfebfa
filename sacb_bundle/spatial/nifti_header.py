"""Parse NIfTI headers, repair them as nibabel does, and check them."""

from __future__ import annotations

import logging
import math
from collections.abc import MutableMapping
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.nifti1 import xform_codes
from nibabel.spatialimages import HeaderDataError

from ..errors import InputError
from ..file_kinds import NIFTI, kind_of
from .grid import Grid

# A NIfTI-2 header; that of NIfTI-1 is shorter.
LONGEST_HEADER_BYTES = 540
# Amount by which the squares of a quaternion may exceed 1 through rounding to few digits.
_LARGEST_EXCESS = 1e-3
_ANALYZE_SIZES = (b"\x5c\x01\0\0", b"\0\0\x01\x5c")
_SPACE_UNITS = {0: "unknown", 1: "meter", 2: "mm", 3: "micron"}
_TIME_UNITS = {8: "sec", 16: "msec", 24: "usec", 32: "hz", 40: "ppm", 48: "rads"}

logger = logging.getLogger(__name__)


class _Repairs(logging.LoggerAdapter):
    """Log of nibabel's repairs of one header, without those that change nothing, such as of the size of a header."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Put the name of the file before a message.

        Args:
            msg: message of nibabel.
            kwargs: other arguments of the log, which are not changed.

        Returns:
            The message and the arguments.
        """
        return f"{self.extra['name']}: repaired header: {msg}.", kwargs  # type: ignore[index]

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Log a repair that deserves a warning according to nibabel.

        Args:
            level: level of the message.
            msg: message of nibabel.
            *args: values in the message.
            **kwargs: further arguments of the log.
        """
        if level >= logging.WARNING and self.extra["told"]:  # type: ignore[index]
            super().log(logging.WARNING, msg, *args, **kwargs)


def header_of(start: bytes, name: str, told: bool) -> nib.Nifti1Header:
    """Parse the header of a NIfTI file, and repair what nibabel repairs.

    Args:
        start: at least the first `LONGEST_HEADER_BYTES` of the file, or all of it.
        name: name of the file in messages.
        told: whether to log repairs.

    Returns:
        The header, of NIfTI-1 or NIfTI-2, that announces at least one voxel.

    Raises:
        InputError: if it is not one, or the position, type or scale of the voxels is unknown.
    """
    header = _parsed(start, name)
    if not 1 <= int(header["dim"][0]) <= 7:
        raise InputError(f"{name}: its header has {int(header['dim'][0])} dimensions; 1 to 7 are possible.")
    shape = header.get_data_shape()
    if min(shape) < 1:
        raise InputError(f"{name}: has shape {shape}, which is empty or impossible.")
    offset = float(header["vox_offset"])
    if not header.single_vox_offset <= offset < math.inf:
        raise InputError(
            f"{name}: its header places the voxels at byte {offset:g}; in one file with the header, they begin at byte "
            f"{header.single_vox_offset} or after it."
        )
    _check_codes(header, name)
    try:
        header.check_fix(_Repairs(logger, {"name": name, "told": told}))
        header.get_slope_inter()
    except HeaderDataError as error:
        raise InputError(f"{name}: its header is not valid: {error}.") from error
    _repair_quaternion(header, name)
    return header


def _parsed(start: bytes, name: str) -> nib.Nifti1Header:
    """Parse a header without changing it.

    Raises:
        InputError: if it is not one; names the kind of file, if known.
    """
    for kind in (nib.Nifti1Header, nib.Nifti2Header):
        if kind.may_contain_header(start):
            return kind(start[: kind.sizeof_hdr], check=False)
    raise not_nifti(start, name)


def not_nifti(start: bytes, name: str) -> InputError:
    """Make the error for a file that is not in the NIfTI format.

    Args:
        start: at least the first `LONGEST_MARK` bytes of the file, or all of it.
        name: name of the file in the message.

    Returns:
        The error, which names the kind of file, if known.
    """
    reason = kind_of(start).replace(NIFTI, "ends within its header")
    if not reason and start[:4] in _ANALYZE_SIZES:
        reason = "is an Analyze 7.5 file, or the mark of NIfTI in its header is damaged"
    return InputError(f"{name}: not a NIfTI file{reason and f'; it {reason}'}.")


@np.errstate(all="ignore")
def _check_codes(header: nib.Nifti1Header, name: str) -> None:
    """Raise an InputError if the position of the voxels depends on a code that the standard does not define.

    nibabel treats such a code as 0, and ITK as that of a form that counts.
    """
    codes = {key: int(header[key]) for key in ("qform_code", "sform_code")}
    strange = [key for key, code in codes.items() if code > 0 and code not in xform_codes.value_set()]
    if strange and not (min(codes.values()) > 0 and _forms_agree(header)):
        raise InputError(
            f"{name}: its {strange[0]} is {codes[strange[0]]}, so the position of its voxels is ambiguous."
        )


def _repair_quaternion(header: nib.Nifti1Header, name: str) -> None:
    """Normalise the quaternion of a header, as ITK does, if it is that of a rotation except for rounding.

    Raises:
        InputError: if the qform counts, and its quaternion or its voxel size is invalid.
    """
    fields = ("quatern_b", "quatern_c", "quatern_d")
    square = sum(float(header[field]) ** 2 for field in fields)
    if 1 < square <= 1 + _LARGEST_EXCESS:
        for field in fields:
            header[field] = float(header[field]) / math.sqrt(square)
    elif header["sform_code"] <= 0 < header["qform_code"]:
        if not square <= 1:
            raise InputError(f"{name}: its qform is not a rotation: the squares of its quaternion sum to {square:g}.")
        if not np.isfinite(header["pixdim"][1:4]).all():
            raise InputError(f"{name}: the size of its voxels is {header['pixdim'][1:4].tolist()} mm.")


def units_of(header: nib.Nifti1Header) -> tuple[str, str]:
    """Return the units of length and time of a header; nibabel's method fails for codes that are not defined.

    Args:
        header: NIfTI header.

    Returns:
        Names of the units as nibabel has them, such as "mm" and "sec". A unit of time that is not defined is given as
        "unknown", a unit of length as its code.
    """
    code = int(header["xyzt_units"])
    return _SPACE_UNITS.get(code & 7, str(code & 7)), _TIME_UNITS.get(code & 56, "unknown")


@np.errstate(all="ignore")  # for numbers that are infinite, which are refused later
def check_nifti(header: nib.Nifti1Header, name: str) -> None:
    """Check the unit of length of a NIfTI header, and warn if it places the voxels ambiguously.

    The sform counts if its code is not 0, otherwise the qform, as in nibabel.

    Args:
        header: header that is otherwise valid.
        name: name of the image in messages.

    Raises:
        InputError: if lengths are in metres or micrometres.
    """
    unit = units_of(header)[0]
    if unit in ("meter", "micron"):
        raise InputError(f"{name}: its lengths are in {unit}s; mm are needed.")
    if unit.isdecimal():
        logger.warning("%s: its unit of length has the code %s, which is not defined. It is read as mm.", name, unit)
    qform, sform = (header[code] > 0 for code in ("qform_code", "sform_code"))
    if not qform and not sform:
        logger.warning(
            "%s: neither qform nor sform is set. It is placed as nibabel does; other programs may differ.", name
        )
    if len(header.get_data_shape()) < 3 or not sform:
        return
    if qform and not _forms_agree(header):
        logger.warning("%s: its qform and sform disagree. The sform counts here; other programs may differ.", name)
    sizes, stored = np.linalg.norm(header.get_sform()[:3, :3], axis=0), np.abs(header["pixdim"][1:4])
    if not np.allclose(stored, sizes, rtol=0.01):
        logger.warning(
            "%s: its voxels are of %s mm by its sform, but of %s mm by its pixdim. The sform counts here; other "
            "programs may differ.",
            name, *("x".join(f"{size:.4g}" for size in three) for three in (sizes, stored)),
        )  # fmt: skip


def _forms_agree(header: nib.Nifti1Header) -> bool:
    """Return whether the qform and the sform of a header give its voxels the same position."""
    shape = header.get_data_shape()[:3]
    if len(shape) < 3:
        return False
    try:
        return Grid(shape, header.get_qform()).coincides_with(Grid(shape, header.get_sform()))
    except (ValueError, HeaderDataError):  # a quaternion that is none, or voxels of negative size
        return False
