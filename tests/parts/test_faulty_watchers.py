"""A faulty watcher may raise, answer anything and write into what it is given. It costs nothing but itself."""

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from faulty_plugins import EPOCHS, HEAD, RAISES, Sandbox
from faulty_plugins import sandbox as sandbox
from trusted import trust_here

from emotiwave_core.monitor import Monitor
from emotiwave_core.parts.registry import load_registry
from emotiwave_core.parts.watchers import Watchers

HOOKS = ["on_epoch_end(run, line)", "on_run_end(run, scores)", "extra_metrics(truth, decided, probabilities, classes)"]
PLAIN = [
    *("--encoder", "mean:width=4", "--set", f"training.epochs={EPOCHS}", "--set", "training.batch_size=8"),
    *("--set", "model.head=8", "--out", "there"),
]
SPOILS = """
@hookimpl
def on_epoch_end(run, line):
    line.clear()

@hookimpl
def on_run_end(run, scores):
    scores["configurations"].clear()
    scores.clear()

@hookimpl
def extra_metrics(truth, decided, probabilities, classes):
    truth[:] = 0
    decided[:] = 0
    probabilities[:] = np.nan
    os.chdir("/")
    torch.set_default_dtype(torch.float64)
"""


class Heard(Monitor):
    """What was said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        """Keep it."""
        self.lines.append(text)


def watcher(code: str) -> ModuleType:
    """A module with this code."""
    module = ModuleType("mine")
    exec(HEAD + code, module.__dict__)
    return module


def hooks(body: str) -> str:
    """A watcher that does this in every hook."""
    return "".join(f"\n@hookimpl\ndef {hook}:\n    {body}\n" for hook in HOOKS)


def ask(watchers: Watchers) -> dict[str, float]:
    """The extra metrics of four samples."""
    truth, chances = np.array([0, 1, 2, 1]), np.full((4, 3), 1 / 3)
    return watchers.metrics(truth, truth, chances, ("a", "b", "c"))


def test_a_watcher_that_spoils_what_it_is_given_spoils_nothing(sandbox: Sandbox) -> None:
    """Scores, predictions and what --json prints are those of a run without it, to the byte."""
    assert sandbox.call("run", "--data", str(sandbox.data), *PLAIN, "--json").code == 0
    due = {name: Path("there", name).read_bytes() for name in ("scores.json", "predictions.csv", "model.safetensors")}
    Path("there").rename("plain")
    Path("watcher.py").write_text(HEAD + SPOILS)
    Path("registry.toml").write_text('[plugins]\nmine = "watcher.py"\n')
    trust_here()
    ran = sandbox.call("run", "--data", str(sandbox.data), *PLAIN, "--watch", "mine", "--json")
    assert ran.code == 0, ran.err
    assert {name: Path("there", name).read_bytes() for name in due} == due
    assert json.loads(ran.out) == json.loads(due["scores.json"])
    assert "The watcher 'mine' changes the working folder and torch's default type in extra_metrics" in ran.err


@pytest.mark.parametrize("what", RAISES)
def test_whatever_a_hook_raises_is_a_line(what: str) -> None:
    """In each hook: the line names the watcher, the hook and what was raised, and the work goes on."""
    heard = Heard()
    watchers = Watchers({"mine": watcher(hooks(RAISES[what].replace("\n", "\n    ")))}, heard)
    watchers.epoch_end(Path(), {})
    watchers.run_end(Path(), {})
    assert ask(watchers) == {}
    names = [hook.partition("(")[0] for hook in HOOKS]
    assert [line.split(":")[0] for line in heard.lines] == [f"The watcher 'mine' failed in {name}" for name in names]
    assert all(what in line for line in heard.lines)


@pytest.mark.parametrize("error", [KeyboardInterrupt, "emotiwave_core.cli.Terminated"])
def test_who_ends_the_program_ends_it(error: Any) -> None:
    """Ctrl-C and SIGTERM while a watcher is at work are not taken for its fault."""
    from emotiwave_core.cli import Terminated

    kind = Terminated if isinstance(error, str) else error

    def raised(run: Path, line: dict[str, Any]) -> None:
        raise kind

    load_registry().part("objective", "single")  # of the core, by its entry point
    module = watcher("")
    module.__dict__["on_epoch_end"] = module.__dict__["hookimpl"](raised)
    raised.__name__ = "on_epoch_end"
    with pytest.raises(kind):
        Watchers({"mine": module}).epoch_end(Path(), {})


GARBAGE = [
    "object()",
    "'a'",
    "[1.0]",
    "{'m': float('nan')}",
    "{'m': -float('inf')}",
    "{'m': 10 ** 400}",
    "{'m': 1j}",
    "{'m': np.complex64(1)}",
    "{'m': torch.ones(())}",
    "{'m': np.ones(10 ** 6)}",
    "{'m': 'x' * 10 ** 7}",
    "{'m': None}",
    "{'m': np.float64('nan')}",
    "{'m': type('Sick', (), {'__repr__': lambda self: 1 / 0})()}",
    "iter(())",
]


@pytest.mark.parametrize("answer", GARBAGE)
def test_what_is_no_number_is_said_and_left_out(answer: str) -> None:
    """An answer that is not numbers by name is one short line with the watcher's name, and in no score."""
    heard = Heard()
    assert ask(Watchers({"mine": watcher(hooks(f"return {answer}"))}, heard)) == {}
    (line,) = heard.lines
    assert line.startswith("The watcher 'mine' gives ")
    assert len(line) < 200
    assert "\n" not in line


def test_numbers_of_every_kind_are_floats() -> None:
    """Booleans, ints and NumPy's numbers become floats; None is no answer."""
    code = "return {'a': True, 'b': np.int8(3), 'c': np.float16(0.5), 'd': 2 ** 60, 'e': np.float32(0.25)}"
    found = ask(Watchers({"mine": watcher(hooks(code))}))
    assert found == {"mine.a": 1.0, "mine.b": 3.0, "mine.c": 0.5, "mine.d": 2.0**60, "mine.e": 0.25}
    assert {type(value) for value in found.values()} == {float}
    assert ask(Watchers({"mine": watcher(hooks("return None"))})) == {}
    assert ask(Watchers({"mine": watcher(hooks("return {}"))})) == {}


def test_a_watcher_that_moves_away_moves_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a watcher changes of what all share is put back after each hook, also where it raises."""
    monkeypatch.chdir(tmp_path)
    watchers = Watchers({"mine": watcher(hooks("os.chdir('/'); raise SystemExit"))})
    with pytest.warns(match="The watcher 'mine' changes the working folder in on_epoch_end"):
        watchers.epoch_end(Path(), {})
    assert Path.cwd() == tmp_path
