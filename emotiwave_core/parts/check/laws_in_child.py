"""Holds parts to the laws of their kind, one by one, and measures them, in a child process: a part may hang or crash.

`check` starts this module as a program and follows it; it starts another for the parts behind one that has killed it.
The child writes one event a line, as JSON: `begin` for each part, then `part` or `failed`, `law` for each law,
`setting`, `measure` for each measurement; `running` before each step, `done` at the end.
"""

import contextlib
import json
import os
import pkgutil
import queue
import signal
import subprocess
import sys
import threading
import unittest
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from emotiwave_core import errors
from emotiwave_core.config.recipe import Part
from emotiwave_core.errors import EmotiwaveError, PassedOver, PluginError, SettingsError, choices, show_warning
from emotiwave_core.parts.kinds import narrowest, part_kinds
from emotiwave_core.parts.loading import load_file, offers, what_is_missing
from emotiwave_core.parts.registry import Registry, load_registry
from emotiwave_core.parts.resolved import ResolvedPart

if TYPE_CHECKING:
    from emotiwave_core.parts.check.measure import Workload

SECONDS = 120.0  # for loading, for each law and for each measurement

Event = dict[str, Any]
Answer = Callable[..., None]


class FoundPart(NamedTuple):
    """A part that is to be checked, before its options are."""

    kind: str
    name: str
    part: type
    provider: str


def check(
    target: str,
    kind: str | None,
    options: Mapping[str, Any],
    registry_file: Path | None,
    seconds: float = SECONDS,
    measure: bool = True,
) -> Iterator[Event]:
    """Yield the events of a check as they come: `part`, `law`, `setting`, `measure`, and `failed` for a part not made.

    A law or measurement that kills the process or takes longer than `seconds` ends the check of the part, as `lost`,
    and the measurements after it are said to be not tried. The parts behind it are checked all the same. The project's
    errors are raised where no part is found, nothing loads, or the only part cannot be constructed.
    """
    task = {
        "target": target,
        "kind": kind,
        "options": dict(options),
        "registry": str(registry_file or ""),
        "measure": measure,
    }
    first: int | None = 0
    while first is not None:
        first = yield from _follow(_start(task | {"first": first}), target, seconds)


def _start(task: dict[str, Any]) -> "subprocess.Popen[str]":
    command = [sys.executable, "-P", "-m", "emotiwave_core.parts.check.laws_in_child", json.dumps(task)]
    # The child finds the modules that this process would find, and no others: what holds there works in a run.
    # Inductor's own workers would outlive a child that is killed.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "TORCHINDUCTOR_COMPILE_THREADS": "1"}
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, env=environment)


def _follow(process: "subprocess.Popen[str]", target: str, seconds: float) -> Generator[Event, None, int | None]:
    """Yield what the child writes. Returns the number of the part to go on with after what has ended it, or None."""
    lines: queue.Queue[str | None] = queue.Queue()
    assert process.stdout is not None
    threading.Thread(target=_read, args=(process.stdout, lines), daemon=True).start()
    part: Event | None = None  # the last `begin`
    running: Event | None = None
    measurements: list[str] = []  # still to come
    try:
        while True:
            event, failure = _next_event(process, lines, seconds)
            if failure:
                break
            what = event["event"]
            if what == "done":
                return None
            if what == "error":
                raise getattr(errors, event["kind"])(event["sentence"])
            if what == "begin":
                part, running, measurements = event, None, []
            elif what == "running":
                running = event
            else:
                if what == "failed" and part is not None and part["parts"] == 1:
                    raise getattr(errors, event["error"])(event["sentence"])
                measurements = event.get("measurements", [one for one in measurements if one != event.get("measure")])
                yield event
    finally:
        process.kill()
        process.wait()
    if part is None:
        raise PluginError(f"While {target} was loaded, {failure}: let a module define, and do nothing else.")
    yield from _lost(part, running, measurements, failure)
    following = int(part["number"]) + 1
    return following if following < part["parts"] else None


