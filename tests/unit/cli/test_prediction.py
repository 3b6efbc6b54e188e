import pytest

from alexnet_cli.cli.prediction import ClassFolders, folder_names
from alexnet_cli.errors import AlexnetError, DataError


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../../x", "/etc", "a/b", "a\\b", "c:d", "x" * 999, "é" * 300, ".git", "a\0b",
     "con", "LPT1.txt", "tail. .", "\n", "\x1b[31m", "*", "   "],
)  # fmt: skip
def test_any_class_name_becomes_a_folder_name(tmp_path, name):
    (safe,) = folder_names([name])
    assert safe
    assert not set(safe) & set('/\\\0\n:*"<>|?\x1b')
    assert not safe.startswith(".")
    assert len(safe.encode()) < 255
    (tmp_path / "x.png").write_text("x")
    copy = ClassFolders(tmp_path / "out", [name]).copy(tmp_path / "x.png", 0)
    assert copy.parent.parent == tmp_path / "out"
    assert copy.read_text() == "x"


@pytest.mark.parametrize("names", [["cat", "dog"], ["élan", "grey wolf", "n01_2, tench", "日本"]])
def test_an_ordinary_name_stays(names):
    assert folder_names(names) == names


def test_no_two_classes_share_a_folder():
    names = folder_names(["a/b", "a:b", "a_b", "A_B", "a_b-2", "", ".", ".."])
    assert len({name.casefold() for name in names}) == len(names)


def test_a_taken_name_gets_a_number_and_nothing_is_overwritten(tmp_path):
    files = []
    for number in range(4):
        files.append(tmp_path / f"in{number}" / "a.b.png")
        files[-1].parent.mkdir()
        files[-1].write_text(str(number))
    taken = tmp_path / "out" / "cat" / "a.b.png"
    taken.parent.mkdir(parents=True)
    taken.write_text("before")
    for _ in range(2):  # a second run goes on counting
        folders = ClassFolders(tmp_path / "out", ["cat"])
        for file in files[:2]:
            folders.copy(file, 0)
    found = {path.name: path.read_text() for path in taken.parent.iterdir()}
    assert found == {
        "a.b.png": "before", "a.b-2.png": "0", "a.b-3.png": "1", "a.b-4.png": "0", "a.b-5.png": "1",
    }  # fmt: skip
    assert [file.read_text() for file in files] == ["0", "1", "2", "3"]


def test_a_file_that_went_away_is_the_images_error(tmp_path):
    with pytest.raises(DataError, match=r"gone\.png"):
        ClassFolders(tmp_path / "out", ["cat"]).copy(tmp_path / "gone.png", 0)


def test_a_folder_that_cannot_be_made_ends_it(tmp_path):
    (tmp_path / "out").write_text("a file")
    (tmp_path / "x.png").touch()
    with pytest.raises(AlexnetError) as caught:
        ClassFolders(tmp_path / "out", ["cat"]).copy(tmp_path / "x.png", 0)
    assert not isinstance(caught.value, DataError)


def test_a_long_name_is_cut_for_its_number(tmp_path):
    image = tmp_path / f"{'é' * 125}.png"
    image.touch()
    folders = ClassFolders(tmp_path / "out", ["cat"])
    copies = [folders.copy(image, 0) for _ in range(3)]
    assert len({copy.name for copy in copies}) == 3
    assert all(copy.suffix == ".png" for copy in copies)


def test_a_link_in_place_of_a_class_folder_is_not_followed(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "cat").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "x.png").touch()
    with pytest.raises(AlexnetError):
        ClassFolders(tmp_path / "out", ["cat"]).copy(tmp_path / "x.png", 0)
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_dangling_link_in_place_of_a_copy_is_not_written_through(tmp_path):
    (tmp_path / "out" / "cat").mkdir(parents=True)
    (tmp_path / "out" / "cat" / "x.png").symlink_to(tmp_path / "elsewhere.png")
    (tmp_path / "x.png").touch()
    assert ClassFolders(tmp_path / "out", ["cat"]).copy(tmp_path / "x.png", 0).name == "x-2.png"
    assert not (tmp_path / "elsewhere.png").exists()
