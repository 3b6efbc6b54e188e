import pytest
import torch

from alexnet_cli.errors import first_line, is_out_of_memory, join_some


def test_the_first_line_of_an_exception():
    assert first_line(ValueError("  one\ntwo")) == "one"
    assert first_line(MemoryError()) == "MemoryError"


def test_some_names_and_a_count_of_the_others():
    assert join_some(["a", "b"]) == "a, b"
    assert join_some(list("abcdefg")) == "a, b, c, d, e and 2 more"
    assert join_some(list("abc"), limit=1, separator="; ") == "a and 2 more"


@pytest.mark.parametrize(
    "text",
    [
        "CUDA out of memory. Tried to allocate 2.00 GiB", "CUDA error: out of memory",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "Triton Error [CUDA]: out of memory", "cudaErrorMemoryAllocation",
        "[enforce fail] DefaultCPUAllocator: can't allocate memory", "std::bad_alloc",
        "could not create a primitive",
        "Failed to allocate memory for requested buffer of size 12845056",
        "libtorch_cpu.so: failed to map segment from shared object",
    ],
)  # fmt: skip
def test_every_form_of_too_little_memory_is_known(text):
    assert is_out_of_memory(RuntimeError(text))
    assert is_out_of_memory(torch.OutOfMemoryError())
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("could not create a primitive descriptor"))
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
