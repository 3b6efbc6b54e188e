"""Situations of an installation, laid out in a folder: wheels, libraries, a driver."""

import subprocess

DRIVER_SOURCE = r"""
#include <stddef.h>
#include <string.h>
int cuInit(unsigned flags) { return STATUS; }
int cuDriverGetVersion(int *version) { *version = CUDA_VERSION; return 0; }
int cuDeviceGetCount(int *count) { *count = NUM_GPUS; return 0; }
int cuDeviceGet(int *device, int index) { *device = index; return 0; }
int cuDeviceGetName(char *name, int size, int device) {
    strncpy(name, "Planted GPU", size); return 0;
}
int cuDeviceTotalMem_v2(size_t *bytes, int device) { *bytes = 80000000000; return 0; }
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    *value = attribute == 75 ? 9 : 0; return 0;
}
int cuGetErrorString(int status, const char **text) { *text = "planted error"; return 0; }
"""


def plant_library(path, *, source="", needs=()):
    """Compile a shared library that asks for others, which need not stay where they are.

    It has no name of its own (DT_SONAME): a process that loaded it would take it for the real one
    from then on.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    links = [word for need in needs for word in (f"-L{need.parent}", f"-l:{need.name}")]
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-w", "-Wl,--no-as-needed", "-x", "c", "-", "-x", "none",
         *links, "-o", str(path)],
        input=source, text=True, check=True,
    )  # fmt: skip
    return path


def plant_driver(folder, *, num_gpus=1, status=0, cuda_version=13_000):
    """Compile a driver that reports so many GPUs; return the folder of its libraries."""
    constants = {"NUM_GPUS": num_gpus, "STATUS": status, "CUDA_VERSION": cuda_version}
    source = "".join(f"#define {name} {value}\n" for name, value in constants.items())
    plant_library(folder / "libcuda.so.1", source=source + DRIVER_SOURCE)
    return folder


def plant_wheel(site, name, version="1.31.1"):
    """Write the metadata that pip leaves of an installed wheel."""
    folder = site / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n")


def plant_onnxruntime(site, *, cuda_version="13.0"):
    """Write the source file with ONNX Runtime's CUDA version; return its library folder."""
    capi = site / "onnxruntime" / "capi"
    capi.mkdir(parents=True)
    (capi / "build_and_package_info.py").write_text(
        f"package_name = 'onnxruntime-gpu'\ncuda_version = '{cuda_version}'\n"
    )
    return capi
