"""Local response normalisation across channels (paper §3.3), fast forward and backward.

On the CPU it runs `lrn_kernel.c`, compiled on first use for this processor. Why C and not
`torch.compile`: the window slides over channels that are already in the cache, so the activities
are read and written once, and the compiler is done in about half a second. On CUDA it runs
`lrn_triton.py`.

Shape letters: N batch, C channels, H height, W width.
"""

import ctypes
import functools
import hashlib
import importlib
import os
import shutil
import subprocess
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from alexnet_cli.devices import cpu_flags, read_cpuinfo
from alexnet_cli.files import cache_folder, keep_library, kept_libraries, temporary_folder
from alexnet_cli.networks import Departure

_C_DTYPES = (torch.float32, torch.bfloat16, torch.float64)
_OPTIMISE = (
    "-std=gnu11", "-O3", "-march=native", "-mprefer-vector-width=512", "-fPIC", "-fopenmp",
    # No -ffast-math: NaN and infinity must come through. These two only free square roots from
    # setting errno and traps, which is what vectorising them needs.
    "-fno-math-errno", "-fno-trapping-math",
)  # fmt: skip
_COMPILE_SECONDS = 60


class Constants(NamedTuple):
    """Of the formula of `LocalResponseNorm`."""

    size: int  # n
    alpha: float
    beta: float
    k: float


class LocalResponseNorm(nn.Module):
    """Divide each activity by a power of the summed squares of its neighbour channels.

    `y_c = x_c / (k + α/n · Σ x_j²)^β`, the sum over the n channels centred on c.

    Why not `torch.nn.LocalResponseNorm`: it averages through a 3-D pooling of a padded copy, and
    was the slowest part of the network. Here a kernel reads the activities once: compiled C
    on the CPU, Triton on CUDA. Where there is neither, the window sum is a 1×1 convolution of x²
    with a band matrix. Only the input is kept for the backward pass, which is written out.

    Source: paper §3.3; `computerhistory/AlexNet-Source-Code`, layer type `cmrnorm`.
    """

    departures = (
        Departure(
            paper="the formula prints α·Σ",
            here="α/n·Σ",
            because="the original code divides by the window size, as `torch.nn.LocalResponseNorm` "
            "and the ONNX operator `LRN` do",
        ),
    )

    def __init__(
        self, *, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 2.0
    ) -> None:
        super().__init__()
        if size % 2 == 0:
            raise ValueError(f"size must be odd to have a centre, not {size}")
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, x_NCHW: Tensor) -> Tensor:
        if torch.onnx.is_in_onnx_export():
            # One native node instead of the nine that this computation decomposes into.
            node: Tensor = torch.onnx.ops.symbolic(
                "LRN",
                (x_NCHW,),
                {"size": self.size, "alpha": self.alpha, "beta": self.beta, "bias": self.k},
                dtype=x_NCHW.dtype,
                shape=x_NCHW.shape,
            )
            return node
        constants = Constants(self.size, self.alpha, self.beta, self.k)
        result: Tensor = _LRN.apply(x_NCHW, constants)
        return result

    def extra_repr(self) -> str:
        return f"size={self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"


class _LRN(torch.autograd.Function):
    """`y = x · d^-β` with `d = k + α/n · window(x²)`; β·d^-(β+1) is its derivative's factor."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, constants: Constants) -> Tensor:
        ctx.save_for_backward(x)
        ctx.constants = constants
        return _kernel_for(x)(x, None, constants)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return _kernel_for(x)(x, grad, ctx.constants), None


def kernel_name(device: torch.device) -> str:
    """Describe the kernel that a device uses, with the reason if it is the slow one."""
    if device.type == "cpu":
        reason = why_unavailable()
        return "compiled C" if reason is None else f"convolution ({reason})"
    return "Triton" if _triton() is not None else "convolution (Triton is not installed)"


def _kernel_for(x: Tensor) -> Callable[..., Tensor]:
    if x.is_cpu and x.dtype in _C_DTYPES and why_unavailable() is None:
        return normalise_in_c
    if x.is_cuda:
        kernels = _triton()
        if kernels is not None and x.dtype in kernels.DTYPES:
            kernel: Callable[..., Tensor] = kernels.normalise
            return kernel
    return convolve


@functools.cache
def _triton() -> ModuleType | None:
    """Import the CUDA kernels; PyTorch's Linux wheels bring Triton, others do not."""
    try:
        return importlib.import_module("alexnet_cli.models.lrn_triton")
    except ImportError:
        return None


