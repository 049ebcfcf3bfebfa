"""Recognise the content of a file by its first bytes, for messages about files whose names are wrong."""

from __future__ import annotations

# Number of bytes at the start of a file that tell what it holds.
LONGEST_MARK = 512
_DICOM_OFFSET, _DICOM = 128, b"DICM"
_KINDS = (
    (b"version https://git-lfs", "is a pointer of Git LFS, not the file itself; fetch it with `git lfs pull`"),
    (b"/annex/objects/", "is a pointer of git-annex, not the file itself; fetch it with `git annex get`"),
    (b"\x1f\x8b", "is compressed by gzip"),
    (b"BZh", "is compressed by bzip2; decompress it"),
    (b"\xfd7zXZ", "is compressed by xz; decompress it"),
    (b"\x28\xb5\x2f\xfd", "is compressed by zstd; decompress it"),
    (b"PK\x03\x04", "is a ZIP archive, as spreadsheets (.xlsx) are too; unpack it, or save the table as CSV"),
    (b"\xd0\xcf\x11\xe0", "is an Office document; save the table as CSV"),
    (b"\x89HDF", "is an HDF5 file"),
    (b"CDF\x01", "is a MINC 1 file"),
    (b"ObjectType", "is a MetaImage (.mha, .mhd)"),
    (b"NRRD", "is an NRRD file"),
    (b"#Insight Transform File", "is a transform of ITK"),
    (b"%PDF", "is a PDF"),
    (b"\x89PNG", "is a PNG picture"),
    (b"\xff\xd8\xff", "is a JPEG picture"),
    (b"<!doctype html", "is a web page, not the file itself; download it again"),
    (b"<html", "is a web page, not the file itself; download it again"),
    (b"<?xml", "is an XML file"),
)
NIFTI = "is a NIfTI file"
_NIFTI_MARKS = {344: (b"n+1\0", b"ni1\0"), 4: (b"n+2\0", b"ni2\0")}


def kind_of(start: bytes) -> str:
    """Recognise the content of a file.

    Args:
        start: at least the first `LONGEST_MARK` bytes of the file, or all of them.

    Returns:
        The rest of a sentence about the file, such as "is a PDF"; "" if it is not known.
    """
    if not start:
        return "is empty"
    if is_dicom(start):
        return "is a DICOM file; a converter such as dcm2niix turns a series into NIfTI"
    if any(start[offset : offset + 4] in marks for offset, marks in _NIFTI_MARKS.items()):
        return NIFTI
    if not start.strip(b"\0"):
        return "holds nothing but zeros"
    text = start.lstrip().lower()
    return next((kind for mark, kind in _KINDS if start.startswith(mark) or text.startswith(mark.lower())), "")


def is_dicom(start: bytes) -> bool:
    """Tell whether a file is in the DICOM format.

    Args:
        start: at least the first `LONGEST_MARK` bytes of the file, or all of them.

    Returns:
        True if it has the mark of the format.
    """
    return start[_DICOM_OFFSET : _DICOM_OFFSET + len(_DICOM)] == _DICOM
