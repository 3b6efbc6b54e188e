"""`alexnet download`."""

from pathlib import Path
from typing import Annotated

import typer

from alexnet_cli.cli.console import ByteProgress, note, print_json
from alexnet_cli.cli.options import Json, Quiet

EXAMPLES = "Example: alexnet download --archive ~/cifar-10-binary.tar.gz"


def command(
    data: Annotated[str, typer.Option(help="Dataset: cifar10 or shapes.")] = "cifar10",
    archive: Annotated[
        Path | None, typer.Option(help="Take this file instead of downloading.", show_default=False)
    ] = None,
    sha256: Annotated[
        str | None,
        typer.Option(help="Its hash, when it is no official archive.", show_default=False),
    ] = None,
    offline: Annotated[
        bool,
        typer.Option(
            "--offline",
            envvar="ALEXNET_OFFLINE",
            show_envvar=False,
            help="Never reach for the network.",
        ),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Fetch it again.")] = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Fetch a dataset into the cache folder, its hash checked before it is opened."""
    from alexnet_cli.data.catalog import find_dataset
    from alexnet_cli.data.cifar10 import read_archive
    from alexnet_cli.data.fetch import (
        CIFAR10_ARCHIVE,
        download_archive,
        is_cached,
        take_archive,
    )
    from alexnet_cli.errors import UsageError

    dataset = find_dataset(data)
    if sha256 and not archive:
        raise UsageError("--sha256 needs --archive", hint="see: alexnet download --help")
    if dataset.name == "shapes":
        if archive:
            raise UsageError("--archive is for cifar10", hint="leave it out with --data shapes")
        note("shapes is drawn by this package; there is nothing to download", quiet=quiet)
        if json:
            print_json({"data": dataset.name, "path": None})
        return
    wanted = CIFAR10_ARCHIVE
    if archive:
        bar = ByteProgress("checking", total=1, quiet=quiet)
        take_archive(wanted, archive, sha256=sha256, check=read_archive, progress=bar)
    elif is_cached(wanted) and not force:
        note(f"{wanted.name} is there already and sound", quiet=quiet)
    else:
        note(f"downloading {wanted.url}", quiet=quiet or offline)
        bar = ByteProgress("downloading", total=wanted.num_bytes, quiet=quiet)
        try:
            download_archive(wanted, progress=bar, force=force, offline=offline)
        finally:
            bar.close()
        read_archive(wanted.path)
    if json:
        print_json({"data": dataset.name, "path": str(wanted.path)})
    else:
        print(wanted.path)
