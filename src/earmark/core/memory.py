"""How the C library keeps memory for the next time."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_ALL = 2**31 - 1


def keep_freed_memory() -> bool:
    """Let this process keep what it frees, where its C library is glibc.

    Every step of training frees and asks for the same large blocks. glibc gives them back to the
    system and gets them again as empty pages, one fault each: a sixth of the time of small networks
    on a CPU, for some more memory at the peak (docs/resources.md).

    Returns:
        Whether it could be set; other C libraries are left as they are.
    """
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(set_option(_MMAP_THRESHOLD, _ALL) and set_option(_TRIM_THRESHOLD, _ALL))
