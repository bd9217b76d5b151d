"""The epochs of a run, a line of JSON each."""

import errno
import json
import os
from pathlib import Path
from typing import Any

from emotiwave_core.errors import DataError
from emotiwave_core.io.atomic import out_of_space, write_text
from emotiwave_core.io.untrusted import parse_json, read_bytes, why

HISTORY = "history.jsonl"


def read_history(run: Path) -> list[dict[str, Any]]:
    """The epochs of a run; the last line, which a kill may have torn, is left out where it is not whole.

    DataError where there is one that is not whole before it.
    """
    path = run / HISTORY
    way = "remove the file to go on without it"
    try:
        texts = read_bytes(path).split(b"\n") if os.path.lexists(path) else []
    except (OSError, ValueError) as error:
        raise DataError(f"Cannot read {path}: {why(error)}; {way}.") from error
    lines: list[dict[str, Any]] = []
    texts = [text for text in texts if text.strip()]
    for number, text in enumerate(texts, start=1):
        try:
            line = parse_json(text, lenient=True)
            if not isinstance(line, dict) or type(line.get("epoch")) is not int:
                raise ValueError("it is not an epoch")
            lines.append(line)
        except ValueError as error:
            if number < len(texts):
                raise DataError(f"Line {number} of {path} is damaged ({error}); {way}.") from error
    return lines


def cut_history(run: Path, epoch: int) -> None:
    """Keep the epochs that the run resumes after."""
    kept = [line for line in read_history(run) if line["epoch"] <= epoch]
    write_text(run / HISTORY, "".join(json.dumps(line) + "\n" for line in kept))


def append_history(run: Path, line: dict[str, Any]) -> None:
    """Add an epoch, whole or not at all."""
    path, data = run / HISTORY, (json.dumps(line) + "\n").encode()
    if path.is_symlink():  # in a run that a stranger has sent: nothing is written where it leads
        raise DataError(f"{path} is a link, and a run writes into its own folder alone; remove it.")
    with out_of_space(path), path.open("ab", buffering=0) as file:
        end = file.seek(0, os.SEEK_END)
        try:
            if file.write(data) < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(file.fileno())  # before the weights are, which would stand without it after a power cut
        except OSError:
            file.truncate(end)
            raise
