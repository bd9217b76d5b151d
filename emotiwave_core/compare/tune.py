"""A search for the best recipe by validation alone: trials are runs that never read the test fold.

N trials are on their way at a time. They are told to the study in the order in which they were drawn, whichever ends
first, and trial k is drawn, and pruned, by what trials 0 to k−N came to. So a search is repeatable for its N.
"""

import contextlib
import copy
import importlib.util
import math
import os
import re
import socket
import warnings
from collections import Counter, deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import tomli_w

from emotiwave_core.compare.jobs import MEMORY, Runs, failure, holds_run_of, needs_of, program_of
from emotiwave_core.compare.search import Search, Trial, write_search
from emotiwave_core.compare.space import Dimension, laid_over
from emotiwave_core.config.recipe import Recipe
from emotiwave_core.data.corpus import open_corpus
from emotiwave_core.data.facts import CorpusFacts
from emotiwave_core.errors import DataError, EmotiwaveError, PackageNotHere, SettingsError, counted
from emotiwave_core.execute.executor import Execution, JobRunner, opened
from emotiwave_core.execute.job import Job, JobAnswer, Program
from emotiwave_core.execute.local import default_jobs, visible_gpus
from emotiwave_core.io.atomic import out_of_space, write_json, write_text
from emotiwave_core.io.untrusted import open_file, read_json, why
from emotiwave_core.monitor import Monitor
from emotiwave_core.parts.guard import in_words
from emotiwave_core.parts.registry import Registry
from emotiwave_core.runs.history import HISTORY, Epoch, Validation, read_history
from emotiwave_core.runs.model_file import read_model_file

WINNER, STORAGE, SEARCH = "winner.toml", "trials.log", "search.json"
NUMBER = re.compile(r"[0-9]{1,9}")  # of a process
STARTUP = 5  # trials that are never pruned, and drawn at random


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
        """The recipe of the first values.

        SettingsError for a choice, or an end of a range, that the recipe does not take beside the first values.
        """
        first = {dimension.key: dimension.ends[0] for dimension in self.space}
        recipe = self.recipe_with(first, registry)
        for dimension in self.space:
            for value in dimension.ends[1:]:
                self.recipe_with({**first, dimension.key: value}, registry)
        return recipe


@attrs.define(eq=False)
class TrialRun:
    """A trial from being drawn to being told: its run, and what it has come to."""

    trial: Any  # of optuna
    folder: Path
    job: Job
    select: str
    before: Any  # the study as the trial is pruned by it; None where it is not pruned
    scores: dict[int, float] = attrs.field(factory=dict)  # of validation by epoch, as they were reported
    judged: int = 0  # epochs after which it was asked whether it goes on
    is_pruned: bool = False
    value: float | None = None  # of a run that has ended
    reason: str | None = None  # of one that failed

    @property
    def is_over(self) -> bool:
        """True once it is known what the trial comes to."""
        return self.is_pruned or self.value is not None or self.reason is not None

    def look(self) -> None:
        """Report the new epochs of the run, up to the one in which it is pruned."""
        if self.is_over:
            return
        for epoch in _epochs(self.folder)[self.judged :]:
            self.judged += 1
            if epoch.epoch not in self.scores:
                self.scores[epoch.epoch] = score_of(epoch.valid, self.select)
                self.trial.report(self.scores[epoch.epoch], epoch.epoch)
            if self.before is not None and _is_worse(self.before, self.scores, epoch.epoch):
                self.is_pruned = True
                return

    def end(self, answer: JobAnswer) -> None:
        """Note what the run has come to. It is kept at once, so that no trial that waits to be told runs again."""
        self.look()
        if self.is_over:
            return
        self.reason = failure(answer)
        if self.reason is None:
            try:
                self.value = read_model_file(self.folder).best.score
            except EmotiwaveError as error:
                self.reason = str(error)
        self.trial.set_user_attr("outcome", {"value": self.value, "reason": self.reason})

    def take_up(self, cut: Any) -> None:
        """Go on with a trial of a search that was stopped, as the study has it."""
        self.scores = dict(cut.intermediate_values)
        outcome = cut.user_attrs.get("outcome", {})
        self.value, self.reason = outcome.get("value"), outcome.get("reason", self.reason)
        self.look()

    def tell(self, study: Any, monitor: Monitor) -> bool:
        """Tell the study, and say, what the trial has come to. True where it failed."""
        import optuna

        number = self.trial.number
        if self.is_pruned:
            study.tell(self.trial, state=optuna.trial.TrialState.PRUNED)
            monitor.say(f"trial {number}: pruned after {counted(len(self.scores), 'epoch')}")
        elif self.reason is None:
            study.tell(self.trial, self.value)
            monitor.say(f"trial {number}: {self.value:.3f}")
        else:
            self.trial.set_user_attr("reason", self.reason)
            study.tell(self.trial, state=optuna.trial.TrialState.FAIL)
            monitor.say(f"trial {number} failed: {self.reason}")
        return self.reason is not None


