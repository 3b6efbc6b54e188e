"""The model card: one `README.md` for a run and for the files exported from it.

`train` writes what it trained, `export` the table of files; each keeps what the other wrote.

Source: https://huggingface.co/docs/hub/model-cards
"""

import html
import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path

from alexnet_cli import __version__
from alexnet_cli.console import printable
from alexnet_cli.files import atomic_write
from alexnet_cli.manifest import PUBLIC_DATA, ExportPrecision, Manifest, data_title

_MARKDOWN = re.compile(r"[\\`*_\[\]|~#!]")
_FILES = "## Files"
_MADE_BY = "| made by | alexnet-cli"
_COLUMNS = """\
| file | epoch, val top-1 | precision | views | opset | LRN | against PyTorch, float32 |
| --- | --- | --- | --- | --- | --- | --- |"""
_NOTE = (
    "The input is uint8 RGB, as described by the manifest inside each file "
    "(`alexnet.manifest` in its metadata); the scaling is part of the graph. A file of 10 "
    "views takes the resized square, averages the probabilities of the paper's ten crops, and "
    "returns their logarithms as logits."
)


def write_card(
    folder: Path,
    manifest: Manifest,
    files: Mapping[str, Manifest],
    *,
    trained: tuple[str, str] | None = None,
) -> Path:
    """Write or complete the model card of a folder.

    A `README.md` that is not a model card of this program stays; the card is then `MODEL_CARD.md`.

    `files` describes those that were just exported, by name; `trained` are rows for the table and
    closing paragraphs, from training.

    Returns:
        The path of the card.
    """
    for name in ("README.md", "MODEL_CARD.md"):
        path = folder / name
        old = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        if not old or _MADE_BY in old:
            break
    body, _, old_files = old[max(0, old.find("\n# ")) :].partition(f"\n{_FILES}\n")
    if trained is None and not (body and (folder / "checkpoints").is_dir()):
        example = [*files][-1] if files else ""
        command = code_span(f"alexnet evaluate {shlex.quote(example)}")
        measure = f"The test set was not used. Measure on it with {command}."
        trained = f"| validation images | {manifest.provenance.val_size:,} |", measure
    if trained is not None:
        body = _describe(manifest, *trained)
    text = f"{_head(manifest)}\n{body.strip()}\n{_files_table(folder, files, old_files)}"
    atomic_write(path, text.encode())
    return path


def plain_markdown(text: str) -> str:
    """Escape text that Markdown would format, HTML and control characters among it."""
    escaped = html.escape(printable(text), quote=False)
    return _MARKDOWN.sub(r"\\\g<0>", escaped)


def code_span(text: str) -> str:
    """Return text as code in Markdown, whatever backticks it has."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence, space = "`" * (longest + 1), " " if longest else ""
    return f"{fence}{space}{printable(text)}{space}{fence}"


def _head(manifest: Manifest) -> str:
    """Return the metadata that Hugging Face reads: YAML, whose scalars may be written as JSON."""
    origin, network = manifest.provenance, json.dumps(manifest.network.name)
    data = json.dumps(data_title(origin.data).rstrip("/"))
    datasets = f"\ndatasets:\n- {data}" if origin.data in PUBLIC_DATA else ""
    return f"""---
library_name: alexnet-cli
pipeline_tag: image-classification
tags:
- "image-classification"
- {network}
- "onnx"{datasets}
metrics:
- accuracy
model-index:
- name: {network}
  results:
  - task:
      type: image-classification
    dataset:
      name: {data}
      type: {data}
      split: validation
    metrics:
    - type: accuracy
      value: {origin.val_top1:.4f}
---"""


def _describe(manifest: Manifest, rows: str, closing: str) -> str:
    origin, image = manifest.provenance, manifest.input
    epoch = f" (epoch {origin.epoch})" if origin.epoch else ""
    digest = origin.config_sha256
    settings = f"\n| hash of the settings | {digest} |" if digest else ""
    return f"""# {manifest.network.name} on {plain_markdown(data_title(origin.data))}

{len(manifest.classes)} classes: {", ".join(map(plain_markdown, manifest.classes))}.

| | |
| --- | --- |
| validation top-1 | {origin.val_top1:.2%}{epoch} |
{rows}
| input | {image.crop_size_px}-px centre crop of {image.image_size_px} px |{settings}
{_MADE_BY} {__version__} |

{closing}"""


def _files_table(folder: Path, files: Mapping[str, Manifest], old: str) -> str:
    """Return the table of existing files: the new rows, and the old rows of other files."""
    rows = {}
    for line in old.splitlines():
        name = line[3:].partition("`")[0] if line.startswith("| `") else ""
        if name and (folder / name).is_file():
            rows[name] = line
    rows |= {name: _row(name, manifest) for name, manifest in files.items()}
    if not rows:
        return ""
    table = "\n".join([_COLUMNS, *(rows[name] for name in sorted(rows))])
    return f"\n{_FILES}\n\n{table}\n\n{_NOTE}\n"


def _row(name: str, manifest: Manifest) -> str:
    deployment, origin = manifest.deployment, manifest.provenance
    if deployment is None or deployment.parity is None:
        raise ValueError("the file was not compared")
    parity = deployment.parity
    compared = (
        f"same top class on {parity.agreement:.2%} of {parity.num_images:,} {parity.images}, "
        f"logits within {parity.max_logit_difference:.1e}"
    )
    if parity.top1_change is not None:
        compared += f", top-1 {100 * parity.top1_change:+.2f} points"
    if parity.processor:
        compared += f"; on {parity.processor}"
    precision = str(deployment.precision)
    if deployment.precision is ExportPrecision.INT8:
        precision += f", ranges from {deployment.num_calibration_images:,} training images"
    return (
        f"| `{name}` | {origin.epoch}, {origin.val_top1:.2%} | {precision} | "
        f"{deployment.num_views} | {deployment.opset} | {deployment.lrn_form} | {compared} |"
    )
