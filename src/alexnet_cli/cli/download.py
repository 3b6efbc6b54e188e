"""`alexnet download`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alexnet_cli.cli.options import Json, Quiet
from alexnet_cli.console import ByteProgress, note, print_json, print_path

if TYPE_CHECKING:
    from torchvision.models import WeightsEnum

    from alexnet_cli.data.cache import PublishedFile
    from alexnet_cli.data.datasets import Dataset
    from alexnet_cli.data.fetch import FetchOptions
    from alexnet_cli.data.transfer import Transfer

EXAMPLES = (
    "alexnet download",
    "alexnet download --data cifar100",
    "alexnet download --archive ~/cifar-10-binary.tar.gz",
    "alexnet download --mirror https://my.server/folder",
    "alexnet download --weights owt",
)


def command(
    data: Annotated[str, typer.Option(help="Dataset by name.")] = "cifar10",
    weights: Annotated[
        str | None,
        typer.Option(
            help="Download trained weights instead of a dataset: owt, torchvision's AlexNet for "
            "ImageNet.",
            show_default=False,
        ),
    ] = None,
    archive: Annotated[
        Path | None, typer.Option(help="Use this file instead of downloading.", show_default=False)
    ] = None,
    mirror: Annotated[
        list[str] | None,
        typer.Option(
            envvar="ALEXNET_MIRROR",
            show_envvar=False,
            help="Address of a folder to try first; may be repeated.",
            show_default=False,
        ),
    ] = None,
    sha256: Annotated[
        str | None,
        typer.Option(
            help="Expected SHA-256, if the file is not the official archive.",
            show_default=False,
        ),
    ] = None,
    offline: Annotated[
        bool,
        typer.Option(
            "--offline",
            envvar="ALEXNET_OFFLINE",
            show_envvar=False,
            help="Do not use the network.",
        ),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Download again.")] = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Download a dataset to the cache folder, verified before it is opened."""
    from dataclasses import asdict

    from alexnet_cli.data.cache import import_file
    from alexnet_cli.data.datasets import find_dataset
    from alexnet_cli.data.fetch import FetchOptions
    from alexnet_cli.data.transfer import Transfer
    from alexnet_cli.errors import UsageError

    if weights is not None:
        if archive or sha256:
            raise UsageError("--archive and --sha256 are for datasets", hint="leave them out")
        _download_weights(weights, offline=offline, force=force, quiet=quiet, as_json=json)
        return
    dataset = find_dataset(data)
    _require_fit(dataset, archive=archive, mirrors=mirror, sha256=sha256)
    if not dataset.files:
        note(f"{dataset.name} needs no download", quiet=quiet)
    rows = []
    for file in dataset.files:
        if archive:
            bar = ByteProgress("checking", total=1, quiet=quiet)
            import_file(file, archive, sha256=sha256, check=dataset.check, progress=bar)
            transfer = Transfer()
        else:
            options = FetchOptions(tuple(mirror or ()), sha256, dataset.check, force, offline)
            transfer = _fetch(file, options, quiet=quiet)
        rows.append({"path": str(file.path), **asdict(transfer)})
        if not json:
            print_path(file.path)
    if json:
        print_json({"data": dataset.name, "files": rows})


def _require_fit(
    dataset: "Dataset", *, archive: Path | None, mirrors: list[str] | None, sha256: str | None
) -> None:
    """Refuse flags that do not apply to this dataset."""
    from alexnet_cli.errors import UsageError

    if sha256 and not (archive or mirrors):
        raise UsageError(
            "--sha256 needs --archive or --mirror", hint="see: alexnet download --help"
        )
    if (archive or sha256) and len(dataset.files) != 1:
        raise UsageError(
            f"--archive and --sha256 are for datasets of one file; {dataset.name} has "
            f"{len(dataset.files)}",
            hint=f"leave them out: alexnet download --data {dataset.name}",
        )


def _fetch(file: "PublishedFile", options: "FetchOptions", *, quiet: bool) -> "Transfer":
    """Download a file, unless it is in the cache or the working folder already."""
    from alexnet_cli.data.cache import adopt_local_copy, is_cached
    from alexnet_cli.data.fetch import download
    from alexnet_cli.data.transfer import Transfer

    if not (options.force or options.sha256):
        if is_cached(file):
            note(f"{file.name} is already there, checksum verified", quiet=quiet)
            return Transfer()
        if (adopted := adopt_local_copy(file)) is not None:
            note(f"using {adopted}, checksum verified", quiet=quiet)
            return Transfer()
    bar = ByteProgress("downloading", total=file.num_bytes or 0, quiet=quiet)
    try:
        return download(
            file, options, progress=bar, notify=lambda message: note(message, quiet=quiet)
        )
    finally:
        bar.close()


def _download_weights(name: str, *, offline: bool, force: bool, quiet: bool, as_json: bool) -> None:
    """Download trained weights and write them as a model for `predict` and `train --from`."""
    from alexnet_cli.errors import DownloadError, UsageError
    from alexnet_cli.networks import PRETRAINED
    from alexnet_cli.run_folder import SAFETENSORS_NAME, pretrained_folder

    if name not in PRETRAINED:
        raise UsageError(
            f"unknown trained weights {name!r}",
            hint=f"use --weights {' or --weights '.join(PRETRAINED)}",
        )
    path = pretrained_folder(name) / SAFETENSORS_NAME
    if path.is_file() and not force:
        note(f"the weights {name} are already there", quiet=quiet)
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
        print_path(path)


def convert_weights(entry: "WeightsEnum", folder: Path, *, quiet: bool) -> None:
    """Download torchvision's weights and write them into a folder."""
    import sys

    from alexnet_cli.export.torchvision_weights import convert, fetch_state_dict
    from alexnet_cli.training.open_model import drawn_crops

    state = fetch_state_dict(entry, show_progress=not quiet and sys.stderr.isatty())
    images = drawn_crops(16, image_size_px=256, crop_size_px=224)
    written = convert(state, entry, folder, images)
    note(
        f"{written.path.name}: {written.num_bytes:,} bytes; logits within "
        f"{written.parity.max_logit_difference:.1e} of PyTorch",
        quiet=quiet,
    )
