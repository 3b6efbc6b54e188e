"""The CPU kernel of the LRN: `lrn_kernel.c`, compiled on first use for this processor.

Why C and not `torch.compile`: the window slides over channels that are already in the cache, so
the activities are read and written once, and the compiler is done in about half a second.
"""

import ctypes
import functools
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import torch
from torch import Tensor

from alexnet_cli.devices import cpu_flags, read_cpuinfo
from alexnet_cli.files import cache_folder, temporary_folder

DTYPES = (torch.float32, torch.bfloat16, torch.float64)
_OPTIMISE = (
    "-std=gnu11", "-O3", "-march=native", "-mprefer-vector-width=512", "-fPIC", "-fopenmp",
    # No -ffast-math: NaN and infinity must come through. These two only free square roots from
    # setting errno and traps, which is what vectorising them needs.
    "-fno-math-errno", "-fno-trapping-math",
)  # fmt: skip
_COMPILE_SECONDS = 60


class _Shape(ctypes.Structure):  # `shape` of the C source
    _fields_ = (
        ("outer", ctypes.c_int64),
        ("channels", ctypes.c_int64),
        ("inner", ctypes.c_int64),
        ("alpha_over_size", ctypes.c_double),
        ("beta", ctypes.c_double),
        ("k", ctypes.c_double),
        ("num_threads", ctypes.c_int64),
    )


Kernel = Callable[[int, int | None, int, _Shape], int]


@functools.cache
def why_unavailable() -> str | None:
    """Return the reason why the kernel cannot be used here, or None when it can."""
    if shutil.which("cc") is None:
        return "no C compiler: cc was not found"
    try:
        _kernel(torch.float32, 5, is_three_quarters=True)
    except subprocess.CalledProcessError as error:
        return f"cc failed: {error.stderr.strip().rpartition(chr(10))[2]}"
    except (OSError, subprocess.SubprocessError) as error:
        return f"the compiled kernel does not load: {error}"
    return None


def normalise(
    x_NCHW: Tensor,
    grad_NCHW: Tensor | None = None,
    *,
    size: int,
    alpha: float,
    beta: float,
    k: float,
) -> Tensor:
    """Return y, or with a gradient of y the gradient of x; arguments as in `lrn.convolve`.

    The activities are on the CPU, of one of `DTYPES`, channels-last or not. The result has their
    memory format.
    """
    is_last = x_NCHW.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if is_last else torch.contiguous_format
    x = x_NCHW.contiguous(memory_format=layout)
    grad = None if grad_NCHW is None else grad_NCHW.contiguous(memory_format=layout)
    result = torch.empty_like(x, memory_format=layout)
    if x.numel() == 0:
        return result
    n, channels, height, width = x.shape
    outer, inner = (n * height * width, 1) if is_last else (n, height * width)
    shape = _Shape(outer, channels, inner, alpha / size, beta, k, torch.get_num_threads())
    kernel = _kernel(x.dtype, size, is_three_quarters=beta == 0.75)
    gradient = None if grad is None else grad.data_ptr()
    if kernel(x.data_ptr(), gradient, result.data_ptr(), shape):
        raise MemoryError("no memory for the LRN's scratch space")
    return result


@functools.cache
def _kernel(dtype: torch.dtype, size: int, *, is_three_quarters: bool) -> Kernel:
    """Compile, unless the cache folder has it, and load."""
    source = resources.files(__package__).joinpath("lrn_kernel.c").read_bytes()
    constants = [f"-DDTYPE_{str(dtype).removeprefix('torch.')}", f"-DSIZE={size}"]
    constants += ["-DBETA_THREE_QUARTERS"] if is_three_quarters else []
    flags = [*_OPTIMISE, *constants]
    # `-march=native` depends on the processor, and machines may share the cache folder.
    cpu = read_cpuinfo()
    processor = (cpu.get("model name"), sorted(cpu_flags(cpu)))
    key = hashlib.sha256(repr((source, flags, processor)).encode()).hexdigest()[:16]
    library = cache_folder() / "kernels" / f"lrn-{key}.so"
    if not library.is_file():
        _compile(source, flags, library)
    function = ctypes.CDLL(str(library)).lrn
    pointer = ctypes.c_void_p
    function.argtypes = (pointer, pointer, pointer, ctypes.POINTER(_Shape))
    function.restype = ctypes.c_int
    kernel: Kernel = function
    return kernel


def _compile(source: bytes, flags: list[str], library: Path) -> None:
    library.parent.mkdir(parents=True, exist_ok=True)
    with temporary_folder(library.parent) as folder:
        (folder / "lrn_kernel.c").write_bytes(source)
        # The compiler's own temporary files go there too, so that Ctrl-C leaves none.
        environment = {**os.environ, "LC_ALL": "C", "TMPDIR": str(folder)}
        # Not linked with OpenMP: PyTorch's library, loaded already, provides it, so that both
        # share one pool of threads.
        for command in (
            ["cc", *flags, "-c", "lrn_kernel.c", "-o", "lrn.o"],
            ["cc", "-shared", "lrn.o", "-o", "lrn.so", "-lm"],
        ):
            subprocess.run(  # noqa: S603 - our own source, no user input
                command, cwd=folder, check=True, capture_output=True, text=True,
                timeout=_COMPILE_SECONDS, env=environment,
            )  # fmt: skip
        (folder / "lrn.so").replace(library)
