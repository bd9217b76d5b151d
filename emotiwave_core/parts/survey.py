"""Does a part load? Asked in a child process, for a plugin may hang, exit or change the world when it is imported."""

import inspect
import json
import os
import subprocess
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from emotiwave_core.config.options import signature_options
from emotiwave_core.errors import EmotiwaveError, PluginError
from emotiwave_core.parts.kinds import WATCH, part_kind
from emotiwave_core.parts.loading import same_distribution
from emotiwave_core.parts.registry import Registry, layers, load_registry
from emotiwave_core.parts.survey_cache import Memory, Task

SECONDS = 30.0  # for all that a child is asked
MARK = "emotiwave-probe:"  # before each answer, for a plugin may print when it is imported

Row = dict[str, Any]


def survey(registry: Registry, registry_file: Path | None, again: bool = False) -> list[Row]:
    """A row for each part; its state is installed, local, shadowed, disabled, missing or broken.

    `again` loads every part, also one of which is known how it loads and that nothing has changed since.
    """
    rows: list[Row] = []
    for provider in registry.providers:
        owner = registry.names[provider.kind].get(provider.name)
        about = f"{provider.origin} {provider.version}".strip()
        if owner is not None and not same_distribution(provider.origin, owner):
            rows.append(_row(provider.kind, provider.name, about, "shadowed", f"The name belongs to {owner}."))
        elif where := registry.disabled.get(f"{provider.kind}.{provider.name}"):
            rows.append(_row(provider.kind, provider.name, about, "disabled", f"By {where}."))
        else:
            rows.append(_row(provider.kind, provider.name, about, "installed"))
    have = {(row["kind"], row["name"]) for row in rows if row["state"] in ("installed", "disabled")}
    for kind, names in registry.names.items():
        absent = [name for name in names if (kind, name) not in have]
        rows += [_row(kind, name, f"pip install {names[name]}", "missing") for name in absent]
    asked = [(row["kind"], row["name"]) for row in rows if row["state"] == "installed"]
    answers = ask([*asked, *(("file", label) for label in registry.files)], registry_file, again)
    for row in rows:
        if row["state"] == "installed":
            row |= answers[row["kind"], row["name"]][0]
    for label in registry.files:
        rows += answers["file", label]
    order = [*registry.names, "file"]
    return sorted(rows, key=lambda row: (order.index(row["kind"]), row["name"]))


def ask(tasks: list[Task], registry_file: Path | None, again: bool = False) -> dict[Task, list[Row]]:
    """What a child process answers for each task; one that kills or stalls the child is broken, the rest goes on."""
    memory = Memory(layers(registry_file))
    answers: dict[Task, list[Row]] = {} if again else memory.recall(tasks)
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
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=SECONDS, check=False, env=environment
            )
            output, failure = done.stdout, f"the process ended with exit code {done.returncode}"
        except subprocess.TimeoutExpired as expired:
            partial = expired.stdout or b""
            output = partial.decode(errors="replace") if isinstance(partial, bytes) else partial
            failure = f"no answer within {SECONDS:.0f} s"
        lines = [line for line in output.splitlines() if line.startswith(MARK)]
        for task, line in zip(waiting, lines, strict=False):
            said = json.loads(line.removeprefix(MARK))
            answers[task] = said["rows"]
            memory.learn(task, said["rows"], said["files"])
        if len(lines) < len(waiting):
            kind, name = waiting[len(lines)]
            broken = {"state": "broken", "summary": f"When it is loaded, {failure}."}
            answers[kind, name] = [{**_row("file", name, name, "broken"), **broken} if kind == "file" else broken]
    memory.keep()
    return answers


def answer(registry: Registry, kind: str, name: str) -> tuple[list[Row], set[str]]:
    """What one task finds, in the child, and the files that it took: those of every module and of what raised."""
    try:
        rows, raised = _look(registry, kind, name), set()
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


def _look(registry: Registry, kind: str, name: str) -> list[Row]:
    from emotiwave_core.parts.loading import load_file, offers, watches, what_is_missing

    if kind == WATCH:
        return [{"summary": (inspect.getdoc(registry.watcher(name)) or "").partition("\n")[0]}]
    if kind != "file":
        return [{"state": "installed", **_about(kind, registry.find_installed(kind, name)[0])}]
    path = registry.files[name]
    module = load_file(name, path)
    if not (offered := offers(module, str(path))) and not watches(module):
        raise PluginError(f"{path} offers no part: {what_is_missing(module)}")
    return [{**_row(*key, str(path), "local"), **_about(key[0], part)} for key, part in offered.items()]


def _about(kind: str, part: type) -> Row:
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


if __name__ == "__main__":
    known = load_registry(Path(sys.argv[1]) if sys.argv[1] else None)
    reported: set[str] = set()
    for task in json.loads(sys.argv[2]):
        rows, files = answer(known, *task)
        print(MARK + json.dumps({"rows": rows, "files": sorted(files - reported)}, default=str), flush=True)
        reported |= files
