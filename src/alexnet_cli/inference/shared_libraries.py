"""Which shared libraries a library needs, and which of them cannot be loaded.

Only the ELF format of Linux on 64-bit little-endian processors is read: there alone do NVIDIA's
libraries come as wheels that no loader finds by itself. Of another file nothing is said.
"""

import ctypes
import struct
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

Loader = Callable[[str], Any]
"""Loads a shared library by name or path, or raises OSError: `ctypes.CDLL`."""

_MAGIC = b"\x7fELF\x02\x01"  # 64-bit, little-endian
_HEADER = struct.Struct("<16xHHIQQQIHHHHHH")
_PROGRAM_HEADER = struct.Struct("<IIQQQQQQ")
_DYNAMIC_ENTRY = struct.Struct("<qQ")
_LOAD, _DYNAMIC = 1, 2
_NEEDED, _STRING_TABLE = 1, 5
_MAX_NAME_BYTES = 256
_MAX_TABLE_BYTES = 1 << 20
_SYSTEM_FAMILIES = ("libc.", "libm.", "libdl.", "librt.", "libpthread.", "ld-linux")


def needed_libraries(path: Path) -> tuple[str, ...]:
    """Return the names a library asks for (DT_NEEDED), in its order; none if it is no such file."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEADER.size)
            if len(head) < _HEADER.size or not head.startswith(_MAGIC):
                return ()
            fields = _HEADER.unpack(head)
            offset, size, count = fields[4], fields[8], fields[9]
            if size != _PROGRAM_HEADER.size:
                return ()
            file.seek(offset)
            segments = list(_PROGRAM_HEADER.iter_unpack(file.read(size * count)))
            return _read_needed(file, segments)
    except (OSError, struct.error, StopIteration, OverflowError, ValueError):
        return ()  # cut short or damaged: loading it will say so


def _read_needed(file: Any, segments: list[tuple[int, ...]]) -> tuple[str, ...]:
    dynamic = next(segment for segment in segments if segment[0] == _DYNAMIC)
    file.seek(dynamic[2])
    table = file.read(min(dynamic[5], _MAX_TABLE_BYTES))
    entries = list(_DYNAMIC_ENTRY.iter_unpack(table[: len(table) // 16 * 16]))
    address = next(value for tag, value in entries if tag == _STRING_TABLE)
    holder = next(s for s in segments if s[0] == _LOAD and s[3] <= address < s[3] + s[5])
    strings = holder[2] + address - holder[3]
    names = []
    for tag, value in entries:
        if tag == _NEEDED:
            file.seek(strings + value)
            names.append(file.read(_MAX_NAME_BYTES).partition(b"\0")[0].decode("ascii"))
    return tuple(names)


def wheel_folders(path: Iterable[str] | None = None) -> list[Path]:
    """Return the folders in which NVIDIA's wheels keep libraries, where no loader looks.

    Args:
        path: Where packages are installed; `sys.path` by default.
    """
    folders = []
    for root in map(Path, sys.path if path is None else path):
        folders += sorted(root.glob("nvidia/*/lib"))
        folders += [root / "tensorrt_libs"] if (root / "tensorrt_libs").is_dir() else []
    return folders


def load_libraries(
    names: Iterable[str], *, folders: Sequence[Path] = (), load: Loader = ctypes.CDLL
) -> dict[str, str]:
    """Load libraries, so that one that needs them finds them loaded.

    Args:
        names: In an order in which each comes after what it needs.
        folders: Where to look before the loader's own places, as ONNX Runtime does.
        load: The loader.

    Returns:
        Those that cannot be loaded, with the reason.
    """
    failed = {}
    for name in names:
        if name.startswith(_SYSTEM_FAMILIES):
            continue  # Python itself runs on them
        places = [str(folder / name) for folder in folders if (folder / name).is_file()]
        reason = _why_not_loaded([*places, name], load)
        if reason is not None:
            failed[name] = reason
    return failed


def _why_not_loaded(places: list[str], load: Loader) -> str | None:
    """Return the first place's reason: it says most of a file that is there but does not load."""
    first = None
    for place in places:
        try:
            load(place)
        except OSError as error:
            first = first or str(error)
        else:
            return None
    return first
