"""Rows, headings and numbers of the page of results."""

from typing import Any

HEADER = (
    "| part | what | against | ours | theirs | ratio | goal |",
    "| --- | --- | --- | --- | --- | --- | --- |",
)


def row_of(comparison: dict[str, Any]) -> str:
    """Return the row of a comparison."""
    unit = comparison["unit"]
    ours, theirs = (f"{spread(comparison[side])} {unit}" for side in ("ours", "theirs"))
    ratios = {"median": "ratio", "min": "ratio_min", "max": "ratio_max"}
    ratio = spread({name: comparison[key] for name, key in ratios.items()})
    verdict = {True: ", met", False: ", **not met**", None: "–"}[comparison["met"]]
    goal = (comparison["goal"] or "").replace(">=", "≥").replace("<=", "≤") + verdict
    columns = (
        comparison["part"],
        comparison["what"],
        comparison["peer"],
        ours,
        theirs,
        ratio,
        goal,
    )
    return f"| {' | '.join(columns)} |"


def title(machine: dict[str, Any]) -> str:
    """Return the hardware, for a heading."""
    limit = machine.get("limited_to")
    flags = f"limited to {limit}" if limit else ", ".join(machine["cpu_flags"])
    cpu = f"{machine['cpu']} ({flags}), {machine['threads']} threads"
    return cpu if machine["device"] == "cpu" else f"{machine['device']}, {cpu}"


def provenance(result: dict[str, Any]) -> str:
    """Return commit, date and, if recorded, versions."""
    origin = result.get("provenance", result)
    named = [f"{name} {version}" for name, version in result.get("versions", {}).items()]
    commit = f"Commit {origin['commit'][:12]}, {origin['date'][:10]}"
    return f"{commit}; {', '.join(named)}." if named else f"{commit}."


def spread(values: dict[str, float]) -> str:
    """Return a median with the lowest and the highest."""
    low, high = number(values["min"]), number(values["max"])
    return f"{number(values['median'])} [{low}–{high}]"


def number(value: float) -> str:
    """Return three significant digits, and all digits before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
