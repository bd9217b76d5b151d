"""A search for the best recipe by validation alone: trials are runs that never read the test fold."""

import contextlib
import copy
import importlib.util
import io
import os
import socket
import time
import warnings
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import matplotlib.style
import numpy as np
import tomli_w
from matplotlib.figure import Figure

from emotiwave_core.compare.jobs import MEMORY, Runs, failure, program_of
from emotiwave_core.compare.space import Dimension, laid_over
from emotiwave_core.config.recipe import Recipe
from emotiwave_core.data.corpus import open_corpus
from emotiwave_core.data.facts import CorpusFacts
from emotiwave_core.errors import DataError, EmotiwaveError, PackageNotHere, SettingsError
from emotiwave_core.execute.executor import POLL
from emotiwave_core.execute.local import default_jobs, visible_gpus
from emotiwave_core.execute.process import ProgramProcess
from emotiwave_core.io.atomic import csv_line, out_of_space, write_bytes, write_json, write_text
from emotiwave_core.io.untrusted import read_json
from emotiwave_core.monitor import Monitor
from emotiwave_core.parts.registry import Registry
from emotiwave_core.report.pictures import ACCENT, COLUMN, FORMATS, GREY, INK, STYLE
from emotiwave_core.runs.history import HISTORY, Validation, read_history
from emotiwave_core.runs.model_file import MODEL, read_model_file

WINNER, TABLE, FIGURE, STORAGE, SEARCH = "winner.toml", "trials.csv", "trials", "trials.log", "search.json"
STARTUP = 5  # trials that are never pruned, and drawn at random


@attrs.frozen
class Trial:
    """One trial of a search."""

    number: int
    state: str  # complete, pruned, failed or running
    value: float | None  # the best validation score
    epochs: int
    settings: dict[str, Any]
    reason: str = ""  # of a failure


