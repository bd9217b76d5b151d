"""The epochs of a run, a line of JSON each."""

import json
from pathlib import Path
from typing import Any

from emotiwave_core.files import out_of_space, write_text

HISTORY = "history.jsonl"


def read_history(run: Path) -> list[dict[str, Any]]:
    """The epochs of a run; a line that a kill tore off is left out."""
    path = run / HISTORY
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            lines.append(json.loads(text))
        except ValueError:
            break
    return lines


def cut_history(run: Path, epoch: int) -> None:
    """Keep the epochs that the run resumes after."""
    kept = [line for line in read_history(run) if line["epoch"] <= epoch]
    write_text(run / HISTORY, "".join(json.dumps(line) + "\n" for line in kept))


def append_history(run: Path, line: dict[str, Any]) -> None:
    """Add an epoch."""
    path = run / HISTORY
    with out_of_space(path), path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