def _next_event(
    process: "subprocess.Popen[str]", lines: "queue.Queue[str | None]", seconds: float
) -> tuple[Event, str]:
    """The next event, or a clause on why there is none."""
    try:
        line = lines.get(timeout=seconds)
    except queue.Empty:
        return {}, f"there was no answer within {seconds:.0f} s"
    return ({}, f"the process ended with exit code {process.wait()}") if line is None else (json.loads(line), "")


def _lost(part: Event, running: Event | None, measurements: list[str], failure: str) -> Iterator[Event]:
    """The events of a part whose process has ended before its check had."""
    if running is None or "step" in running:
        sentence = f"During the construction of the {part['kind']} '{part['name']}', {failure}."
        if part["parts"] == 1:
            raise PluginError(sentence)
        yield part | {"event": "failed", "error": "PluginError", "sentence": sentence}
        return
    yield {**running, "event": "lost", "message": f"While it ran, {failure}.", "lost": True}
    for measure in measurements:
        if measure != running.get("measure"):
            note = f"not tried: {running['measure']} ended it"
            yield {"event": "measure", "measure": measure, "value": None, "reference": None, "note": note, "lost": True}


def _read(stream: IO[str], lines: "queue.Queue[str | None]") -> None:
    for line in stream:
        lines.put(line)
    lines.put(None)


def find_parts(registry: Registry, target: str, kind: str | None) -> list[FoundPart]:
    """Find the part of a name, or all parts that a file offers. SettingsError or PluginError where there is none."""
    if target.endswith(".py") or os.sep in target:
        return _parts_of_file(Path(target), kind)
    local: set[tuple[str, str]] = set()
    for label, path in registry.files.items():
        with contextlib.suppress(PluginError):  # of another plugin; if it is of this one, its name is not known
            local |= offers(registry.load_local(label), str(path)).keys()
    known = [row.name for row in part_kinds()]
    kinds = [name for name in known if target in registry.names_of(name) or (name, target) in local]
    if kind:
        kinds = [kind]
    if not kinds:
        names = {name for row in known for name in registry.names_of(row)} | {name for _, name in local}
        raise SettingsError(f"There is no part '{target}', and it is no .py file.{choices(target, names)}")
    if len(kinds) > 1:
        raise SettingsError(f"'{target}' names {' and '.join(f'the {k}' for k in kinds)}: say which by --kind.")
    part, origin, version = registry.find(kinds[0], target)
    return [FoundPart(kinds[0], target, part, f"{origin} {version}".strip())]


def _parts_of_file(path: Path, kind: str | None) -> list[FoundPart]:
    if not path.is_file():
        raise SettingsError(f"There is no file {path}.")
    module = load_file(path.stem, path)
    offered = offers(module, str(path))
    if not offered:
        raise PluginError(f"{path} offers no part: {what_is_missing(module)}")
    wanted = [FoundPart(of, name, part, str(path)) for (of, name), part in offered.items() if kind in (None, of)]
    if not wanted:
        raise SettingsError(f"{path} offers no {kind}, only {', '.join(f'{of} {name}' for of, name in offered)}.")
    return wanted


def contract_of(kind: str, make: Callable[..., Any], part: type) -> Any:
    """The contract of a kind for parts of a class that `make` makes, as a class."""
    own = {"make": lambda self, *arguments: make(*arguments), "drops": None, "part": part}
    return type("Checked", (narrowest(kind, part).contract_class,), own)


