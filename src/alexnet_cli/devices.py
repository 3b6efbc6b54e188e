"""The names of devices on the command line."""

from alexnet_cli.errors import UsageError


def parse_device(name: str) -> tuple[str, int | None]:
    """Split `auto`, `cpu`, `cuda` or `cuda:N` into kind and number.

    Raises:
        UsageError: No such name.
    """
    kind, colon, index = name.partition(":")
    is_numbered = kind == "cuda" and index.isascii() and index.isdecimal()
    if kind not in ("auto", "cpu", "cuda") or (colon and not is_numbered):
        raise UsageError(f"unknown device {name!r}", hint="use --device auto, cpu, cuda or cuda:N")
    return kind, int(index) if colon else None
