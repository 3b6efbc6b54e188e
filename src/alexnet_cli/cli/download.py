"""`alexnet download`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alexnet_cli.cli.console import ByteProgress, note, print_json
from alexnet_cli.cli.options import Json, Quiet

if TYPE_CHECKING:
    from torchvision.models import WeightsEnum

EXAMPLES = "Example: alexnet download --archive ~/cifar-10-binary.tar.gz"


def command(
    data: Annotated[str, typer.Option(help="Dataset: cifar10 or shapes.")] = "cifar10",
    weights: Annotated[
        str | None,
        typer.Option(
            help="Fetch trained weights instead: owt, torchvision's for ImageNet.",
            show_default=False,
        ),
    ] = None,
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
    if weights is not None:
        if archive or sha256:
            from alexnet_cli.errors import UsageError

            raise UsageError("--archive and --sha256 are for datasets", hint="leave them out")
        _download_weights(weights, offline=offline, force=force, quiet=quiet, as_json=json)
        return
    from alexnet_cli.data.catalog import find_dataset
    from alexnet_cli.errors import UsageError

    dataset = find_dataset(data)
    if sha256 and not archive:
        raise UsageError("--sha256 needs --archive", hint="see: alexnet download --help")
    path = None
    if dataset.name != "shapes":
        path = _fetch_cifar10(archive, sha256=sha256, offline=offline, force=force, quiet=quiet)
    elif archive:
        raise UsageError("--archive is for cifar10", hint="leave it out with --data shapes")
    else:
        note("shapes is drawn by this package; there is nothing to download", quiet=quiet)
    if json:
        print_json({"data": dataset.name, "path": None if path is None else str(path)})
    elif path is not None:
        print(path)


def _fetch_cifar10(
    file: Path | None, *, sha256: str | None, offline: bool, force: bool, quiet: bool
) -> Path:
    """Take the archive from a file or from its server, and return where it is kept."""
    from alexnet_cli.data.cifar import read_archive
    from alexnet_cli.data.fetch import (
        download_archive,
        is_cached,
        take_archive,
    )
    from alexnet_cli.data.published import CIFAR10_ARCHIVE

    wanted = CIFAR10_ARCHIVE
    if file:
        bar = ByteProgress("checking", total=1, quiet=quiet)
        take_archive(wanted, file, sha256=sha256, check=read_archive, progress=bar)
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
    return wanted.path


def _download_weights(name: str, *, offline: bool, force: bool, quiet: bool, as_json: bool) -> None:
    """Fetch trained weights and write them as a model that `predict` and `train --from` take."""
    from alexnet_cli.errors import DownloadError, UsageError
    from alexnet_cli.networks import PRETRAINED
    from alexnet_cli.runs import SAFETENSORS_NAME, pretrained_folder

    if name not in PRETRAINED:
        raise UsageError(
            f"no trained weights are called {name!r}",
            hint=f"use --weights {' or --weights '.join(PRETRAINED)}",
        )
    path = pretrained_folder(name) / SAFETENSORS_NAME
    if path.is_file() and not force:
        note(f"the weights {name} are there already", quiet=quiet)
    else:
        if offline:
            raise DownloadError(
                f"cannot download the weights {name} (--offline or ALEXNET_OFFLINE is set)",
                hint=f"run on the network: alexnet download --weights {name}",
            )
        from torchvision.models import AlexNet_Weights

        entry = AlexNet_Weights.IMAGENET1K_V1
        note(f"downloading {entry.url}", quiet=quiet)
        convert_weights(entry, path.parent, quiet=quiet)
    if as_json:
        print_json({"weights": name, "path": str(path)})
    else:
        print(path)


def convert_weights(entry: "WeightsEnum", folder: Path, *, quiet: bool) -> None:
    """Fetch torchvision's weights and write them into a folder."""
    import sys

    from alexnet_cli.cli.model_source import drawn_crops
    from alexnet_cli.export.pretrained import convert, fetch_state_dict

    state = fetch_state_dict(entry, show_progress=not quiet and sys.stderr.isatty())
    images = drawn_crops(16, image_size_px=256, crop_size_px=224)
    written = convert(state, entry, folder, images)
    note(
        f"{written.path.name}: {written.num_bytes:,} bytes; logits within "
        f"{written.parity.max_logit_difference:.1e} of PyTorch",
        quiet=quiet,
    )
