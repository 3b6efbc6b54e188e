"""Make the pictures of README.md from real output.

In a folder with the image `drawn.png` of docs/tutorial.md:

    python docs/pictures/make.py record FOLDER    # run the commands; writes terminal.txt
    python docs/pictures/make.py draw             # terminal.txt becomes terminal.svg
    python docs/pictures/make.py report FOLDER    # photograph FOLDER's report.html with Chromium

`terminal.txt` is what the commands printed on a terminal of 108 columns, with its colours.
"""

import io
import os
import pty
import re
import subprocess
import sys
import tempfile
import termios
from pathlib import Path

from PIL import Image
from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

_HERE = Path(__file__).parent
_COLUMNS = 108
_COMMANDS = (
    "alexnet train --data shapes --recipe fast --epochs 4 --image-size 16 --val-size 1000",
    "alexnet evaluate",
    "alexnet export",
    "alexnet predict drawn.png --top-k 3",
)
_CONTROL = re.compile(r"(\x1b\[[0-9;?]*[A-Za-z]|\r|\n)")
_REPORT_PX = (1180, 935)


def record(folder: Path) -> None:
    """Run the commands in a folder and write what they print."""
    printed = []
    for command in _COMMANDS:
        printed.append(f"\x1b[1;32m$\x1b[0m \x1b[1m{command}\x1b[0m")
        printed += [*_lines_on_screen(_run_on_terminal(command, folder)), ""]
    (_HERE / "terminal.txt").write_text("\n".join(printed), encoding="utf-8")


def _run_on_terminal(command: str, folder: Path) -> str:
    """Return what a command prints on a terminal, with control sequences."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (60, _COLUMNS))
    name, *arguments = command.split()
    environment = {**os.environ, "TERM": "xterm-256color"}
    with subprocess.Popen(
        [sys.executable, "-m", f"{name}_cli", *arguments],
        cwd=folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs,
    ) as process:  # fmt: skip
        os.close(theirs)
        printed = b""
        try:
            while chunk := os.read(ours, 65_536):
                printed += chunk
        except OSError:  # the end of a terminal, on Linux
            pass
    os.close(ours)
    if process.returncode:
        sys.exit(f"{command} failed:\n{printed.decode()}")
    return printed.decode()


def _lines_on_screen(printed: str) -> list[str]:
    """Return the lines that stay on the screen, with their colours; progress bars go."""
    lines, row, is_overwritten = [""], 0, False
    for piece in _CONTROL.split(printed.replace("\r\n", "\n")):
        if piece == "\n":
            row, is_overwritten = row + 1, False
            lines += [""] * (row + 1 - len(lines))
        elif piece == "\r":
            is_overwritten = True
        elif up := re.fullmatch(r"\x1b\[(\d*)A", piece):
            row = max(0, row - int(up[1] or 1))
        elif re.fullmatch(r"\x1b\[\d?K", piece):
            lines[row] = ""
        elif piece and not re.fullmatch(r"\x1b\[.*[^m]", piece):
            lines[row] = piece if is_overwritten else lines[row] + piece
            is_overwritten = False
    while lines and not Text.from_ansi(lines[-1]).plain.strip():
        lines.pop()
    return lines


def draw() -> None:
    """Draw what was recorded; the file loads nothing, fonts included."""
    console = Console(record=True, width=_COLUMNS, file=io.StringIO(), force_terminal=True)
    recorded = (_HERE / "terminal.txt").read_text(encoding="utf-8")
    for line in recorded.rstrip("\n").split("\n"):
        console.print(Text.from_ansi(line), highlight=False)
    svg = console.export_svg(title="alexnet", theme=MONOKAI, unique_id="terminal")
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    svg = svg.replace("Fira Code, monospace", "ui-monospace, Menlo, Consolas, monospace")
    (_HERE / "terminal.svg").write_text(svg, encoding="utf-8")


def report(page: Path) -> None:
    """Photograph a report in light and in dark."""
    source = page.read_text(encoding="utf-8")
    # Its policy allows the style sheet as it was written, and no other.
    source = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", source)
    with tempfile.TemporaryDirectory() as folder:
        for scheme, other in (("light", "dark"), ("dark", "light")):
            html = source.replace(f"(prefers-color-scheme: {scheme})", "all")
            html = html.replace(f"(prefers-color-scheme: {other})", "not all")
            photographed = Path(folder, f"{scheme}.html")
            photographed.write_text(html, encoding="utf-8")
            shot = photographed.with_suffix(".png")
            size = ",".join(map(str, _REPORT_PX))
            subprocess.run(
                ["chromium", "--headless", "--no-sandbox", "--hide-scrollbars",
                 f"--window-size={size}", f"--screenshot={shot}", photographed.as_uri()],
                check=True, capture_output=True,
            )  # fmt: skip
            with Image.open(shot) as image:
                colours = image.convert("RGB").quantize(128)
            colours.save(_HERE / f"report-{scheme}.png", optimize=True)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["record", folder]:
            record(Path(folder))
        case ["draw"]:
            draw()
        case ["report", folder]:
            report(Path(folder) / "report.html")
        case _:
            sys.exit(__doc__)
