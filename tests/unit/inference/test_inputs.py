import os

import pytest

from alexnet_cli.errors import DataError
from alexnet_cli.image import LeftOut
from alexnet_cli.inference import inputs
from alexnet_cli.inference.inputs import find_images, listed_images

PHOTOS = ["photos/y.jpeg", "photos/z.png", "photos/deep/er/x.webp"]
HERE = ["[odd].png", "a.JPG", "b.png"]


@pytest.fixture
def tree(isolated):
    """Files in the working folder; their content does not matter to a search."""
    names = [
        "b.png", "a.JPG", "notes.txt", ".hidden.png", "photos/z.png", "photos/y.jpeg",
        "photos/deep/er/x.webp", "photos/.git/w.png", "photos/deep/none.md", "empty/readme.txt",
        "[odd].png", "out/cat/copy.png",
    ]  # fmt: skip
    for name in names:
        path = isolated / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return isolated


def names(*arguments, skip=None):
    return [source.name for source in find_images(arguments, skip=skip)]


def test_files_are_taken_as_they_are_named(tree):
    given = ["notes.txt", "./b.png", "missing.png", ".hidden.png", "b.png", "[odd].png"]
    assert names(*given) == given


def test_a_folder_gives_its_images_by_name_then_those_below(tree):
    assert names("photos") == PHOTOS
    assert names(".")[:3] == HERE


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.png", ["[odd].png", "b.png"]),
        ("*", [*HERE, "out/cat/copy.png", *PHOTOS]),
        ("photos/*", ["photos/deep/er/x.webp", "photos/y.jpeg", "photos/z.png"]),
        ("photos/**", PHOTOS),
        ("**/x.*", ["photos/deep/er/x.webp"]),
        ("photos/**/**/*.png", ["photos/z.png"]),
        ("p*/*/e?/*", ["photos/deep/er/x.webp"]),
        ("[ab].[!p]*", ["a.JPG"]),
        ("[[]odd].*", ["[odd].png"]),
        ("{}/photos/*.png", ["{}/photos/z.png"]),
        ("**/*.png", ["[odd].png", "b.png", "out/cat/copy.png", "photos/z.png"]),
    ],
)
def test_a_pattern_that_no_shell_expanded(tree, pattern, expected):
    assert names(pattern.format(tree)) == [name.format(tree) for name in expected]


@pytest.mark.parametrize(
    ("argument", "code"),
    [("empty", "no_images"), ("*.gif", "no_images"), ("nowhere/*", "no_images"),
     ("**/nothing", "no_images"), ("", "image_missing"),
     ("https://example.org/a.png?x=*", "image_missing")],
)  # fmt: skip
def test_where_there_is_no_image_the_argument_is_an_error(tree, argument, code):
    (source,) = find_images([argument])
    assert source.picture is None
    assert source.error.code == code
    assert argument in source.error.message


def test_a_folder_is_left_out_however_it_is_reached(tree):
    out = tree / "photos" / ".." / "out"
    assert not [name for name in names(".", "**", "o*", skip=out) if "out" in name]
    assert names("out/cat/copy.png", skip=out) == ["out/cat/copy.png"]


def test_a_linked_folder_is_not_followed(tree):
    (tree / "photos" / "loop").symlink_to(tree)
    assert names("photos") == PHOTOS


def test_what_may_be_an_image_is_counted(tree):
    for name in ("a.heic", "B.HEIC", "c.jfif"):
        (tree / "photos" / name).touch()
    (tree / "photos" / "d").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tree / "photos" / "link").symlink_to(tree / "out")
    (tree / "empty" / "e.cr2").touch()
    left_out = LeftOut()
    found = [source.name for source in find_images(["photos", "**/y.*"], left_out=left_out)]
    assert found == ["photos/c.jfif", *PHOTOS, "photos/y.jpeg"]
    text = left_out.describe()
    assert "2 .heic files (" in text
    assert "1 image without a suffix (" in text
    assert "linked folder" in text
    (source,) = find_images(["empty"])
    assert "1 .cr2 file" in source.error.message


def test_names_that_are_no_text(tree):
    odd = os.fsdecode(b"photos/caf\xe9.png")
    (tree / odd).touch()
    assert odd in names("photos")
    assert names("nul\0.png") == ["nul\0.png"]


def test_found_while_it_is_used(tree):
    found = find_images(iter(["b.png", *["photos"] * 10**6]))
    assert [next(found).name for _ in range(3)] == ["b.png", "photos/y.jpeg", "photos/z.png"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"b.png\nphotos\nnot*.png\n", ["b.png", *PHOTOS, "not*.png"]),
        (b"b.png\r\nphotos\r\nnot*.png", ["b.png", *PHOTOS, "not*.png"]),
        (b"\n\nb.png\n\nnot*.png", ["b.png", "not*.png"]),
        (b"a\nb.png\0photos\0not*.png\0", ["a\nb.png", *PHOTOS, "not*.png"]),
    ],
)
def test_a_list_of_paths(tree, content, expected):
    (tree / "list").write_bytes(content)
    assert [source.name for source in listed_images("list")] == expected


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_list_may_begin_with_a_byte_order_mark(tree, encoding):
    (tree / "list").write_text("b.png\ncaf\u00e9.png\n", encoding=encoding)
    assert [source.name for source in listed_images("list")] == ["b.png", "caf\u00e9.png"]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf16_without_a_mark_is_refused(tree, encoding):
    (tree / "list").write_text("/b.png\n/photos\n", encoding=encoding)
    with pytest.raises(DataError, match="UTF-16"):
        list(listed_images("list"))


def test_what_cannot_be_examined_does_not_end_the_others(tree):
    given = ["x" * 300, f"{'y' * 300}/*.png", "b.png/below.png", "b.png"]
    assert names(*given) == given


def test_a_long_list_in_pieces(tree):
    lines = [f"{number:04}.png" for number in range(20_000)]  # more than one read returns
    (tree / "list").write_text("\n".join(lines))
    assert [source.name for source in listed_images("list")] == lines


def test_nothing_or_too_much_on_stdin(monkeypatch, isolated):
    monkeypatch.setattr(inputs, "MAX_STDIN_BYTES", 9)
    (isolated / "input").write_bytes(bytes(20))
    with (isolated / "input").open() as stream:
        monkeypatch.setattr("sys.stdin", stream)
        for reason in ("more bytes", "empty"):
            (source,) = find_images(["-"])
            assert reason in source.error.message
            assert "standard input" in source.error.message
