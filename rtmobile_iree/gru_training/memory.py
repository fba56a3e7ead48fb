"""Memory that training frees and takes again at every step."""

import ctypes

# of glibc's malloc.h
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_LARGEST = 2**31 - 1


def keep_freed_memory() -> None:
    """Has glibc keep what is freed, for the process's whole life.

    Otherwise tensors of many megabytes, new in every step, go back to the system each time, and
    their pages are cleared again at first touch: a sixth of a sparse step of 2 x 1024 units.
    Elsewhere than with glibc it does nothing.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, _LARGEST)
