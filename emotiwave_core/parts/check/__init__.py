"""`emotiwave plugins check`: the laws of a part, one by one, and what it costs. In a child process, for it may hang."""

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from emotiwave_core import errors

SECONDS = 60.0  # for loading, for each law and for each measurement

Event = dict[str, Any]


def check(
    target: str, kind: str | None, options: Mapping[str, Any], registry_file: Path | None, seconds: float = SECONDS
) -> Iterator[Event]:
    """What the child finds, as it comes: `part`, then `law` for each law, then `measure` for each measurement.

    A law or measurement that kills the process or takes longer than `seconds` ends the check of the part, as `lost`.
    The project's errors are raised where the part is not found, does not load or cannot be constructed.
    """
    task = {"target": target, "kind": kind, "options": dict(options), "registry": str(registry_file or "")}
    command = [sys.executable, "-P", "-m", "emotiwave_core.parts.check.child", json.dumps(task)]
    # The child finds the modules that this process would find, and no others: what holds there works in a run.
    # Inductor's own workers would outlive a child that is killed.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "TORCHINDUCTOR_COMPILE_THREADS": "1"}
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        yield from _follow(process, target, seconds)
    finally:
        process.kill()
        process.wait()


def _follow(process: "subprocess.Popen[str]", target: str, seconds: float) -> Iterator[Event]:
    lines: queue.Queue[str | None] = queue.Queue()
    assert process.stdout is not None
    threading.Thread(target=_read, args=(process.stdout, lines), daemon=True).start()
    running: Event | None = None
    while True:
        try:
            line = lines.get(timeout=seconds)
        except queue.Empty:
            failure = f"there was no answer within {seconds:.0f} s"
            break
        if line is None:
            code = process.wait()
            if code == 0:
                return
            failure = f"the process ended with exit code {code}"
            break
        event: Event = json.loads(line)
        if event["event"] == "error":
            raise getattr(errors, event["kind"])(event["sentence"])
        if event["event"] == "running":
            running = event
        else:
            yield event
    if running is None:
        raise errors.PluginError(f"While {target} was loaded, {failure}: let a module define, and do nothing else.")
    if "step" in running:
        raise errors.PluginError(f"During {running['step']}, {failure}.")
    yield {**running, "event": "lost", "message": f"While it ran, {failure}."}


def _read(stream: IO[str], lines: "queue.Queue[str | None]") -> None:
    for line in stream:
        lines.put(line)
    lines.put(None)
