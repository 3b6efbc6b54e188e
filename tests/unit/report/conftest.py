import pytest
import torch

from alexnet_cli.report.examine import examine_run, read_run
from tests import made_runs


@pytest.fixture(scope="session")
def make_images(tmp_path_factory):
    def make(classes, **options):
        return made_runs.make_images(tmp_path_factory.mktemp("images"), classes, **options)

    return make


@pytest.fixture(scope="session")
def make_run(tmp_path_factory):
    def make(data, *, name="run", **options):
        return made_runs.make_run(tmp_path_factory.mktemp("runs") / name, data, **options)

    return make


@pytest.fixture(scope="session")
def small_run(make_images, make_run):
    """Four classes with names that would hurt if they were not escaped."""
    classes = ("<script>alert(1)<", "$x^{$", "bär & 'ß'", "犬")
    return make_run(make_images(classes, per_class=16))


@pytest.fixture(scope="session")
def examined(small_run):
    return examine_run(read_run(small_run), device=torch.device("cpu"))
