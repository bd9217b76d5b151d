"""Surveys all parts: who provides each, and whether it loads.

A part is loaded in a child process, for a plugin may hang, exit or change the process when it is imported. What the
child answers is kept in the cache folder, so that `emotiwave plugins` need not import torch when nothing has changed.
"""

import contextlib
import hashlib
import inspect
import json
import os
import stat
import subprocess
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from emotiwave_core.config.options import signature_options
from emotiwave_core.errors import EmotiwaveError, PluginError, ResourceError
from emotiwave_core.io.atomic import cache_folder, write_json
from emotiwave_core.parts.kinds import COMMAND, WATCH, part_kind
from emotiwave_core.parts.loading import same_distribution
from emotiwave_core.parts.registry import Registry, layers, load_registry

SECONDS = 120.0  # for all that a child is asked
MARK = "emotiwave-survey:"  # before each answer, for a plugin may print when it is imported

Row = dict[str, Any]
Task = tuple[str, str]  # kind (or "file") and name
Stamp = list[int] | str | None  # size and time of change of a file, what is in a folder; None where nothing is


def survey(registry: Registry, registry_file: Path | None, again: bool = False) -> list[Row]:
    """List a row for each part; its state is installed, local, shadowed, disabled, missing, broken or untrusted.

    `again` loads every part anew, whatever the cache says.
    """
    rows: list[Row] = []
    for provider in registry.providers:
        owner = registry.names[provider.kind].get(provider.name)
        origin = f"{provider.origin} {provider.version}".strip()
        if owner is not None and not same_distribution(provider.origin, owner):
            rows.append(_row(provider.kind, provider.name, origin, "shadowed", f"The name belongs to {owner}."))
        elif where := registry.disabled.get(f"{provider.kind}.{provider.name}"):
            rows.append(_row(provider.kind, provider.name, origin, "disabled", f"By {where}."))
        else:
            rows.append(_row(provider.kind, provider.name, origin, "installed"))
    installed = {(row["kind"], row["name"]) for row in rows if row["state"] in ("installed", "disabled")}
    for kind, names in registry.names.items():
        absent = [name for name in names if (kind, name) not in installed]
        rows += [_row(kind, name, f"pip install {names[name]}", "missing") for name in absent]
    asked = [(row["kind"], row["name"]) for row in rows if row["state"] == "installed"]
    answers = ask([*asked, *(("file", label) for label in registry.files)], registry_file, again)
    for row in rows:
        if row["state"] == "installed":
            row |= answers[row["kind"], row["name"]][0]
    for label in registry.files:
        rows += answers["file", label]
    for label, path in registry.untrusted.items():
        rows.append(
            _row("file", label, str(path), "untrusted", "Its code is not run before `emotiwave plugins trust`.")
        )
    order = [*registry.names, "file"]
    return sorted(rows, key=lambda row: (order.index(row["kind"]), row["name"]))


def ask(tasks: list[Task], registry_file: Path | None, again: bool = False) -> dict[Task, list[Row]]:
    """Rows that a child process answers for each task; one that kills or stalls it is broken, the rest goes on."""
    cache = SurveyCache(layers(registry_file))
    answers: dict[Task, list[Row]] = {} if again else cache.recall(tasks)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}  # modules are what they are in this process
    while waiting := [task for task in tasks if task not in answers]:
        command = [
            sys.executable,
            "-P",
            "-m",
            "emotiwave_core.parts.survey",
            str(registry_file or ""),
            json.dumps(waiting),
        ]
        try:
            ended = subprocess.run(
                command, capture_output=True, text=True, timeout=SECONDS, check=False, env=environment
            )
            output, failure = ended.stdout, f"the process ended with exit code {ended.returncode}"
        except subprocess.TimeoutExpired as expired:
            partial = expired.stdout or b""
            output = partial.decode(errors="replace") if isinstance(partial, bytes) else partial
            failure = f"no answer within {SECONDS:.0f} s"
        lines = [line for line in output.splitlines() if line.startswith(MARK)]
        for task, line in zip(waiting, lines, strict=False):
            told = json.loads(line.removeprefix(MARK))
            answers[task] = told["rows"]
            cache.learn(task, told["rows"], told["files"])
        if len(lines) < len(waiting):
            kind, name = waiting[len(lines)]
            broken = {"state": "broken", "summary": f"When it is loaded, {failure}."}
            answers[kind, name] = [{**_row("file", name, name, "broken"), **broken} if kind == "file" else broken]
    cache.keep()
    return answers


