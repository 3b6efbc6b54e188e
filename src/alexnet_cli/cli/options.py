"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but the result.")]
Device = Annotated[
    str,
    typer.Option(
        "--device",
        envvar="ALEXNET_DEVICE",
        show_envvar=False,
        help="auto, cpu, cuda, cuda:N, or tensorrt for an exported model; auto takes a GPU when "
        "there is one, any other name that or an error.",
    ),
]
Deterministic = Annotated[
    bool,
    typer.Option("--deterministic", help="The same bytes each time on CUDA too, but slower."),
]
TrainedOn = Annotated[
    str | None,
    typer.Option(
        "--data", help="Take the newest run on this dataset or folder.", show_default=False
    ),
]
ModelPath = Annotated[
    Path | None,
    typer.Argument(
        metavar="MODEL",
        help="Run folder, checkpoint folder, .onnx or .safetensors; the newest run by default.",
        show_default=False,
    ),
]
