"""The memory of a process that works on many cases (glibc only)."""

import ctypes
import sys

# Parameter of glibc's mallopt.
M_ARENA_MAX = -8
ARENAS = 2


def limit_arenas() -> None:
    """Let threads share few arenas of the allocator: in many, fragments add up over the cases of a study."""
    if sys.platform == "linux" and hasattr(allocator := ctypes.CDLL(None), "mallopt"):
        allocator.mallopt(M_ARENA_MAX, ARENAS)


def release_free_memory() -> None:
    """Return memory kept by the allocator to the system, since it grows over many small cases."""
    if sys.platform == "linux" and hasattr(allocator := ctypes.CDLL(None), "malloc_trim"):
        allocator.malloc_trim(0)
