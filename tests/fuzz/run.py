"""Fuzz a reader, guided by the coverage of its code and of the libraries it calls.

`python -m tests.fuzz.run tar|pickle|npy [libFuzzer's options]`, as `-max_total_time=60`. Needs
atheris (`pip install -e .[fuzz]`, or `nox -s fuzz`).
"""

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(
    include=["alexnet_cli.data", "tarfile", "pickletools", "numpy.lib"],
    enable_loader_override=False,
):
    import pickletools  # noqa: F401 - instrumented before the readers import it
    import tarfile  # noqa: F401

    from tests.fuzz.targets import TARGETS


def main():
    """Read the command line and fuzz until libFuzzer has enough."""
    name, options = sys.argv[1], sys.argv[2:]
    target = TARGETS[name]
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(target.seeds()):
            Path(corpus, str(number)).write_bytes(seed)
        atheris.Setup([sys.argv[0], corpus, "-timeout=10", "-rss_limit_mb=2048", *options],
                      target.is_read)  # fmt: skip
        atheris.Fuzz()


if __name__ == "__main__":
    main()