def tune(plan: SearchPlan, setting: Runs, registry: Registry, monitor: Monitor) -> Search:
    """Try recipes until there are `plan.trials`; a search that was stopped goes on. The best one is winner.toml.

    SettingsError for a space that the recipe does not have, before any run, or a folder of another search; DataError
    where every trial has failed.
    """
    if importlib.util.find_spec("optuna") is None:
        raise PackageNotHere('Tuning uses optuna, which is not installed: pip install "emotiwave[tune]"')
    execution = setting.execution.checked()
    first = plan.checked(registry)
    side_by_side = _side_by_side(execution, monitor)
    facts = open_corpus(setting.data, first.data, monitor).facts()
    with out_of_space(setting.out):
        setting.out.mkdir(parents=True, exist_ok=True)
    _check_same(plan, setting, facts)
    study = _study(setting.out, plan.space)
    drawing = Drawing(study, plan, setting, registry, first.training.select, side_by_side, _cut(study))
    _carry_out(drawing, attrs.evolve(execution, jobs=side_by_side), monitor)
    return _ended(study, plan, setting, registry, first.training.select)


def score_of(valid: Validation, select: str) -> float:
    """The validation score of an epoch that a recipe chooses by."""
    return valid.mean if select == "mean" else valid.complete if select == "complete" else valid.configurations[select]


@attrs.frozen
class Drawing:
    """All that the next trial is drawn from."""

    study: Any
    plan: SearchPlan
    setting: Runs
    registry: Registry
    select: str
    side_by_side: int
    cut: list[Any]  # trials of optuna that were stopped on this machine, and are taken up first

    def next(self) -> TrialRun | None:
        """The next trial; None where there are enough.

        A failed one is replaced, until as many have failed as were asked for.
        """
        import optuna

        cut = self.cut.pop(0) if self.cut else None
        if cut is not None:
            trial = optuna.trial.Trial(self.study, cut._trial_id)
            trial.set_user_attr("worker", _worker())
        else:
            states = [trial.state for trial in self.study.get_trials(deepcopy=False)]
            failed = states.count(optuna.trial.TrialState.FAIL)
            if len(states) - failed >= self.plan.trials or failed >= self.plan.trials:
                return None
            trial = _drawn(self.study)
        values = {}
        for place, dimension in enumerate(self.plan.space):
            self.study.sampler = _sampler(self.plan.seed, trial.number, place)
            values[dimension.key] = dimension.suggest(trial)
        folder = self.setting.out / "runs" / f"trial-{trial.number}"
        program, reason = self._program(folder, values)
        job = Job(folder.name, program, retries=1)
        run = TrialRun(trial, folder, job, self.select, self._before(trial.number) if self.plan.prune else None)
        run.reason = reason
        if cut is not None:
            run.take_up(cut)
        return run

    def _program(self, folder: Path, values: Mapping[str, Any]) -> tuple[Program, str | None]:
        """The program of a trial, and the reason why values that are right one by one are none together.

        SettingsError where its folder holds the run of another recipe, which would count as this one's.
        """
        try:
            recipe, reason = self.plan.recipe_with(values, self.registry), None
        except SettingsError as error:
            recipe, reason = self.plan.checked(self.registry), str(error)
        training = attrs.evolve(recipe.training, refit=False)  # it comes after the score that a trial is chosen by
        recipe = attrs.evolve(recipe, training=training)
        if reason is None:
            holds_run_of(folder, recipe)
        with out_of_space(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
        return program_of(folder, recipe, self.setting, "--no-test"), reason

    def _before(self, number: int) -> Any:
        """A study of the trials that a trial may be compared with, whichever others have ended by then."""
        import optuna

        states = (optuna.trial.TrialState.COMPLETE,)
        told = self.study.get_trials(deepcopy=False, states=states)
        before = optuna.create_study(
            direction="maximize", pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTUP, n_warmup_steps=1)
        )
        before.add_trials([trial for trial in told if trial.number <= number - self.side_by_side])
        return before


