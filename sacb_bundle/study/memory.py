"""Memory of a process that works on many cases."""

import ctypes
import sys


def release_free_memory() -> None:
    """Give back to the system what the allocator keeps for later, which grows over many small cases (glibc only)."""
    if sys.platform == "linux" and hasattr(allocator := ctypes.CDLL(None), "malloc_trim"):
        allocator.malloc_trim(0)
