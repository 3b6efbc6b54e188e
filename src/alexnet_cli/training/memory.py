"""Memory: what the allocator of the CPU does with what is freed, and how its end shows."""

import ctypes

import torch

# Of glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8
_NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
    """Keep freed memory in the process, so that the next update finds it mapped and warm.

    glibc gives blocks of more than 32 MiB back to the kernel as soon as they are freed. An update
    frees and allocates the same activations again, and each time the kernel clears their pages.
    Applies to the whole process, for good. One arena, because the backward pass runs in a thread,
    whose own arena could not hold such blocks.

    Returns:
        Whether the allocator took it; others than glibc's do not.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = ((_ARENA_MAX, 1), (_MMAP_MAX, 0), (_TRIM_THRESHOLD, _NEVER))
    return all(mallopt(parameter, value) for parameter, value in settings)


_WORDS = (
    "can't allocate memory",  # PyTorch's allocator
    "bad_alloc",
    "Cannot allocate memory",
    "could not create a primitive",  # oneDNN, for its code and scratch
    "could not create a memory",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that memory ran out, on any device."""
    # CUDA has a class for this, and so has Python; the CPU's libraries have only words.
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    words = str(error)
    return "descriptor" not in words and any(each in words for each in _WORDS)