def _carry_out(drawing: Drawing, execution: Execution, monitor: Monitor) -> None:
    """Draw trials and tell them, until there are enough.

    KeyboardInterrupt, passed on, lets the processes keep the step that they are in.
    """
    setting, study = drawing.setting, drawing.study
    before = len([trial for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()])
    trials: deque[TrialRun] = deque()  # drawn and not told, in their order
    told: Counter[bool] = Counter()  # by whether they failed
    with (
        opened(execution, setting.out, needs_of(setting), MEMORY, drawing.plan.trials, monitor) as executor,
        monitor.jobs("Trials", max(0, drawing.plan.trials - before)) as show,
    ):
        runner = JobRunner(executor, monitor)
        while True:
            while len(trials) < drawing.side_by_side and (drawn := drawing.next()) is not None:
                trials.append(drawn)
                if not drawn.is_over:
                    executor.submit([drawn.job])
            if not trials:
                return
            if trials[0].is_over:
                told[trials.popleft().tell(study, monitor)] += 1
                continue  # the next one is drawn by what is told so far, and no more
            by_name = {one.job.name: one for one in trials}
            for job, answer in runner.settled():
                if job.name in by_name:  # else it was pruned
                    by_name[job.name].end(answer)
            for one in trials:
                if not one.is_over:
                    one.look()
                    if one.is_pruned:
                        runner.stop(one.job)
            show(told[False], executor.running, told[True])


def _side_by_side(execution: Execution, monitor: Monitor) -> int:
    """The number of trials on their way at a time. SettingsError where an engine does not say and nobody else does."""
    if execution.jobs is None and execution.executor != "local":
        raise SettingsError(
            f"--executor {execution.executor}: say by --jobs how many trials are on their way at a time, for each is "
            "drawn from those that were told before."
        )
    return execution.jobs or default_jobs(len(visible_gpus(execution.device)), MEMORY, monitor)


def _epochs(run: Path) -> list[Epoch]:
    try:
        return read_history(run) if (run / HISTORY).exists() else []
    except EmotiwaveError:
        return []  # a line is being written


def _is_worse(before: Any, scores: Mapping[int, float], epoch: int) -> bool:
    """True where the best score up to an epoch is below the median of others there."""
    import optuna

    seen = {number: score for number, score in scores.items() if number <= epoch}
    trial = optuna.trial.create_trial(state=optuna.trial.TrialState.RUNNING, intermediate_values=seen)
    return bool(before.pruner.prune(before, trial))


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
        if not isinstance(before, dict):
            raise ValueError("it is no JSON object")
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be used: {why(error)}; give another --out.") from error
    changed = [key for key, value in own.items() if before.get(key) != value]
    if changed:
        raise SettingsError(
            f"{setting.out} holds another search: its {changed[0]} is not the same; give another --out."
        )


def _study(out: Path, space: tuple[Dimension, ...]) -> Any:
    """The study in the folder, begun or gone on with. DataError where its journal is damaged, or not of this space."""
    import optuna
    from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

    class Backend(JournalFileBackend):
        """A journal that may meet a full disk."""

        def append_logs(self, logs: list[dict[str, Any]]) -> None:
            """Write lines. ResourceError where there is no room."""
            with out_of_space(journal):
                super().append_logs(logs)

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    journal = out / STORAGE
    lock = JournalFileSymlinkLock(str(journal))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            _cut_torn_line(journal, lock)
            storage = optuna.storages.JournalStorage(Backend(str(journal), lock_obj=lock))
            study = optuna.create_study(
                study_name="emotiwave", storage=storage, load_if_exists=True, direction="maximize"
            )
            wrong = _wrong(study, space)
        except (OSError, ValueError, LookupError, TypeError, AttributeError, AssertionError, RecursionError) as error:
            raise DataError(f"{journal} cannot be used: {in_words(error)}; give another --out.") from error
    if wrong:
        raise DataError(f"{journal} cannot be used: {wrong}; give another --out.")
    return study


