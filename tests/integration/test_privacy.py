"""What is passed on to others does not tell where its maker's files lie."""

from pathlib import Path

from tests.integration.conftest import RUN


def test_no_path_of_the_maker_is_in_what_is_passed_on(work, tinted, succeed):
    """The run of `trained_folder` has the absolute path of its images on its command line."""
    private = [str(path).encode() for path in (tinted.parent, work, Path.home())]
    succeed("export", RUN, "--data", tinted, "--format", "all", "--output", "out")
    succeed("report", work / RUN, RUN, "--output", "out/both.html")
    made = [path for path in (*Path("out").iterdir(), *RUN.iterdir()) if path.is_file()]
    own = {RUN / name for name in ("config.toml", "environment.json", "images.npz")}
    assert private[0] in (RUN / "config.toml").read_bytes()
    names = {path.name for path in made}
    assert names >= {"model.onnx", "model.safetensors", "README.md", "both.html"}
    for path in made:
        if path not in own:
            assert not [each for each in private if each in path.read_bytes()], path