@attrs.frozen
class Search:
    """A search that has ended: its trials, and the one that won."""

    out: Path
    select: str  # the validation score: mean, complete or a configuration
    trials: list[Trial]
    winner: int
    settings: dict[str, Any]  # of the winner

    @property
    def best(self) -> Trial:
        """The trial that won."""
        return next(trial for trial in self.trials if trial.number == self.winner)

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON can hold it."""
        return {**attrs.asdict(self), "out": str(self.out)}


@attrs.frozen
class SearchPlan:
    """A recipe, the space around it, and how many trials."""

    recipe: dict[str, Any]
    source: str
    space: tuple[Dimension, ...]
    trials: int
    seed: int
    prune: bool = True

    def recipe_with(self, values: Mapping[str, Any], registry: Registry) -> Recipe:
        """The recipe of a trial. SettingsError for a value that it does not take."""
        table = laid_over(copy.deepcopy(self.recipe), values)
        return registry.resolve(Recipe.from_table(table, self.source)).completed()

    def checked(self, registry: Registry) -> Recipe:
        """The recipe of the first values. SettingsError for any value of the space that the recipe does not take."""
        first = {d.key: d.choices[0] if d.choices else _number(d) for d in self.space}
        for dimension in self.space:
            for choice in dimension.choices:
                self.recipe_with({**first, dimension.key: choice}, registry)
        return self.recipe_with(first, registry)


class _Running:
    """A trial whose run is on its way."""

    def __init__(self, trial: Any, folder: Path, process: ProgramProcess, select: str) -> None:
        self.trial, self.folder, self.process, self.select = trial, folder, process, select
        self.told = 0
        self.is_pruned = False

    def look(self, prune: bool) -> None:
        """Tell the study of new epochs, and stop a run that is not worth going on."""
        for epoch in _epochs(self.folder)[self.told :]:
            with contextlib.suppress(ValueError):  # told before, by whoever began it
                self.trial.report(score_of(epoch.valid, self.select), epoch.epoch)
            self.told += 1
            if prune and not self.is_pruned and self.trial.should_prune():
                self.is_pruned = True
                self.process.stop()


def tune(plan: SearchPlan, setting: Runs, registry: Registry, monitor: Monitor) -> Search:
    """Try recipes until there are `plan.trials`; a search that was stopped goes on. The best one is winner.toml.

    SettingsError for a space that the recipe does not have, before any run, or a folder of another search; DataError
    where every trial has failed.
    """
    if importlib.util.find_spec("optuna") is None:
        raise PackageNotHere('Tuning uses optuna, which is not installed: pip install "emotiwave[tune]"')
    first = plan.checked(registry)
    facts = open_corpus(setting.data, first.data, monitor).facts()
    with out_of_space(setting.out):
        setting.out.mkdir(parents=True, exist_ok=True)
    _check_same(plan, setting, facts)
    study = _study(plan, setting.out)
    select = first.training.select
    cut = _cut(study)
    on_gpu = bool(visible_gpus(setting.execution.device))
    side_by_side = setting.execution.jobs or (1 if on_gpu else default_jobs(0, MEMORY, monitor))
    running: list[_Running] = []
    counted = len([trial for trial in study.trials if trial.state.is_finished()])
    ended: Counter[bool] = Counter()  # by whether they failed
    with monitor.jobs("Trials", max(0, plan.trials - counted)) as show:
        try:
            while True:
                while len(running) < side_by_side:
                    begun = _next(study, cut, plan, setting, registry, select)
                    if begun is None:
                        break
                    running.append(begun)
                if not running:
                    break
                for one in list(running):
                    one.look(plan.prune)
                    if one.process.has_ended():
                        running.remove(one)
                        one.look(False)
                        ended[_tell(study, one, monitor)] += 1
                        one.process.end()
                show(ended[False], len(running), ended[True])
                time.sleep(POLL)
        finally:
            for one in running:
                one.process.stop()
            for one in running:
                one.process.end()
    return _ended(study, plan, setting, registry, select)


def score_of(valid: Validation, select: str) -> float:
    """The validation score of an epoch that a recipe chooses by."""
    return valid.mean if select == "mean" else valid.complete if select == "complete" else valid.configurations[select]


def _number(dimension: Dimension) -> float | int:
    return int(dimension.low) if dimension.kind == "int" else dimension.low


def _epochs(run: Path) -> list[Any]:
    try:
        return read_history(run) if (run / HISTORY).exists() else []
    except EmotiwaveError:
        return []  # a line is being written


def _check_same(plan: SearchPlan, setting: Runs, facts: CorpusFacts) -> None:
    """Write what is searched, or compare it. SettingsError where the folder holds another search."""
    own = {
        "data": {"sources": facts.sources, "meaning": facts.meaning, "folds": facts.folds_sha256},
        "recipe": plan.recipe,
        "space": [[d.key, d.kind, list(d.choices), d.low, d.high] for d in plan.space],
        "seed": plan.seed,
    }
    path = setting.out / SEARCH
    if not path.exists():
        write_json(path, own)
        return
    try:
        before = read_json(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be used: {error}; give another --out.") from error
    changed = [key for key, value in own.items() if before.get(key) != value]
    if changed:
        raise SettingsError(
            f"{setting.out} holds another search: its {changed[0]} is not the same; give another --out."
        )


def _study(plan: SearchPlan, out: Path) -> Any:
    import optuna
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        storage = optuna.storages.JournalStorage(JournalFileBackend(str(out / STORAGE)))
        study = optuna.create_study(
            study_name="emotiwave", storage=storage, load_if_exists=True, direction="maximize",
            pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTUP, n_warmup_steps=1),
        )  # fmt: skip
        study.sampler = optuna.samplers.TPESampler(seed=plan.seed + len(study.trials), n_startup_trials=STARTUP)
    return study


def _next(
    study: Any, cut: list[Any], plan: SearchPlan, setting: Runs, registry: Registry, select: str
) -> _Running | None:
    """The next trial, begun: one that was cut on this machine, else a new one; None where there are enough.

    A failed one is replaced, until as many have failed as were asked for.
    """
    import optuna

    if cut:
        trial = optuna.trial.Trial(study, cut.pop(0)._trial_id)
    else:
        failed = sum(trial.state == optuna.trial.TrialState.FAIL for trial in study.trials)
        if len(study.trials) - failed >= plan.trials or failed >= plan.trials:
            return None
        trial = study.ask()
    trial.set_user_attr("worker", f"{socket.gethostname()}:{os.getpid()}")
    values = {dimension.key: dimension.suggest(trial) for dimension in plan.space}
    folder = setting.out / "runs" / f"trial-{trial.number}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    program = program_of(folder, plan.recipe_with(values, registry), setting, "--no-test")
    return _Running(trial, folder, ProgramProcess(program), select)


def _cut(study: Any) -> list[Any]:
    """Trials that a process of this machine, which is no more, has left running."""
    import optuna

    running = study.get_trials(states=(optuna.trial.TrialState.RUNNING,))
    return [trial for trial in running if _is_gone(trial.user_attrs.get("worker", ""))]


def _is_gone(worker: str) -> bool:
    """True where the process that began a trial was on this machine and is no more."""
    host, _, number = worker.rpartition(":")
    if host != socket.gethostname() or not number.isdigit():
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return int(number) == os.getpid()


def _tell(study: Any, one: _Running, monitor: Monitor) -> bool:
    """Tell the study of a trial that has ended. True where it failed."""
    import optuna

    number, folder = one.trial.number, one.folder
    if one.is_pruned:
        study.tell(one.trial, state=optuna.trial.TrialState.PRUNED)
        monitor.say(f"trial {number}: pruned after {one.told} epochs")
    elif (why := failure(one.process.answer())) is None and (folder / MODEL).exists():
        value = read_model_file(folder).best.score
        study.tell(one.trial, value)
        monitor.say(f"trial {number}: {value:.3f}")
    else:
        one.trial.set_user_attr("reason", why or "it left no model")
        study.tell(one.trial, state=optuna.trial.TrialState.FAIL)
        monitor.say(f"trial {number} failed: {why}")
        return True
    return False


def _ended(study: Any, plan: SearchPlan, setting: Runs, registry: Registry, select: str) -> Search:
    import optuna

    states = {
        optuna.trial.TrialState.COMPLETE: "complete",
        optuna.trial.TrialState.PRUNED: "pruned",
        optuna.trial.TrialState.FAIL: "failed",
    }
    trials = [
        Trial(
            number=trial.number,
            state=states.get(trial.state, "running"),
            value=trial.value if trial.value is not None else max(trial.intermediate_values.values(), default=None),
            epochs=len(trial.intermediate_values),
            settings=_values(trial.params, plan.space),
            reason=trial.user_attrs.get("reason", ""),
        )
        for trial in study.trials
    ]
    complete = [trial for trial in trials if trial.state == "complete" and trial.value is not None]
    if not complete:
        why = next((trial.reason for trial in trials if trial.reason), "none has ended")
        raise DataError(f"No trial in {setting.out} has ended: {why}")
    best = max(complete, key=lambda trial: trial.value or 0.0)
    recipe = plan.recipe_with(best.settings, registry)
    write_text(setting.out / WINNER, tomli_w.dumps(recipe.to_table()))
    search = Search(setting.out, select, trials, best.number, best.settings)
    _write_table(search, plan.space)
    _write_figure(search)
    return search


def _values(params: Mapping[str, Any], space: tuple[Dimension, ...]) -> dict[str, Any]:
    """The values of a trial; optuna keeps the place of a choice."""
    known = {dimension.key: dimension for dimension in space}
    return {
        key: known[key].choices[int(value)] if known[key].kind == "choice" else value for key, value in params.items()
    }


def _write_table(search: Search, space: tuple[Dimension, ...]) -> None:
    lines = [["trial", "state", f"validation ({search.select})", "epochs", *(d.key for d in space), "reason"]]
    for trial in search.trials:
        settings = [trial.settings.get(dimension.key, "") for dimension in space]
        value = "" if trial.value is None else repr(trial.value)
        lines.append([str(trial.number), trial.state, value, str(trial.epochs), *map(str, settings), trial.reason])
    write_text(search.out / TABLE, "".join(map(csv_line, lines)))


def _write_figure(search: Search) -> None:
    with matplotlib.style.context(["default", STYLE]), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        figure = drawn(search)
        for suffix, metadata in FORMATS.items():
            picture = io.BytesIO()
            figure.savefig(picture, format=suffix, dpi=300, metadata=metadata)
            figure.set_layout_engine("none")
            write_bytes(search.out / f"{FIGURE}.{suffix}", picture.getvalue())


def drawn(search: Search) -> Figure:
    """The validation score of each trial, pruned ones hollow, and the best so far as a line."""
    figure = Figure(figsize=(COLUMN, 2.2), layout="constrained")
    axes = figure.subplots()
    for state, face in (("complete", ACCENT), ("pruned", "none")):
        own = [trial for trial in search.trials if trial.state == state and trial.value is not None]
        if own:
            axes.scatter(
                [trial.number for trial in own], [trial.value or 0.0 for trial in own], s=12, facecolor=face,
                edgecolor=ACCENT if state == "complete" else GREY, linewidth=0.7, label=state, zorder=3,
            )  # fmt: skip
    done = [trial for trial in search.trials if trial.state == "complete"]
    best = np.maximum.accumulate([trial.value or 0.0 for trial in done])
    axes.step([trial.number for trial in done], best, where="post", color=INK, linewidth=0.9, label="best so far")
    axes.set_xlabel("Trial")
    axes.set_ylabel(f"Validation ({search.select[:30]})")
    axes.legend(fontsize=6.5)
    return figure
