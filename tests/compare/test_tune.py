"""A search: by validation alone, repeatable, and going on where it was stopped."""

import csv
import errno
import itertools
import json
import math
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from training import resume, start

import emotiwave as ew
from emotiwave_core.compare import tune as searching
from emotiwave_core.compare.search import Trial
from emotiwave_core.compare.space import laid_over, read_space
from emotiwave_core.compare.tune import TrialRun
from emotiwave_core.compute.runtime import Runtime
from emotiwave_core.config.recipe import Recipe
from emotiwave_core.errors import DataError
from emotiwave_core.execute.executor import Executor
from emotiwave_core.execute.job import Job, JobAnswer, Program, TextFile
from emotiwave_core.parts.registry import load_registry
from emotiwave_core.runs.history import Epoch, Validation, append_history, read_history
from emotiwave_core.runs.scores import SCORES
from emotiwave_core.train import run as engine
from emotiwave_core.train.refit import REFIT

pytest.importorskip("optuna")
SMALL: dict[str, Any] = {
    "encoder": {"name": "mean", "width": 4},
    "training": {"epochs": 2, "batch_size": 8},
    "model": {"head": 8},
}
SPACE = ["training.learning_rate=log(1e-4,1e-1)", 'fusion=["concat","mean"]']


class InThisProcess(Executor):
    """Carries trials out in this process."""

    begun: ClassVar[list[str]] = []
    killed: ClassVar[set[str]] = set()  # trials that are interrupted as they begin
    broken: ClassVar[set[str]] = set()  # trials that fail
    place: ClassVar[int] = 0  # of the one that ends next among those that were given: the first, or -1, the last

    def __init__(self) -> None:
        self.jobs: list[Job] = []
        self.stopped: list[str] = []

    def submit(self, jobs: Sequence[Job]) -> None:
        """Take them."""
        self.jobs += jobs

    def stop(self, job: Job) -> None:
        """Note it."""
        self.stopped.append(job.name)

    def ended(self) -> list[tuple[Job, JobAnswer]]:
        """The next one."""
        return [(job, self._answer(job)) for job in [self.jobs.pop(self.place)]] if self.jobs else []

    def _begin(self, job: Job) -> Path:
        """The folder of a trial."""
        self.begun.append(job.name)
        if job.name in self.killed:
            self.killed.discard(job.name)
            raise KeyboardInterrupt
        return Path(str(dict(itertools.pairwise(job.program.words))["--out"]))

    def _answer(self, job: Job) -> JobAnswer:
        folder = self._begin(job)
        words, file = dict(itertools.pairwise(job.program.words)), job.program.words[-1]
        assert "--no-test" in words
        assert isinstance(file, TextFile)
        recipe = Recipe.from_table(tomllib.loads(file.text), "The recipe")
        engine.start(recipe, Path(str(words["--data"])), folder, load_registry(), Runtime(_cpu(), tests=False))
        return JobAnswer(1, said="Error: it broke") if job.name in self.broken else JobAnswer(0)

    @property
    def running(self) -> int:
        """All."""
        return len(self.jobs)

    def close(self) -> None:
        """Nothing runs."""


def _cpu() -> Any:
    import torch

    return torch.device("cpu")


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> type[InThisProcess]:
    """Trials are carried out in this process."""
    monkeypatch.setattr(searching, "opened", lambda *_: InThisProcess())
    InThisProcess.begun = []
    return InThisProcess


