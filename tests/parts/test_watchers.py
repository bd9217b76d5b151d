"""Plugins that watch a run: they are told, and they cost nothing."""

import inspect
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from killed_runs import killed_at, outcome
from trusted import trust_here

from emotiwave_core import hookimpl, hookspecs
from emotiwave_core.cli import exit_code_of
from emotiwave_core.monitor import Monitor
from emotiwave_core.parts.kinds import part_kinds
from emotiwave_core.parts.watchers import HOOKS, Watchers
from emotiwave_core.runs.history import read_history
from emotiwave_core.runs.model_file import read_model_file

pytestmark = pytest.mark.usefixtures("warm_children")  # they start many processes

ROOT = Path(__file__).resolve().parents[2]
WATCHER = """
import json
from emotiwave_core import hookimpl

@hookimpl
def on_epoch_end(run, line):
    with open(run / "epochs.txt", "a") as file:
        file.write(json.dumps(line) + "\\n")

@hookimpl
def on_run_end(run, scores):
    (run / "end.txt").write_text(json.dumps(scores))

@hookimpl
def extra_metrics(truth, decided, probabilities, classes):
    return {"accuracy": (truth == decided).mean(), "classes": len(classes), "nothing": float("nan")}
"""
BROKEN = """
from emotiwave_core import hookimpl

@hookimpl
def on_epoch_end(run, line):
    raise RuntimeError("no network")

@hookimpl
def on_run_end(run, scores):
    raise SystemError("no disk")

@hookimpl
def extra_metrics(truth, decided, probabilities, classes):
    return 3 / 0
"""


@pytest.fixture
def run(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Any:
    """Train for two epochs in an empty folder with a watcher of this code; (exit code, stderr)."""
    monkeypatch.chdir(tmp_path)

    def call(code: str | None, out: str, *more: str) -> tuple[int, str]:
        Path("watcher.py").write_text(code or "")
        Path("registry.toml").write_text('[plugins]\nmine = "watcher.py"\n' if code else "")
        if code:
            trust_here()
        command = ["run", "--data", str(tiny), "--set", "training.epochs=2", "--encoder", "bilstm:hidden_size=4"]
        answer = exit_code_of([*command, "--out", out, *(["--watch", "mine"] if code else []), *more])
        return answer, capfd.readouterr().err

    return call


def test_a_watcher_hears_of_every_epoch_and_of_the_end(run: Any) -> None:
    """on_epoch_end gets each line of history.jsonl, on_run_end gets scores.json, each once."""
    assert run(WATCHER, "a")[0] == 0
    assert Path("a/epochs.txt").read_text() == Path("a/history.jsonl").read_text()
    assert json.loads(Path("a/end.txt").read_text()) == json.loads(Path("a/scores.json").read_text())
    assert 'watch = [\n    "mine",\n]' in Path("a/recipe.toml").read_text()


def test_extra_metrics_stand_beside_the_others(run: Any) -> None:
    """extra_metrics is asked for every configuration, and its numbers stand in scores.json and in the report."""
    _, err = run(WATCHER, "b")
    for entry in json.loads(Path("b/scores.json").read_text())["configurations"].values():
        assert entry["extra"] == {"mine.accuracy": entry["accuracy"], "mine.classes": 6.0}
    assert "mine.accuracy" in Path("b/report.html").read_text()
    assert "The watcher 'mine' gives nan for nothing, not a finite number." in err


def test_a_failing_watcher_is_reported_and_does_not_cost_the_run(run: Any) -> None:
    """Every exception of a watcher is a line with its name, and the model is the one of a run without it."""
    assert run(None, "plain")[0] == 0
    code, err = run(BROKEN, "broken")
    assert code == 0
    for sentence in (
        "The watcher 'mine' failed in on_epoch_end: RuntimeError: no network",
        "The watcher 'mine' failed in on_run_end: SystemError: no disk",
        "The watcher 'mine' failed in extra_metrics: ZeroDivisionError",
    ):
        assert sentence in err
    assert Path("plain/model.safetensors").read_bytes() == Path("broken/model.safetensors").read_bytes()
    assert Path("broken/report.html").exists()


class Nameless:
    """Has no text."""

    def __repr__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.full
@pytest.mark.parametrize("name", [Nameless(), 1, None, "", "\ud800", "\x1b]0;x", "two\nlines", "k" * 81])
def test_a_metric_without_a_name_costs_itself(name: Any) -> None:
    """What no file or terminal can be given as a name is said, and the other metrics stand."""
    told: list[str] = []
    monitor, module = Monitor(), ModuleType("watching")
    monitor.say = told.append  # type: ignore[method-assign]
    module.extra_metrics = hookimpl(  # type: ignore[attr-defined]
        lambda truth, decided, probabilities, classes: {name: 0.5, "right": 0.25}
    )
    whole = np.zeros(2, dtype=np.int64), np.zeros(2, dtype=np.int64), np.ones((2, 1)), ("a",)
    assert Watchers({"mine": module}, monitor).metrics(*whole) == {"mine.right": 0.25}
    (line,) = told
    assert line.startswith("The watcher 'mine' calls a metric ")
    assert line.isprintable()


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("x = 1", "implements none of on_epoch_end, on_run_end, extra_metrics"),
        (WATCHER.replace("def on_epoch_end(run, line)", "def on_epoch_end(run, epoch)"), "epoch"),
        (WATCHER.replace("on_run_end", "on_run_ends"), "on_run_ends"),
        ("import nothing_of_that_name", "ModuleNotFoundError"),
    ],
)
def test_a_wrong_watcher_stops_before_any_work(run: Any, code: str, sentence: str) -> None:
    """A watcher that cannot be is a plugin error, and no folder is left."""
    answer, err = run(code, "c")
    assert (answer, sentence in err) == (4, True), err
    assert not Path("c").exists()