def answer(registry: Registry, kind: str, name: str) -> tuple[list[Row], set[str]]:
    """Rows for one task, in the child, and the files that it took: those of every module and of what raised."""
    try:
        rows, raised = _load(registry, kind, name), set()
    except EmotiwaveError as error:
        lacks = "pip install" in str(error) and isinstance(error.__cause__, ModuleNotFoundError)
        broken = {"state": "missing" if lacks else "broken", "summary": str(error)}
        rows = [{**_row("file", name, str(registry.files[name]), "broken"), **broken} if kind == "file" else broken]
        trace = traceback.extract_tb(error.__cause__.__traceback__) if error.__cause__ else []
        raised = {frame.filename for frame in trace if Path(frame.filename).is_file()}
    # Of a module from its own names: a lazy one would be imported by `getattr`. None stands where importing is barred.
    loaded = [module for module in list(sys.modules.values()) if isinstance(module, ModuleType)]
    modules = {file for module in loaded if (file := module.__dict__.get("__file__"))}
    return rows, modules | raised


def _load(registry: Registry, kind: str, name: str) -> list[Row]:
    from emotiwave_core.parts.loading import offers, watches, what_is_missing

    if kind == WATCH:
        return [{"summary": (inspect.getdoc(registry.watcher(name)) or "").partition("\n")[0]}]
    if kind == COMMAND:
        return [{"summary": registry.command(name).get_short_help_str(limit=100)}]
    if kind != "file":
        return [{"state": "installed", **_describe(kind, registry.find_installed(kind, name)[0])}]
    path, module = registry.files[name], registry.load_local(name)
    if not (offered := offers(module, str(path))) and not watches(module):
        raise PluginError(f"{path} offers no part: {what_is_missing(module)}")
    return [{**_row(*key, str(path), "local"), **_describe(key[0], part)} for key, part in offered.items()]


def _describe(kind: str, part: type) -> Row:
    """Say what can be read from the class of a part: its docstring and its options."""
    options = signature_options(part, part_kind(kind).positional)
    documentation = inspect.getdoc(part) or ""
    return {
        "summary": documentation.partition("\n")[0],
        "options": {name: option.default for name, option in options.items()},
        "documentation": documentation,
        "types": {name: inspect.formatannotation(option.kind) for name, option in options.items()},
        "class": part.__qualname__,
        "file": getattr(sys.modules.get(part.__module__), "__file__", None),
    }


def _row(kind: str, name: str, provider: str, state: str, summary: str = "") -> Row:
    return {"kind": kind, "name": name, "provider": provider, "state": state, "summary": summary, "options": {}}


class SurveyCache:
    """Answers of earlier surveys by this Python with this search path and these registry.toml files.

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
        """The answers to these tasks that are known and still hold."""
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
        """Take in the answer to a task, and the further files that were imported for it."""
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
        status = Path(path).stat()
        return _inside(path) if stat.S_ISDIR(status.st_mode) else [status.st_size, status.st_mtime_ns]
    except OSError:
        return None


def _inside(folder: str) -> str:
    """Digest of what can be imported from a folder, and of when each distribution was installed."""
    modules = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith((".", "__pycache__")):
                modules.append((entry.name, entry.stat().st_mtime_ns if entry.name.endswith("-info") else 0))
    return hashlib.sha256(json.dumps(sorted(modules)).encode()).hexdigest()


if __name__ == "__main__":
    known = load_registry(Path(sys.argv[1]) if sys.argv[1] else None)
    reported: set[str] = set()
    for task in json.loads(sys.argv[2]):
        rows, files = answer(known, *task)
        print(MARK + json.dumps({"rows": rows, "files": sorted(files - reported)}, default=str), flush=True)
        reported |= files
