"""Pieces of the page of results: rows, headings, numbers."""

from typing import Any

HEADER = (
    "| part | what | against | ours | theirs | ratio | goal |",
    "| --- | --- | --- | --- | --- | --- | --- |",
)


def row_of(figure: dict[str, Any]) -> str:
    """Return one row of the table."""
    ours, theirs = (f"{spread(figure[side])} {figure['unit']}" for side in ("ours", "theirs"))
    ratio = spread(
        {"median": figure["ratio"], "min": figure["ratio_min"], "max": figure["ratio_max"]}
    )
    verdict = {True: ", met", False: ", **not met**", None: "–"}[figure["met"]]
    goal = (figure["goal"] or "").replace(">=", "≥").replace("<=", "≤") + verdict
    cells = (figure["part"], figure["what"], figure["peer"], ours, theirs, ratio, goal)
    return f"| {' | '.join(cells)} |"


def title(machine: dict[str, Any]) -> str:
    """Return the hardware, for a heading."""
    limit = machine.get("limited_to")
    flags = f"limited to {limit}" if limit else ", ".join(machine["cpu_flags"])
    cpu = f"{machine['cpu']} ({flags}), {machine['threads']} threads"
    return cpu if machine["device"] == "cpu" else f"{machine['device']}, {cpu}"


def provenance(result: dict[str, Any]) -> str:
    """Return commit, date and, where they were recorded, versions."""
    origin = result.get("provenance", result)
    named = [f"{name} {version}" for name, version in result.get("versions", {}).items()]
    words = f"Commit {origin['commit'][:12]}, {origin['date'][:10]}"
    return f"{words}; {', '.join(named)}." if named else f"{words}."


def spread(values: dict[str, float]) -> str:
    """Return a median with the lowest and the highest."""
    low, high = number(values["min"]), number(values["max"])
    return f"{number(values['median'])} [{low}–{high}]"


def number(value: float) -> str:
    """Three significant digits, and all digits before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