def _wrong(study: Any, space: tuple[Dimension, ...]) -> str:
    """The first thing in a study that a search of this space does not write; empty where there is none.

    An error of optuna's, or of Python, for what no study holds.
    """
    import optuna

    if study.directions != [optuna.study.StudyDirection.MAXIMIZE]:
        return "it does not look for the highest score"
    known = {dimension.key: dimension.distribution for dimension in space}
    for trial in study.get_trials(deepcopy=False):
        trial._validate()
        own, noted, outcome = trial.distributions, trial.user_attrs, trial.user_attrs.get("outcome", {})
        scores = [*(trial.values or []), *trial.intermediate_values.values()]
        scores += [] if outcome.get("value") is None else [outcome["value"]]
        said = [noted.get("worker", ""), noted.get("reason", ""), outcome.get("reason") or ""]
        is_whole = own == known or trial.state != optuna.trial.TrialState.COMPLETE
        if not is_whole or any(known.get(key) != distribution for key, distribution in own.items()):
            return f"its trial {trial.number} is of another space"
        if len(trial.values or []) > 1 or not all(type(score) is float and math.isfinite(score) for score in scores):
            return f"its trial {trial.number} has a score that is none"
        if not all(isinstance(text, str) for text in said):
            return f"its trial {trial.number} has something that is no text where a text is due"
    return ""


def _cut_torn_line(journal: Path, lock: Any) -> None:
    """Cut the last line of a journal where a kill or a full disk has torn it: optuna would write the next one onto it.

    ValueError where the journal is no file.
    """
    if not os.path.lexists(journal):
        return
    with open_file(journal):
        pass
    lock.acquire()  # against others that write
    try:
        with journal.open("r+b") as file:
            content = file.read()
            if not content.endswith(b"\n"):
                file.truncate(content.rfind(b"\n") + 1)
    finally:
        lock.release()


def _sampler(seed: int, number: int, place: int) -> Any:
    """The sampler of one value of a trial: a search that was stopped, even between two, draws what it would have."""
    import optuna

    own = int(np.random.SeedSequence([seed, number, place]).generate_state(1)[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return optuna.samplers.TPESampler(seed=own, n_startup_trials=STARTUP, constant_liar=True)


def _drawn(study: Any) -> Any:
    """A new trial, which has its worker from its first line on: a kill leaves none that nobody takes up."""
    import optuna

    running = optuna.trial.create_trial(state=optuna.trial.TrialState.RUNNING, user_attrs={"worker": _worker()})
    return optuna.trial.Trial(study, study._storage.create_new_trial(study._study_id, template_trial=running))


def _cut(study: Any) -> list[Any]:
    """Trials that a process of this machine, which is no more, has left running."""
    import optuna

    running = study.get_trials(states=(optuna.trial.TrialState.RUNNING,))
    return [trial for trial in running if _is_gone(trial.user_attrs.get("worker", ""))]


def _worker() -> str:
    return f"{socket.gethostname()}:{_process(os.getpid())}"


def _is_gone(worker: str) -> bool:
    """True where the process that began a trial was on this machine and is no more."""
    host, _, process = worker.rpartition(":")
    number, began, _ = process.partition("@")
    if host != socket.gethostname() or not NUMBER.fullmatch(number):
        return False
    now = _process(int(number))
    return not now or int(number) == os.getpid() or bool(began and now != process)


def _process(number: int) -> str:
    """A process by its number and its beginning, where the system tells it: the number alone is given to later ones.

    Empty where it is no more.
    """
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass
    with contextlib.suppress(OSError, ValueError, IndexError):
        state, *told = Path(f"/proc/{number}/stat").read_text(errors="replace").rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return "" if state == "Z" else f"{number}@{told[18]}-{boot}"
    return str(number)


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
    write_search(search, plan.space)
    return search


def _values(params: Mapping[str, Any], space: tuple[Dimension, ...]) -> dict[str, Any]:
    """The values of a trial; optuna keeps the place of a choice."""
    known = {dimension.key: dimension for dimension in space}
    return {
        key: known[key].choices[int(value)] if known[key].kind == "choice" else value for key, value in params.items()
    }
