"""docs/architecture.md: the picture, the tours and the diffs are those of the source."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "alexnet_cli"
PAGE = (ROOT / "docs" / "architecture.md").read_text()


def names_in(path):
    """Return the functions, classes, methods and fields of a module."""
    names = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        for inner in node.body if isinstance(node, ast.ClassDef) else ():
            if isinstance(inner, ast.FunctionDef):
                names.add(f"{node.name}.{inner.name}")
            if isinstance(inner, ast.AnnAssign):
                names.add(f"{node.name}.{ast.unparse(inner.target)}")
    return names


def test_files_and_names_of_the_tours_exist():
    hops = re.findall(r"`(\w+/\w+\.py)`(?: `([\w.]+)`)?", PAGE)
    assert len(hops) > 20
    for file, name in hops:
        assert (SOURCE / file).is_file(), file
        assert not name or name in names_in(SOURCE / file), f"{file} {name}"


def test_tests_that_pages_name_exist():
    named = {
        name
        for page in (ROOT / "docs").glob("*.md")
        for name in re.findall(r"`(tests/[\w/]+\.py)`", page.read_text())
    }
    assert len(named) > 15
    assert not [name for name in named if not (ROOT / name).is_file()]


def test_classes_of_the_tours_exist():
    modules = [names_in(path) for path in SOURCE.rglob("*.py")]
    classes = set(re.findall(r"`([A-Z][a-z]+[A-Z]?\w*)`", PAGE))
    assert len(classes) > 10
    assert classes <= set.union(*modules)


def test_the_picture_of_the_rooms_shows_every_module_and_no_other():
    (picture,) = re.findall(r"```\nsrc/alexnet_cli/\n(.*?)```", PAGE, re.DOTALL)
    plain = re.sub(
        r"\([^)]*\)|    the ground:.*|    the networks and.*|one module per command", "", picture
    )
    rooms = {path.name for path in SOURCE.iterdir() if path.is_dir()} - {"__pycache__"}
    modules = {path.stem for path in SOURCE.rglob("*.py") if not path.stem.startswith("__")}
    commands = {path.stem for path in (SOURCE / "cli").glob("*.py")}
    shown = set(re.findall(r"\w+", plain.replace(".py", ""))) - rooms
    assert modules - commands <= shown
    assert shown <= modules
    assert rooms - {"templates"} == set(re.findall(r"(\w+)/", picture))


def test_the_lines_of_the_diffs_are_those_of_the_source():
    for diff in re.findall(r"```diff\n(.*?)```", PAGE, re.DOTALL):
        source = ""
        for line in diff.splitlines():
            if line.startswith("--- "):
                source = (ROOT / line.removeprefix("--- ")).read_text()
            elif line.startswith("+"):
                assert line[1:] + "\n" in source, line
