"""Run Python as on an x86 processor with AVX2 only: `python -m benchmarks.avx2 -m pytest FILE`.

Arguments are those of Python: a file, `-m module` or `-c code`. PyTorch has two variables for it,
`ATEN_CPU_CAPABILITY` and `ONEDNN_MAX_CPU_ISA`. ONNX Runtime has none: in a copy of its library each
CPUID instruction is replaced by an illegal one, and a preloaded C library, `avx2.c`, answers in its
place, without AVX-512 and VNNI. `/proc/cpuinfo` is read without their names. Not covered: MKL, and
the compiled LRN, which the C compiler builds for the real processor.

Linux on x86-64 only; needs `cc`, `objdump` and `readelf`.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

_HERE = Path(__file__).resolve().parent
_CPUID, _UD2 = b"\x0f\xa2", b"\x0f\x0b"
_HIDDEN_FLAG = re.compile(r"\b(avx512\w*|avx_vnni\w*|amx_\w+)\b")
_TOOLS = ("cc", "objdump", "readelf")


def is_possible() -> bool:
    """Return True if this machine can run programs as with AVX2 only."""
    return sys.platform == "linux" and os.uname().machine == "x86_64" and all(
        map(shutil.which, _TOOLS)
    )  # fmt: skip


def prepare(folder: Path) -> dict[str, str]:
    """Build the preloaded library and the copy of ONNX Runtime.

    Args:
        folder: Their folder; what is there already is used again.

    Returns:
        The environment variables of a process with AVX2 only.
    """
    import onnxruntime

    package = Path(onnxruntime.__file__).parent
    source = next(package.glob("capi/onnxruntime_pybind11_state*.so"))
    site, preloaded = folder / "site", folder / "avx2.so"
    patched = site / "onnxruntime" / "capi" / source.name
    if not patched.exists():
        subprocess.run(
            ["cc", "-O2", "-shared", "-fPIC", "-o", preloaded, _HERE / "avx2.c", "-ldl"], check=True
        )
        large = ("*_providers_cuda*", "*_providers_tensorrt*")
        ignored = shutil.ignore_patterns(source.name, "__pycache__", *large)
        shutil.copytree(package, site / "onnxruntime", ignore=ignored, dirs_exist_ok=True)
        patched.write_bytes(_without_cpuid(source))
        cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        (folder / "cpuinfo").write_text(_HIDDEN_FLAG.sub("", cpuinfo))
    paths = [str(site), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        "AVX2_CPUINFO": str(folder / "cpuinfo"),
        "ATEN_CPU_CAPABILITY": "avx2",
        "LD_PRELOAD": str(preloaded),
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "PYTHONPATH": os.pathsep.join(paths),
    }


def _without_cpuid(library: Path) -> bytes:
    """Return a library's bytes with each CPUID replaced by UD2, which has two bytes as well."""
    content = bytearray(library.read_bytes())
    headers = subprocess.run(
        ["readelf", "-lW", library], capture_output=True, text=True, check=True
    ).stdout
    loaded = [
        tuple(int(number, 16) for number in (fields[1], fields[2], fields[4]))
        for fields in map(str.split, headers.splitlines())
        if fields[:1] == ["LOAD"]
    ]
    code = subprocess.run(
        ["objdump", "-d", "--no-show-raw-insn", library], capture_output=True, text=True, check=True
    ).stdout
    for address in re.findall(r"^\s*([0-9a-f]+):\s+cpuid\b", code, re.MULTILINE):
        place = int(address, 16)
        offset, start, _ = next(part for part in loaded if part[1] <= place < part[1] + part[2])
        at = place - start + offset
        if content[at : at + 2] != _CPUID:
            raise ValueError(f"{library} has no CPUID at {address}")
        content[at : at + 2] = _UD2
    return bytes(content)


def main() -> None:
    """Replace this process by the program, in the prepared environment."""
    if len(sys.argv) < 2 or not is_possible():
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    import onnxruntime

    version = hashlib.sha256((onnxruntime.__file__ + onnxruntime.__version__).encode()).hexdigest()
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    folder = cache / "alexnet-avx2" / version[:16]
    folder.mkdir(parents=True, exist_ok=True)
    os.execve(  # noqa: S606 - becoming the program is the point
        sys.executable, [sys.executable, *sys.argv[1:]], {**os.environ, **prepare(folder)}
    )


if __name__ == "__main__":
    main()