def check_part(part_found: FoundPart, task: dict[str, Any], registry: Registry, answer: Answer) -> None:
    """Answer with all that is to be said of one part: itself, its laws, its measurements.

    The project's errors where it is not made with the options of the task.
    """
    kind, name, part, provider = part_found
    resolved = registry.with_options(kind, Part(name, task["options"]), part, provider)
    completed = resolved.settings.options
    contract = contract_of(kind, resolved.construct, part)
    answer("running", step="construction")
    try:
        tried = contract()  # it keeps the files that its arguments name
        resolved.construct(*tried.first_arguments())
    except EmotiwaveError:
        raise
    except (Exception, SystemExit) as error:
        what = f"{type(error).__name__}: {error}"
        raise PluginError(f"{resolved.who} fails at construction with {completed}: {what}") from error
    laws = contract.laws()
    names = [law.name for law in laws]
    answer("part", kind=kind, name=name, provider=provider, part=part.__qualname__, options=completed, laws=names)
    for law in laws:
        answer("running", law=law.name, sentence=law.sentence)
        outcome = _outcome(law.check)
        answer("law", law=law.name, sentence=law.sentence, **outcome)
        if law.name in contract.granted and outcome["state"] == "broken":
            return
    if task["measure"]:
        _measure(resolved, registry, answer)


def _outcome(law: Callable[[], None]) -> dict[str, str]:
    from emotiwave_core.testing import BrokenLaw, Remark

    try:
        law()
    except BrokenLaw as broken:
        return {"state": "broken", "message": str(broken)}
    except Remark as remark:
        return {"state": "warning", "message": str(remark)}
    except unittest.SkipTest as reason:
        return {"state": "not tried", "message": str(reason)}
    return {"state": "holds", "message": ""}


def _measure(resolved: ResolvedPart, registry: Registry, answer: Answer) -> None:
    """Answer with what a part costs, where its kind says how to measure that."""
    from emotiwave_core.parts.check.measure import measurements

    kind = narrowest(resolved.kind, resolved.part)
    if kind.workload is None:
        return
    workload: Workload = pkgutil.resolve_name(kind.workload)
    setting: Event = {"setting": workload.setting, "reference": kind.reference}
    answer("running", measure="construction")
    try:
        steps = list(measurements(workload, resolved.construct, kind, registry))
    except (Exception, SystemExit) as error:
        what = f"{type(error).__name__}: {error}".splitlines()[0][:150]
        answer("setting", **setting, measurements=[])
        answer("measure", measure="construction", value=None, reference=None, note=f"it is not made so large: {what}")
        return
    answer("setting", **setting, measurements=[name for name, _ in steps])
    for measurement, work in steps:
        answer("running", measure=measurement)
        try:
            answer("measure", measure=measurement, **work()._asdict())
        except (Exception, SystemExit) as error:
            first = (str(error).strip() or type(error).__name__).splitlines()[0]
            answer("measure", measure=measurement, value=None, reference=None, note=f"not known: {first[:150]}")


@contextlib.contextmanager
def _answers() -> Iterator[Answer]:
    """Send answers to what was stdout; what a plugin prints goes to stderr, for it is no answer."""
    sys.stdout.flush()
    with os.fdopen(os.dup(1), "w") as stream:
        os.dup2(2, 1)

        def answer(event: str, **values: Any) -> None:
            sys.stdout.flush()  # what was printed before: after the last answer the parent waits no longer
            stream.write(json.dumps({"event": event, **values}, default=str) + "\n")
            stream.flush()

        yield answer


def main(task: dict[str, Any]) -> None:
    """Carry out a task; an error of the project is an answer, too."""
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    torch.set_num_threads(1)  # what shares its cores with others is timed more fairly so
    warnings.showwarning = show_warning  # nobody else says what is passed over: the parent has loaded nothing
    with _answers() as answer:
        try:
            with warnings.catch_warnings():
                if task["first"]:  # the child before this one has said it
                    warnings.simplefilter("ignore", PassedOver)
                registry = load_registry(Path(task["registry"]) if task["registry"] else None)
            found = find_parts(registry, task["target"], task["kind"])
            for number, part in list(enumerate(found))[task["first"] :]:
                names = {"kind": part.kind, "name": part.name, "provider": part.provider}
                answer("begin", number=number, parts=len(found), **names)
                try:
                    check_part(part, task, registry, answer)
                except EmotiwaveError as error:
                    answer("failed", error=type(error).__name__, sentence=str(error), **names)
            answer("done")
        except EmotiwaveError as error:
            answer("error", kind=type(error).__name__, sentence=str(error))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
