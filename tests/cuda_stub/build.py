"""Build libraries that stand in for a GPU.

A process that preloads them believes in one: for PyTorch without libcudnn, for ONNX Runtime with.
Device memory is host memory, kernels do nothing; launches, copies and waits of the host are counted
(`counts.py`). Functions that the C files here do not define return 0. Needs gcc, objdump and the
CUDA libraries of PyTorch's wheels, whose names of functions and headers are read; nothing of them
is copied.

What it proves: which nodes ONNX Runtime places where, devices and dtypes, launches and waits. It
proves no number, nothing of cuDNN, and no time.
"""

import shutil
import subprocess
import sysconfig
from pathlib import Path

_HERE = Path(__file__).parent
_SITE = Path(sysconfig.get_path("purelib"))
_LIBRARIES = {  # the name to load: the real library, whose functions are there; our own code
    "libcudart.so.13": ("cu13/lib/libcudart.so.13", "cudart.c"),
    "libcublasLt.so.13": ("cu13/lib/libcublasLt.so.13", "cublaslt.c"),
    "libcublas.so.13": ("cu13/lib/libcublas.so.13", "cublas.c"),
    "libcurand.so.10": ("cu13/lib/libcurand.so.10", None),
    "libcudnn.so.9": ("cudnn/lib/libcudnn.so.9", "cudnn.c"),
}
SONAMES = tuple(_LIBRARIES)
_COMPILE = (
    "gcc", "-shared", "-fPIC", "-O1", "-w", f"-I{_SITE}/triton/backends/nvidia/include",
    "-ldl", "-Wl,--allow-shlib-undefined",
)  # fmt: skip


def is_possible():
    """Return whether the libraries can be built here."""
    real = [_SITE / "nvidia" / path for path, _ in _LIBRARIES.values()]
    return all(map(shutil.which, ("gcc", "objdump"))) and all(path.is_file() for path in real)


def _functions(library):
    """Return the functions that a library has."""
    command = ["objdump", "-T", library]
    table = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    lines = (line for line in table.splitlines() if " g " in line and ".text" in line)
    return {line.split()[-1] for line in lines if "UND" not in line}


def _compile(out, soname, code, functions):
    missing = (name for name in sorted(functions) if f" {name}(" not in code)
    missing = (name for name in missing if f"*{name}(" not in code)
    source, versions = out / f"{soname}.c", out / f"{soname}.map"
    source.write_text(code + "".join(f"int {name}(void){{return 0;}}\n" for name in missing))
    versions.write_text(f"{soname} {{ global: *; }};\n")
    script = [] if soname.startswith("libcuda.") else [f"-Wl,--version-script={versions}"]
    names = ["-o", out / soname, source, f"-Wl,-soname,{soname}"]
    subprocess.run([*_COMPILE, *names, *script], check=True)


def build(out):
    """Build libcuda.so.1 and all of `SONAMES` in a folder."""
    driver = (_HERE / "cuda_functions.txt").read_text().split()  # no driver is installed to ask
    _compile(out, "libcuda.so.1", (_HERE / "cuda.c").read_text(), driver)
    for soname, (real, own) in _LIBRARIES.items():
        code = (_HERE / own).read_text() if own else ""
        _compile(out, soname, code, _functions(_SITE / "nvidia" / real))