def convolve(x_NCHW: Tensor, grad_NCHW: Tensor | None, constants: Constants) -> Tensor:
    """Return y, or with a gradient of y the gradient of x, anywhere PyTorch runs.

    dL/dx = g·d^-β - 2αβ/n · x · bandᵀ∗(g·x·d^-(β+1)), and the band is symmetric.
    """
    size, alpha, beta, k = constants
    channel = torch.arange(x_NCHW.shape[1], device=x_NCHW.device)
    is_neighbour = (channel[:, None] - channel[None, :]).abs() <= size // 2
    # Zeros and ones are exact in every dtype.
    band_OI11 = is_neighbour.to(x_NCHW.dtype)[:, :, None, None]
    d = F.conv2d(x_NCHW * x_NCHW, band_OI11).mul_(alpha / size).add_(k)
    power = d.pow(-beta)
    if grad_NCHW is None:
        return x_NCHW * power
    direct = grad_NCHW * power
    through = F.conv2d(direct * x_NCHW / d, band_OI11)
    return direct.sub_(through.mul_(x_NCHW).mul_(2.0 * beta * alpha / size))


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


def normalise_in_c(x_NCHW: Tensor, grad_NCHW: Tensor | None, constants: Constants) -> Tensor:
    """Return y, or with a gradient of y the gradient of x; arguments as in `convolve`.

    The activities are on the CPU, of one of `_C_DTYPES`, channels-last or not. The result has their
    memory format.
    """
    size, alpha, beta, k = constants
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
    """Compile, unless the cache folder has it undamaged and nobody else may write there; load."""
    source = resources.files(__package__).joinpath("lrn_kernel.c").read_bytes()
    constants = [f"-DDTYPE_{str(dtype).removeprefix('torch.')}", f"-DSIZE={size}"]
    constants += ["-DBETA_THREE_QUARTERS"] if is_three_quarters else []
    flags = [*_OPTIMISE, *constants]
    # `-march=native` depends on the processor, and machines may share the cache folder.
    cpu = read_cpuinfo()
    processor = (cpu.get("model name"), sorted(cpu_flags(cpu)))
    key = hashlib.sha256(repr((source, flags, processor)).encode()).hexdigest()[:16]
    folder, name = cache_folder() / "kernels", f"lrn-{key}"
    kept = next(kept_libraries(folder, name), None)
    if kept is not None:
        return _load(kept)
    with temporary_folder() as workshop:
        compiled = _compile(source, flags, workshop)
        # A loaded library stays in memory when its file is deleted.
        return _load(keep_library(compiled.read_bytes(), folder, name) or compiled)


def _load(library: Path) -> Kernel:
    function = ctypes.CDLL(str(library)).lrn
    pointer = ctypes.c_void_p
    function.argtypes = (pointer, pointer, pointer, ctypes.POINTER(_Shape))
    function.restype = ctypes.c_int
    kernel: Kernel = function
    return kernel


def _compile(source: bytes, flags: list[str], folder: Path) -> Path:
    (folder / "lrn_kernel.c").write_bytes(source)
    # The compiler's own temporary files go there too, so that Ctrl-C leaves none.
    environment = {**os.environ, "LC_ALL": "C", "TMPDIR": str(folder)}
    # Not linked with OpenMP: PyTorch's library, loaded already, provides it, so that both share one
    # pool of threads.
    for command in (
        ["cc", *flags, "-c", "lrn_kernel.c", "-o", "lrn.o"],
        ["cc", "-shared", "lrn.o", "-o", "lrn.so", "-lm"],
    ):
        subprocess.run(  # noqa: S603 - our own source, no user input
            command, cwd=folder, check=True, capture_output=True, text=True,
            timeout=_COMPILE_SECONDS, env=environment,
        )  # fmt: skip
    return folder / "lrn.so"
