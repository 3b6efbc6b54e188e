import sys

import pytest

from alexnet_cli.inference.gpu_check import load_libraries, needed_libraries, wheel_folders
from tests.planted import plant_library

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="ELF is Linux's format")


@pytest.fixture
def provider(tmp_path):
    """A library that needs two others, in this order."""
    needs = [plant_library(tmp_path / "libs" / name) for name in ("libb.so.2", "liba.so.1")]
    return plant_library(tmp_path / "libprovider.so", needs=tuple(needs))


def test_the_names_a_library_asks_for_are_read_in_its_order(provider):
    names = needed_libraries(provider)
    assert names[:2] == ("libb.so.2", "liba.so.1")
    assert needed_libraries(provider.parent / "libs" / "liba.so.1") == names[2:]


def test_what_is_no_library_needs_nothing(tmp_path):
    path = tmp_path / "x.so"
    for content in (b"", b"MZ", b"\x7fELF", b"\x7fELF\x01\x01" + bytes(200), bytes(100)):
        path.write_bytes(content)
        assert needed_libraries(path) == ()
    assert needed_libraries(tmp_path / "absent") == needed_libraries(tmp_path) == ()


def test_a_damaged_library_raises_nothing(provider):
    whole = provider.read_bytes()
    for length in range(0, len(whole), 61):
        provider.write_bytes(whole[:length])
        needed_libraries(provider)
    for place in range(1200):
        damaged = bytearray(whole)
        damaged[place] ^= 0xFF
        provider.write_bytes(damaged)
        needed_libraries(provider)


def test_missing_libraries_are_named_with_the_loaders_reason(provider):
    libs = provider.parent / "libs"
    assert load_libraries(needed_libraries(provider), folders=[libs]) == {}
    (libs / "liba.so.1").unlink()
    plant_library(libs / "libc1.so.1", needs=(plant_library(libs / "libgone.so.7"),))
    (libs / "libgone.so.7").unlink()
    (libs / "libtorn.so.1").write_bytes(b"\x7fELF")
    names = ("libabsent_planted.so.1", "libc1.so.1", "libtorn.so.1", "libc.so.6")
    failed = load_libraries(names, folders=[libs])
    assert list(failed) == list(names[:3])
    assert "libgone.so.7" in failed["libc1.so.1"]  # what it needs in its turn
    assert str(libs / "libtorn.so.1") in failed["libtorn.so.1"]


def test_the_folders_of_nvidias_wheels_are_found(tmp_path):
    for name in ("nvidia/cu13/lib", "nvidia/cudnn/lib", "tensorrt_libs", "nvidia/cu13/include"):
        (tmp_path / name).mkdir(parents=True)
    found = [str(folder.relative_to(tmp_path)) for folder in wheel_folders([str(tmp_path), ""])]
    assert found[:3] == ["nvidia/cu13/lib", "nvidia/cudnn/lib", "tensorrt_libs"]
