"""Memory of a process that handles many cases."""

import ctypes
import sys


def release_free_memory() -> None:
    """Return the allocator's free memory, which grows over many small cases, to the system (glibc only)."""
    if sys.platform == "linux" and hasattr(allocator := ctypes.CDLL(None), "malloc_trim"):
        allocator.malloc_trim(0)
