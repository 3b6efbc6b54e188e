"""Sections of the page of results about single commands."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.table_rows import HEADER, number, provenance, row_of, spread, title


def _section(result: Mapping[str, Any], name: str, sentences: str, *tables: Sequence[str]) -> str:
    machine = result["machine"]
    load = f"Load average before: {machine['load_before'][0]}."
    lines = [f"## {name}: {title(machine)}", "", provenance(dict(result)), f"{sentences} {load}"]
    for table in tables:
        lines += ["", *table]
    return "\n".join([*lines, ""])


def _verdict(result: Mapping[str, Any]) -> str:
    return "met" if result["met"] else "**not met**"


def start(result: dict[str, Any]) -> str:
    """Return the section of `train` before its first batch."""
    rows = [f"| {part} | {spread(seconds)} |" for part, seconds in result["seconds"].items()]
    goal = result["goal"].replace("<=", "≤")
    return _section(
        result,
        "Before the first batch",
        f"Seconds of {result['data']} from the arrays in the cache folder, without importing "
        f"PyTorch (`python -m benchmarks.start`); goal {goal}, {_verdict(result)}. The first time, "
        f"from the archive: {number(result['seconds_first_from_archive'])} s.",
        ("| part | seconds |", "| --- | --- |", *rows),
    )


def download(result: dict[str, Any]) -> str:
    """Return the section of `download` and its parts."""
    fetched = {name: row["fetched_bytes"] / 1e6 for name, row in result["bytes"].items()}
    rows = [
        f"| {name} | {spread(seconds)} | {number(fetched[name]) if name in fetched else '–'} |"
        for name, seconds in result["seconds"].items()
    ]
    return _section(
        result,
        "Download",
        f"A file of {number(result['num_bytes'] / 1e6)} MB from a server on the same machine "
        "(`python -m benchmarks.download`): whole commands, and beside them copying the file with "
        "a flush to disk, hashing it, and looking into it.",
        ("| what | seconds | MB fetched |", "| --- | --- | --- |", *rows),
    )


def export(result: dict[str, Any]) -> str:
    """Return the section of the speed of exported files."""
    return _section(
        result,
        "Exported files",
        "Random weights, ONNX Runtime on the CPU, files in turns (`python -m benchmarks.export`). "
        "Processor time does not count what other jobs took.",
        (*HEADER, *map(row_of, result["figures"])),
    )


def int8(results: Sequence[dict[str, Any]]) -> str:
    """Return the section of eight-bit files against float32, a column for each processor."""
    names, first = [_processor(result) for result in results], results[0]
    rows = [
        f"| form | what | {' | '.join(names)} |",
        "| --- | --- |" + " --- |" * len(names),
        _row("fp32", "top-1", [f"{r['errors']['fp32']['top1']:.2%}" for r in results]),
    ]
    forms = [form for form in first["errors"] if form != "fp32"]
    for form in forms:
        found = [result["errors"][form] for result in results]
        alone = [f"{each['alone_against_many_max']:.2g}" for each in found]
        rows += [
            _row(form, "top-1", [f"{each['top1']:.2%}" for each in found]),
            _row("", "other top class", [f"{each['other_top_class']:.2%}" for each in found]),
            _row("", "logits off, mean / largest", [_off(each, "error") for each in found]),
            _row("", "the same, image alone", [_off(each, "error_alone") for each in found]),
            _row("", "alone against among many, largest", alone),
        ]
    for place, timed in enumerate(first["speeds"]):
        what = f"batch {timed['batch']}, threads: {timed['threads']}"
        each = [result["speeds"][place]["ms"] for result in results]
        rows.append(_row("fp32", f"{what}, ms", [spread(ms["fp32"]) for ms in each]))
        rows += [_row(form, "times as fast", [_times(ms, form) for ms in each]) for form in forms]
    machines = [
        f"{name}: {provenance({**result, 'versions': {}})} Load average before: "
        f"{result['machine']['load_before'][0]}."
        for name, result in zip(names, results, strict=True)
    ]
    sentences = (
        "`python -m benchmarks.int8 RUN`, with `benchmarks.avx2` in front of it for the column "
        f"that is limited to AVX2. {first['network']}, all {first['num_images']:,} test images, "
        f"the first {first['num_alone']} of them alone, too; the logits' standard deviation is "
        f"{number(first['errors']['fp32']['logits_std'])}. ONNX Runtime "
        f"{first['versions']['onnxruntime']}; medians of rounds in turns."
    )
    return "\n".join(["## Eight bits", "", sentences, "", *rows, "", *machines, ""])


def _processor(result: Mapping[str, Any]) -> str:
    machine, kind = result["machine"], result["processor"].partition(" with ")[2]
    return f"{machine['cpu']}, {'limited to ' if machine['limited_to'] else ''}{kind}"


def _row(form: str, what: str, cells: Sequence[str]) -> str:
    return f"| {form} | {what} | {' | '.join(cells)} |"


def _off(found: Mapping[str, float], key: str) -> str:
    return f"{found[f'{key}_mean']:.3f} / {found[f'{key}_max']:.2f}"


def _times(ms: Mapping[str, Mapping[str, float]], form: str) -> str:
    return f"{ms['fp32']['median'] / ms[form]['median']:.2f}"


def predict(result: dict[str, Any]) -> str:
    """Return the section of `predict`, against the bare imports and the parts of its work."""
    starts = [
        f"| {row['what']} | {spread(row['seconds'])} | {spread(row['base_seconds'])} "
        f"| {number(row['ratio'])} | ≤ {row['goal']}, {_verdict(row)} |"
        for row in result["starts"]
    ]
    folders = [
        f"| {row['what']} | {' | '.join(map(number, _rates(row)))} "
        f"| {row['share_of_the_slower']:.0%} | ≥ {row['goal']:.0%}, {_verdict(row)} |"
        for row in result["folders"]
    ]
    return _section(
        result,
        "Predict",
        "One image from the start of Python to its end, in turns with the imports alone; images "
        "per second of a folder, in turns with its parts, each with all cores "
        "(`python -m benchmarks.predict`).",
        (
            "| one image | seconds | `import onnxruntime, PIL.Image` | ratio | goal |",
            "| --- | --- | --- | --- | --- |",
            *starts,
        ),
        (
            "| folder | decode/s | model/s | both/s | of the slower | goal |",
            "| --- | --- | --- | --- | --- | --- |",
            *folders,
        ),
    )


def _rates(folder: Mapping[str, Any]) -> list[float]:
    return [folder["images_per_second"][name] for name in ("decode", "infer", "whole")]


def predict_peers(result: dict[str, Any]) -> str:
    """Return the section of `predict` against other command lines."""
    floors, absent = result["floors"], ", ".join(result["absent"])
    return _section(
        result,
        "Predict and its peers",
        "Whole processes in turns (`python -m benchmarks.predict_peers`, which says what each "
        f"runs); folders of {result['num_images']:,} images. Peak memory is that of the process "
        "and its children. Processor time does not count what other jobs took. "
        + (f"Not installed: {absent}. " if absent else "")
        + "Floors: the bare imports below; the weights of `alexnet`, "
        f"{number(floors['alexnet_weights_mb'])} MB, which an answer has to read; the matrix "
        "products of a folder at this machine's float32 rate, "
        f"{number(floors['folder_matrix_seconds'])} s.",
        (*HEADER, *map(row_of, result["figures"])),
    )


def many_seeds(result: dict[str, Any]) -> str:
    """Return the section of several small networks trained at once."""
    return _section(
        result,
        "Several seeds of a small network",
        "Images of all networks a second, updates alone, in turns (`python -m "
        "benchmarks.many_seeds`, which says what each is). Ours: a process for each core, as "
        "`alexnet reproduce` trains.",
        (*HEADER, *map(row_of, result["figures"])),
    )
