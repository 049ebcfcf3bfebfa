"""Read gzip files with ISA-L."""

from __future__ import annotations

import io
from typing import BinaryIO

from isal import igzip_lib

GZIP_MAGIC = b"\x1f\x8b"
_BLOCK_BYTES = 2**18


class GzipStream(io.RawIOBase):
    """Decompressed bytes of a gzip file, whose checksums are compared at the end of each member.

    Bytes after the last member are ignored, as by gzip, ITK and nibabel; ISA-L's own reader refuses them.
    """

    def __init__(self, file: BinaryIO) -> None:
        """Start at the beginning of a file that begins with `GZIP_MAGIC`.

        Args:
            file: file opened for reading bytes, at any position.
        """
        self._file = file
        self._restart()

    def _restart(self) -> None:
        """Go back to the beginning."""
        self._position = 0
        self._file.seek(0)
        self._start_member(self._file.read(_BLOCK_BYTES))

    def _start_member(self, block: bytes) -> None:
        """Start to decompress a member whose first bytes are these."""
        self._member, self._block = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP), block

    def readable(self) -> bool:
        """Tell that bytes can be read.

        Returns:
            True.
        """
        return True

    def seekable(self) -> bool:
        """Tell that the position can be set, though going back starts anew.

        Returns:
            True.
        """
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a position among the decompressed bytes, by reading up to it.

        Args:
            offset: position from the beginning, or from the current one.
            whence: `io.SEEK_SET` or `io.SEEK_CUR`.

        Returns:
            The new position.
        """
        target = offset + (self._position if whence == io.SEEK_CUR else 0)
        if target < self._position:
            self._restart()
        while self._position < target and self.read(min(_BLOCK_BYTES, target - self._position)):
            pass
        return self._position

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        """Fill the start of a buffer with the next bytes, and return their number: 0 at the end.

        Args:
            buffer: writable buffer.

        Returns:
            Number of bytes that were read.

        Raises:
            EOFError: if a member is cut short.
            igzip_lib.IsalError: if a member is damaged.
        """
        while True:
            if self._member.eof and not self._next_member():
                return 0
            if not self._block and self._member.needs_input:
                self._block = self._file.read(_BLOCK_BYTES)
                if not self._block:
                    raise EOFError("a member is cut short")
            data = self._member.decompress(self._block, len(buffer))
            self._block = b""
            if data:
                buffer[: len(data)] = data
                self._position += len(data)
                return len(data)

    def _next_member(self) -> bool:
        """Start the next member, and return whether there is one."""
        rest = self._member.unused_data.lstrip(b"\0")
        while len(rest) < len(GZIP_MAGIC):
            block = self._file.read(_BLOCK_BYTES)
            if not block:
                return False
            rest = (rest + block).lstrip(b"\0")
        if not rest.startswith(GZIP_MAGIC):
            return False
        self._start_member(rest)
        return True