def test_an_unknown_watcher_lists_the_choices(run: Any) -> None:
    """A misspelt --watch names the nearest."""
    answer, err = run(None, "d", "--watch", "tensorbord")
    assert (answer, "Did you mean 'tensorboard'?" in err) == (2, True), err


def test_tensorboard_gets_the_curves(run: Any) -> None:
    """The event files of --watch tensorboard hold the numbers of history.jsonl, epoch by epoch."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert run(None, "e", "--watch", "tensorboard")[0] == 0
    events = EventAccumulator("e/tensorboard").Reload()
    history = [json.loads(line) for line in Path("e/history.jsonl").read_text().splitlines()]
    logged = [(event.step, event.value) for event in events.Scalars("loss/train")]
    assert logged == [(line["epoch"], pytest.approx(line["train_loss"], rel=1e-6)) for line in history]
    assert "macro_f1_of/text+audio+visual" in events.Tags()["scalars"]


STOPPING = """
from emotiwave_core import StopTraining, hookimpl

@hookimpl
def on_epoch_end(run, line):
    if line["epoch"] >= 2:
        raise StopTraining("loss is\\nlow.")
"""
SMALL = ("--set", "training.epochs=5", "--set", "training.batch_size=8")


def test_a_watcher_ends_a_run_that_is_then_scored(run: Any) -> None:
    """The run ends as any other, with the best epoch until then; run.json and the report say who ended it, and why."""
    code, err = run(STOPPING, "f", *SMALL)
    assert code == 0
    assert "Stopped after epoch 2 by mine: loss is low.\n" in err
    assert [epoch.epoch for epoch in read_history(Path("f"))] == [1, 2]
    assert json.loads(Path("f/run.json").read_text())["stopped"] == "mine: loss is low"
    assert (
        "The training was ended after epoch 2 by mine: loss is low. The weights of epoch"
        in Path("f/report.html").read_text()
    )
    best = read_model_file(Path("f")).best.epoch
    assert run(None, "whole", *SMALL)[0] == 0
    scores = [epoch.valid.mean for epoch in read_history(Path("whole"))[:2]]
    assert best == 1 + scores.index(max(scores))  # of the same training, cut


@pytest.mark.full
def test_a_stopped_run_stays_so(run: Any, capfd: pytest.CaptureFixture[str]) -> None:
    """Resumed, with the watcher or without it, it does not go on; --no-test keeps the reason for its end."""
    run(STOPPING, "g", *SMALL, "--no-test")
    Path("watcher.py").unlink()
    assert exit_code_of(["run", "--resume", "g"]) == 0
    assert "Stopped after epoch 2 by mine: loss is low." in capfd.readouterr().err
    before = outcome(Path("g"))
    assert exit_code_of(["run", "--resume", "g"]) == 0
    assert outcome(Path("g")) == before
    assert len(read_history(Path("g"))) == 2
    assert json.loads(Path("g/run.json").read_text())["stopped"] == "mine: loss is low"


@pytest.mark.full
@pytest.mark.parametrize(
    "point", [("emotiwave_core.train.checkpoint.save_checkpoint", 2), ("torch.optim.AdamW.step", 4)]
)
def test_a_killed_run_is_ended_at_the_same_epoch(run: Any, point: tuple[str, int]) -> None:
    """Killed in the epoch that a watcher ends, before or after it has said so, a run ends as one that was not."""
    assert run(STOPPING, "whole", *SMALL)[0] == 0
    with killed_at(*point):
        run(STOPPING, "killed", *SMALL)
    assert exit_code_of(["run", "--resume", "killed"]) == 0
    assert outcome(Path("killed")) == outcome(Path("whole"))


def test_an_end_cannot_be_stopped(run: Any) -> None:
    """StopTraining from another hook is said, and changes nothing."""
    late = STOPPING.replace("on_epoch_end(run, line)", "on_run_end(run, scores)").replace('line["epoch"]', "2")
    code, err = run(late, "h")
    assert code == 0
    assert "The watcher 'mine' raises StopTraining in on_run_end, where nothing is left to be stopped." in err
    assert json.loads(Path("h/run.json").read_text())["stopped"] is None


@pytest.mark.full
def test_tensorboard_gets_the_curves_of_numbers(run: Any) -> None:
    """Of a regression the event files hold its headline score."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    code, err = run(None, "i", "--watch", "tensorboard", "--objective", "regression")
    assert (code, "failed" in err) == (0, False)
    events = EventAccumulator("i/tensorboard").Reload()
    means = [epoch.valid.mean for epoch in read_history(Path("i"))]
    assert [event.value for event in events.Scalars("ccc/mean")] == pytest.approx(means, rel=1e-6)


def test_every_hook_is_documented_and_called() -> None:
    """Each hook has a docstring, a line in docs/plugins.md, and a place that calls it."""
    watching = [name for name, value in vars(hookspecs).items() if hasattr(value, "emotiwave_spec")]
    assert set(HOOKS) == set(watching)
    assert all(inspect.getdoc(getattr(hookspecs, name)) for name in watching)
    offering = [kind.hook for kind in part_kinds()]
    assert len(offering) == len(set(offering)) > 3
    assert all(f"`{name}(register)`" in str(hookspecs.__doc__) for name in offering)
    guide = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
    for name in (*watching, *offering):
        assert f"`{name}" in guide