def test_the_test_fold_is_not_read(tiny: Path, tmp_path: Path) -> None:
    """A run without its test leaves no score and no prediction; resumed, it is to the byte as one not stopped."""
    recipe = Recipe.from_table(SMALL, "The recipe")
    assert engine.start(recipe, tiny, tmp_path / "a", load_registry(), Runtime(_cpu(), tests=False)) is None
    names = {path.name for path in (tmp_path / "a").iterdir()}
    assert names & {SCORES, "predictions.csv", "report.html"} == set()
    resume(tmp_path / "a")
    start(recipe, tiny, tmp_path / "b")
    for name in (SCORES, "predictions.csv", "model.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_search_is_by_validation_and_repeatable(
    tiny: Path, tmp_path: Path, in_this_process: type[InThisProcess]
) -> None:
    """The winner has the best validation score; no test and no refit is there; the same seed tries the same."""
    refitted = SMALL | {"training": SMALL["training"] | {"refit": True}}
    found = ew.tune(tiny, refitted, space=SPACE, trials=3, out=tmp_path / "a", jobs=1, prune=False)
    assert [trial.state for trial in found.trials] == ["complete"] * 3
    assert not list(tmp_path.glob(f"a/runs/*/{REFIT}"))
    assert found.best.value == max(trial.value or 0.0 for trial in found.trials)
    assert not list(tmp_path.glob(f"a/runs/*/{SCORES}"))
    winner = tomllib.loads((tmp_path / "a/winner.toml").read_text())
    assert winner["training"]["refit"]
    assert winner["training"]["learning_rate"] == found.settings["training.learning_rate"]
    assert winner["fusion"]["name"] == found.settings["fusion"]
    with (tmp_path / "a/trials.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["validation (mean)"]) for row in rows] == [trial.value for trial in found.trials]
    again = ew.tune(tiny, SMALL, space=SPACE, trials=2, out=tmp_path / "b", jobs=1, prune=False)
    assert [trial.settings for trial in again.trials] == [trial.settings for trial in found.trials][:2]
    for suffix in ("png", "pdf", "svg"):
        assert (tmp_path / f"a/trials.{suffix}").stat().st_size > 100


@pytest.mark.full
def test_a_torn_line_is_cut_and_a_damaged_journal_is_told(
    tiny: Path, tmp_path: Path, in_this_process: type[InThisProcess]
) -> None:
    """A line that a kill or a full disk has torn costs itself; what else is no journal, or no search, is a sentence."""

    def ask(trials: int) -> searching.Search:
        return ew.tune(tiny, SMALL, space=SPACE, trials=trials, out=tmp_path, jobs=1, prune=False)

    first, journal = ask(1), tmp_path / searching.STORAGE
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"op_code": 4, "worker')
    assert ask(2).trials[0] == first.trials[0]
    assert ask(2).trials == ask(2).trials
    for wrong in (b"\0" * 40 + b"\n" + whole, b"[]\n" + whole, b'{"op_code": 99}\n' + whole, b"{}\n" + whole):
        journal.write_bytes(wrong)
        with pytest.raises(DataError, match=r"trials\.log cannot be used: .*; give another --out"):
            ask(2)
    journal.unlink()
    os.mkfifo(journal)
    with pytest.raises(DataError, match="it is not a file"):
        ask(2)
    for wrong in (b"[]", b"{", b"\xff"):
        (tmp_path / searching.SEARCH).write_bytes(wrong)
        with pytest.raises(DataError, match=r"search\.json cannot be used: .*; give another --out"):
            ask(2)


def test_a_stopped_search_goes_on(tiny: Path, tmp_path: Path, in_this_process: type[InThisProcess]) -> None:
    """A trial that was cut is taken up, none is lost or begun twice; more trials add to those that are there."""
    in_this_process.killed = {"trial-1"}
    with pytest.raises(KeyboardInterrupt):
        ew.tune(tiny, SMALL, space=SPACE, trials=3, out=tmp_path / "a", jobs=1)
    found = ew.tune(tiny, SMALL, space=SPACE, trials=3, out=tmp_path / "a", jobs=1)
    assert [trial.number for trial in found.trials] == [0, 1, 2]
    assert all(trial.state in ("complete", "pruned") for trial in found.trials)
    assert in_this_process.begun == ["trial-0", "trial-1", "trial-1", "trial-2"]
    more = ew.tune(tiny, SMALL, space=SPACE, trials=4, out=tmp_path / "a", jobs=1)
    assert more.trials[:3] == found.trials
    assert len(more.trials) == 4
    with pytest.raises(ew.SettingsError, match="another search: its space"):
        ew.tune(tiny, SMALL, space=SPACE[:1], trials=4, out=tmp_path / "a")


class PretendedRuns(InThisProcess):
    """Leaves the epochs of a run whose scores follow from its recipe alone."""

    def _answer(self, job: Job) -> JobAnswer:
        folder = self._begin(job)
        folder.mkdir()
        file = job.program.words[-1]
        assert isinstance(file, TextFile)
        recipe = tomllib.loads(file.text)
        far = abs(math.log10(recipe["training"]["learning_rate"]) + 2) + (recipe["fusion"]["name"] == "mean")
        for epoch in range(1, 5):
            score = 0.1 * epoch / (1 + far)
            append_history(folder, Epoch(epoch, 0.0, Validation(score, score, score)))
        return JobAnswer(0)


@pytest.mark.full
@pytest.mark.parametrize("jobs", [1, 3])
def test_side_by_side_a_search_is_repeatable(
    jobs: int, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever trial ends first, and wherever the search is stopped, the trials are the same, and run once.

    Of twelve trials five are drawn at random, and later ones by what those before them came to.
    """
    monkeypatch.setattr(searching, "opened", lambda *_: PretendedRuns())
    monkeypatch.setattr("emotiwave_core.compare.search._write_figure", lambda _: None)
    monkeypatch.setattr(
        searching,
        "read_model_file",
        lambda folder: SimpleNamespace(best=SimpleNamespace(score=read_history(folder)[-1].valid.mean)),
    )

    def searched(name: str) -> list[Trial]:
        return ew.tune(tiny, SMALL, space=SPACE, trials=12, out=tmp_path / name, jobs=jobs).trials

    found = searched("a")
    assert {trial.state for trial in found} == {"complete", "pruned"}
    monkeypatch.setattr(InThisProcess, "place", -1)
    assert searched("b") == found
    for killed in ("trial-2", "trial-8"):
        monkeypatch.setattr(InThisProcess, "killed", {killed})
        monkeypatch.setattr(InThisProcess, "begun", [])
        with pytest.raises(KeyboardInterrupt):
            searched(killed)
        assert searched(killed) == found
        assert sorted(InThisProcess.begun) == sorted([*(f"trial-{n}" for n in range(12)), killed])
    for name in ("trials.csv", "winner.toml"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "trial-8" / name).read_bytes()


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials are pretended."""
    monkeypatch.setattr(searching, "opened", lambda *_: PretendedRuns())
    monkeypatch.setattr("emotiwave_core.compare.search._write_figure", lambda _: None)
    monkeypatch.setattr(
        searching,
        "read_model_file",
        lambda folder: SimpleNamespace(best=SimpleNamespace(score=read_history(folder)[-1].valid.mean)),
    )


@pytest.mark.full
def test_a_search_goes_on_from_any_line_of_its_journal(tiny: Path, tmp_path: Path, pretended: None) -> None:
    """Killed after any line that it has written, a search ends with the trials of one that was not: none is lost."""

    def searched() -> list[Trial]:
        return ew.tune(tiny, SMALL, space=SPACE, trials=2, out=tmp_path, jobs=1).trials

    found, journal = searched(), tmp_path / searching.STORAGE
    lines = journal.read_text().splitlines(keepends=True)
    for count in range(len(lines)):
        journal.write_text("".join(lines[:count]))
        shutil.rmtree(tmp_path / "runs")
        assert searched() == found, lines[count - 1]


@pytest.mark.full
@pytest.mark.parametrize(
    ("written", "other"),
    [
        (r'"worker":"', '"worker":5,"x":"'),
        (r'"outcome":\{[^}]*\}', '"outcome":[1]'),
        (r'"outcome":\{"value":[^,]*', '"outcome":{"value":"9"'),
        (r'"values":\[[^]]*\]', '"values":[NaN]'),
        (r'"values":\[[^]]*\]', '"values":[Infinity]'),
        (r'"values":\[[^]]*\]', '"values":["x"]'),
        (r'"values":\[[^]]*\]', '"values":[0.1,0.2]'),
        (r'"intermediate_value":[^}]*', '"intermediate_value":NaN'),
        (r'"param_name":"fusion"', '"param_name":"../x"'),
        (r'"param_value_internal":[01],', '"param_value_internal":7,'),
        (r'"param_value_internal":0[^,]*', '"param_value_internal":1e9'),
        (r"\[0, 1\]", "[0, 1, 2]"),
        (r'"directions":\[2\]', '"directions":[1]'),
        (r'"directions":\[2\]', '"directions":[2,2]'),
        (r"\n\Z", "\n" + "[" * 100_000 + "\n"),
    ],
)
def test_what_no_search_has_written_is_told(
    written: str, other: str, tiny: Path, tmp_path: Path, pretended: None
) -> None:
    """A journal whose trials are not those of a search of this space is one sentence, and no trial is begun."""
    ew.tune(tiny, SMALL, space=SPACE, trials=2, out=tmp_path, jobs=1)
    journal = tmp_path / searching.STORAGE
    changed, count = re.subn(written, other.replace("\\", r"\\"), journal.read_text(), count=1)
    assert count == 1
    journal.write_text(changed)
    with pytest.raises(DataError, match=r"trials\.log cannot be used: .*; give another --out"):
        ew.tune(tiny, SMALL, space=SPACE, trials=3, out=tmp_path, jobs=1)
    assert len(list((tmp_path / "runs").iterdir())) == 2


@pytest.mark.full
def test_the_run_of_another_recipe_is_no_trial(tiny: Path, tmp_path: Path, pretended: None) -> None:
    """Where a trial's folder holds the run of other values, the search says so and does not take its score."""
    folder = tmp_path / "runs/trial-0"
    folder.mkdir(parents=True)
    (folder / "recipe.toml").write_text("seed = 1\n")
    with pytest.raises(ew.SettingsError, match="trial-0 was made from another recipe"):
        ew.tune(tiny, SMALL, space=SPACE, trials=1, out=tmp_path, jobs=1)


@pytest.mark.full
def test_values_that_do_not_go_together_cost_their_trial(tiny: Path, tmp_path: Path, pretended: None) -> None:
    """Values that the recipe takes one by one and not together are a failed trial, and the search goes on."""
    space = ['data.align=["none",2]', "data.downsample=[1,2]", SPACE[0]]
    trials = ew.tune(tiny, SMALL, space=space, trials=6, out=tmp_path, jobs=1, prune=False).trials
    wrong = {"data.align": 2, "data.downsample": 2}.items()
    assert {trial.state for trial in trials if wrong <= trial.settings.items()} == {"failed"}
    assert [trial.state for trial in trials].count("complete") == 6


@pytest.mark.full
def test_a_full_disk_ends_a_search_with_a_sentence(
    tiny: Path, tmp_path: Path, pretended: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever its journal has no room the search says so; with room again it ends as one that had it."""
    from optuna.storages.journal import JournalFileBackend

    def searched(name: str) -> list[Trial]:
        return ew.tune(tiny, SMALL, space=SPACE, trials=1, out=tmp_path / name, jobs=1).trials

    found, write = searched("whole"), JournalFileBackend.append_logs
    for room in range(7):
        left = [room]

        def limited(backend: Any, logs: Any, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            write(backend, logs)

        monkeypatch.setattr(JournalFileBackend, "append_logs", limited)
        with pytest.raises(ew.ResourceError, match=r"Cannot write .*trials\.log: No space left"):
            searched(f"{room}")
        monkeypatch.setattr(JournalFileBackend, "append_logs", write)
        shutil.rmtree(tmp_path / f"{room}/runs", ignore_errors=True)
        assert searched(f"{room}") == found


@pytest.mark.full
def test_a_number_that_another_process_has_now_is_not_its_worker() -> None:
    """A trial's worker is gone where its number belongs to a later process, and not where nobody can tell."""
    host, parent = socket.gethostname(), os.getppid()
    name = searching._process(parent)
    gone = {
        f"{host}:{name}": False,
        f"{host}:{parent}": False,
        f"elsewhere:{name}": False,
        f"{host}:²": False,
        f"{host}:{'9' * 5000}": False,
        "": False,
        searching._worker(): True,
    }
    if "@" in name:  # the system tells when a process began
        gone[f"{host}:{parent}@1-x"] = True
    assert {worker: searching._is_gone(worker) for worker in gone} == gone


@pytest.mark.full
def test_a_trial_is_pruned_by_its_epochs_and_not_by_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is pruned in the first epoch below the median, also where its run has gone on, or has ended, by then."""
    import optuna

    before = optuna.create_study(direction="maximize", pruner=optuna.pruners.MedianPruner(5, 1))
    shown = {1: 0.05, 2: 0.5, 3: 0.5, 4: 0.5}
    before.add_trials([optuna.trial.create_trial(value=0.5, intermediate_values=shown) for _ in range(5)])
    epochs = [Epoch(n + 1, 0.0, Validation(score, score, score)) for n, score in enumerate((0.1, 0.3, 0.6, 0.9))]
    for read in ([1, 2, 3, 4], [4], [1, 3]):
        one = TrialRun(optuna.create_study().ask(), tmp_path, Job("a", Program("m")), "mean", before)
        for number in read:
            monkeypatch.setattr(searching, "_epochs", lambda _, number=number: epochs[:number])
            one.look()
        assert (one.is_pruned, list(one.scores)) == (True, [1, 2])
        one.end(JobAnswer(0))
        assert one.value is None


@pytest.mark.full
def test_a_trial_that_fails_costs_itself(
    tiny: Path, tmp_path: Path, in_this_process: type[InThisProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another one is tried in its place, and it says why; where all fail, the search ends with the reason."""
    monkeypatch.setattr(in_this_process, "broken", {"trial-0"})
    found = ew.tune(tiny, SMALL, space=SPACE, trials=2, out=tmp_path / "a", jobs=1, prune=False)
    assert [(trial.state, trial.reason) for trial in found.trials] == [
        ("failed", "it broke"),
        ("complete", ""),
        ("complete", ""),
    ]
    monkeypatch.setattr(in_this_process, "broken", {"trial-0", "trial-1", "trial-2"})
    with pytest.raises(ew.DataError, match="has ended: it broke"):
        ew.tune(tiny, SMALL, space=SPACE, trials=1, out=tmp_path / "b", jobs=1)


def test_spaces_are_read_as_they_are_written() -> None:
    """Lists and ranges become dimensions; values are laid over a recipe; what is no space says how one is written."""
    log, choice, whole = read_space(["a.b=log(1e-4, 1)", "fusion=['x', \"y:z=1\"]", "c.d=int(1,3)"])
    assert (log.kind, log.low, log.high) == ("log", 1e-4, 1.0)
    assert choice.choices == ("x", "y:z=1")
    assert (whole.kind, whole.high) == ("int", 3.0)
    table = laid_over({"fusion": {"name": "w"}, "a": {"b": 1}}, {"fusion": "y:z=1", "a.b": 0.5, "e.f": True})
    assert table == {"fusion": {"name": "y", "z": 1}, "a": {"b": 0.5}, "e": {"f": True}}
    for flags, sentence in (
        (["a"], "KEY=VALUES"),
        (["a=5"], "give a list"),
        (["a=log(0, 1)"], "above 0"),
        (["a=uniform(2, 1)"], "first end is below"),
        (["a=int(-inf, 1)"], "first end is below"),
        (["a=uniform(x, 1)"], "are numbers"),
        (["a=[1]", "a=[2]"], "names a twice"),
        ([], "at least one --space"),
    ):
        with pytest.raises(ew.SettingsError, match=sentence):
            read_space(flags)


def test_wrong_values_are_told_before_any_trial(tiny: Path, tmp_path: Path) -> None:
    """Every choice and end of the space is tried on the recipe first: a wrong one costs no run."""
    with pytest.raises(ew.SettingsError, match="say by --jobs how many trials are on their way"):
        ew.tune(tiny, SMALL, space=SPACE, executor="ray", out=tmp_path / "a")
    for space in (
        ['fusion=["concat","cocnat"]'],
        ["training.epochs=[5,0]"],
        ["training.nothing=[1]"],
        ["model.head_dropout=uniform(0.1,5)"],
        ["training.epochs=int(1,1e30)"],
    ):
        with pytest.raises(ew.SettingsError):
            ew.tune(tiny, SMALL, space=space, trials=2, out=tmp_path / "a")
    assert not (tmp_path / "a").exists()


@pytest.mark.slow
def test_a_killed_search_goes_on_as_a_program(tiny: Path, tmp_path: Path) -> None:
    """In processes, with pruning: Ctrl-C ends with 130, and the same command comes to its end."""
    recipe = ["--set", "training.epochs=6", "--set", 'encoder={name="mean"}']
    words = [
        "tune",
        str(tiny),
        *recipe,
        "--space",
        SPACE[0],
        "--trials",
        "8",
        "--jobs",
        "2",
        "--out",
        str(tmp_path / "a"),
    ]
    program = [sys.executable, "-m", "emotiwave_core.cli", *words]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    first = subprocess.Popen(program, stderr=subprocess.DEVNULL, env=environment)
    end = time.monotonic() + 900
    while time.monotonic() < end and not list((tmp_path / "a").glob("runs/trial-1/history.jsonl")):
        time.sleep(0.05)
    first.send_signal(signal.SIGINT)
    assert first.wait(900) == 130
    done = subprocess.run(
        [*program, "--json"], capture_output=True, text=True, env=environment, timeout=900, check=True
    )
    trials = json.loads(done.stdout)["trials"]
    assert [trial["number"] for trial in trials if trial["state"] in ("complete", "pruned")] == list(range(8))
    assert not list((tmp_path / "a").glob(f"runs/*/{SCORES}"))
