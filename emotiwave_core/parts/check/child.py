"""The child of `emotiwave plugins check`: finds the parts, runs their laws and measures them, one answer a line."""

import contextlib
import json
import os
import pkgutil
import signal
import sys
import unittest
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emotiwave_core.config.recipe import Part
from emotiwave_core.errors import EmotiwaveError, PluginError, SettingsError, choices
from emotiwave_core.parts.kinds import part_kind, part_kinds
from emotiwave_core.parts.loading import load_file, offers, what_is_missing
from emotiwave_core.parts.registry import Registry, load_registry
from emotiwave_core.parts.resolved import ResolvedPart

if TYPE_CHECKING:
    from emotiwave_core.parts.check.measure import Workload

Found = tuple[str, str, type, str]  # kind, name, class, who provides it
Answer = Callable[..., None]


def find_parts(registry: Registry, target: str, kind: str | None) -> list[Found]:
    """The part of a name, or all parts that a file offers. SettingsError or PluginError where there is none."""
    if target.endswith(".py") or os.sep in target:
        return _parts_of_file(Path(target), kind)
    local: dict[tuple[str, str], Path] = {}
    for label, path in registry.files.items():
        with contextlib.suppress(PluginError):  # of another plugin; if it is of this one, its name is not known
            local |= dict.fromkeys(offers(load_file(label, path), str(path)), path)
    known = [row.name for row in part_kinds()]
    kinds = [name for name in known if target in registry.names_of(name) or (name, target) in local]
    if kind:
        kinds = [kind]
    if not kinds:
        names = {name for row in known for name in registry.names_of(row)} | {name for _, name in local}
        raise SettingsError(f"There is no part '{target}', and it is no .py file.{choices(target, names)}")
    if len(kinds) > 1:
        raise SettingsError(f"'{target}' names {' and '.join(f'a {k}' for k in kinds)}: say which by --kind.")
    part, origin, version = registry.find(kinds[0], target)
    return [(kinds[0], target, part, f"{origin} {version}".strip())]


def _parts_of_file(path: Path, kind: str | None) -> list[Found]:
    if not path.is_file():
        raise SettingsError(f"There is no file {path}.")
    module = load_file(path.stem, path)
    offered = offers(module, str(path))
    if not offered:
        raise PluginError(f"{path} offers no part: {what_is_missing(module)}")
    found = [(one, name, part, str(path)) for (one, name), part in offered.items() if kind in (None, one)]
    if not found:
        raise SettingsError(f"{path} offers no {kind}, only {', '.join(f'{one} {name}' for one, name in offered)}.")
    return found


def contract_of(kind: str, make: Callable[..., Any]) -> Any:
    """The contract of a kind for what `make` makes."""
    ways = {"make": lambda self, *arguments: make(*arguments), "drops": False}
    return type("Checked", (part_kind(kind).contract_class,), ways)


def check_part(found: Found, given: dict[str, Any], registry: Registry, answer: Answer) -> None:
    """Answer with all that is to be said of one part: itself, its laws, its measurements."""
    kind, name, part, provider = found
    resolved = registry.with_options(kind, Part(name, given), part, provider)
    options = resolved.settings.options
    contract = contract_of(kind, resolved.construct)
    answer("running", step=f"the construction of the {kind} '{name}'")
    try:
        resolved.construct(*contract.arguments)
    except SettingsError:
        raise
    except (Exception, SystemExit) as error:
        what = f"{type(error).__name__}: {error}"
        raise PluginError(f"{resolved.who} fails at construction with {options}: {what}") from error
    laws = contract.laws()
    answer("part", kind=kind, name=name, provider=provider, part=part.__qualname__, options=options, laws=len(laws))
    for law in laws:
        answer("running", law=law.name, sentence=law.sentence)
        outcome = _outcome(law.check)
        answer("law", law=law.name, sentence=law.sentence, **outcome)
        if law.name in contract.granted and outcome["state"] == "broken":
            return
    _measure(resolved, registry, answer)


def _measure(resolved: ResolvedPart, registry: Registry, answer: Answer) -> None:
    """Answer with what a part costs, where its kind says how to measure that."""
    from emotiwave_core.parts.check.measure import measurements

    kind = part_kind(resolved.kind)
    if kind.workload is None:
        return
    workload: Workload = pkgutil.resolve_name(kind.workload)
    answer("setting", setting=workload.setting, reference=kind.reference)
    for measurement, work in measurements(workload, resolved.construct, kind, registry):
        answer("running", measure=measurement)
        try:
            answer("measure", measure=measurement, **work()._asdict())
        except (Exception, SystemExit) as error:
            first = (str(error).strip() or type(error).__name__).splitlines()[0]
            answer("measure", measure=measurement, value=None, reference=None, note=f"not known: {first[:150]}")


def _outcome(check: Callable[[], None]) -> dict[str, str]:
    from emotiwave_core.testing import BrokenLaw

    try:
        check()
    except BrokenLaw as broken:
        return {"state": "broken", "message": str(broken)}
    except unittest.SkipTest as reason:
        return {"state": "not tried", "message": str(reason)}
    return {"state": "holds", "message": ""}


@contextlib.contextmanager
def _answers() -> Iterator[Answer]:
    """Answers go to what was stdout; what a plugin prints goes to stderr, for it is no answer."""
    sys.stdout.flush()
    with os.fdopen(os.dup(1), "w") as stream:
        os.dup2(2, 1)

        def answer(event: str, **values: Any) -> None:
            stream.write(json.dumps({"event": event, **values}, default=str) + "\n")
            stream.flush()

        yield answer


def main(task: dict[str, Any]) -> None:
    """Carry out a task; an error of the project is an answer, too."""
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    torch.set_num_threads(1)  # what shares its cores with others is timed more fairly so
    with _answers() as answer:
        try:
            registry = load_registry(Path(task["registry"]) if task["registry"] else None)
            for found in find_parts(registry, task["target"], task["kind"]):
                check_part(found, task["options"], registry, answer)
        except EmotiwaveError as error:
            answer("error", kind=type(error).__name__, sentence=str(error))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
