"""What is known of how parts load, so that `emotiwave plugins` need not import torch when nothing has changed."""

import contextlib
import hashlib
import json
import os
import stat
import sys
from pathlib import Path
from typing import Any

from emotiwave_core.errors import ResourceError
from emotiwave_core.io.atomic import cache_folder, write_json

Task = tuple[str, str]  # kind (or "file") and name
Stamp = list[int] | str | None  # size and time of change of a file, what is in a folder; None where nothing is


class Memory:
    """Answers of earlier probes of this Python with this search path and these registry.toml files.

    They hold as long as no file has changed that was imported for them, none of those registries, and as long as the
    folders of the search path hold the same modules and packages. That a part is broken is never remembered.
    """

    def __init__(self, registries: list[Path]) -> None:
        where = [sys.version, sys.executable, *sys.path, *(str(path.resolve()) for path in registries)]
        name = hashlib.sha256(json.dumps(where).encode()).hexdigest()[:32]
        self.path = cache_folder() / "parts" / f"{name}.json"
        self.watched = [*(path or "." for path in sys.path), *(str(path.resolve()) for path in registries)]
        self.answers: dict[str, list[dict[str, Any]]] = {}
        self.stamps: dict[str, Stamp] = {path: _stamp(path) for path in self.watched}
        self.learned = False

    def recall(self, tasks: list[Task]) -> dict[Task, list[dict[str, Any]]]:
        """What is known of some tasks and still holds."""
        try:
            known = json.loads(self.path.read_text(encoding="utf-8"))
            stamps, answers = dict(known["stamps"]), dict(known["answers"])
        except (OSError, ValueError, LookupError, TypeError):
            return {}
        if not all(isinstance(rows, list) and all(isinstance(row, dict) for row in rows) for rows in answers.values()):
            return {}
        if any(stamp != _stamp(path) for path, stamp in stamps.items()):
            return {}
        self.stamps, self.answers = stamps, answers
        return {task: answers[".".join(task)] for task in tasks if ".".join(task) in answers}

    def learn(self, task: Task, rows: list[dict[str, Any]], files: list[str]) -> None:
        """Take in what a probe found, and which further files were imported for it."""
        self.stamps |= {path: _stamp(path) for path in files}
        if all(row.get("state") != "broken" for row in rows):
            self.answers[".".join(task)] = rows
            self.learned = True

    def keep(self) -> None:
        """Write what was learned; a cache that cannot be written costs time only."""
        if self.learned:
            with contextlib.suppress(OSError, ResourceError):
                self.path.parent.mkdir(parents=True, exist_ok=True)
                write_json(self.path, {"stamps": self.stamps, "answers": self.answers})


def _stamp(path: str) -> Stamp:
    try:
        about = Path(path).stat()
        return _inside(path) if stat.S_ISDIR(about.st_mode) else [about.st_size, about.st_mtime_ns]
    except OSError:
        return None


def _inside(folder: str) -> str:
    """What can be imported from a folder, and when each distribution was installed."""
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith((".", "__pycache__")):
                found.append((entry.name, entry.stat().st_mtime_ns if entry.name.endswith("-info") else 0))
    return hashlib.sha256(json.dumps(sorted(found)).encode()).hexdigest()
