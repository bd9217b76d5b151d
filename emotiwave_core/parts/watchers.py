"""Calls the plugins that watch a run: one that fails is reported and costs nothing."""

import copy
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pluggy
from numpy.typing import NDArray

from emotiwave_core.errors import EmotiwaveError, PluginError, printable
from emotiwave_core.hookspecs import StopTraining
from emotiwave_core.monitor import SILENT, Monitor
from emotiwave_core.parts.guard import (
    PLUGINS,
    asked_to_end,
    finite_number,
    in_words,
    preserve_global_state,
    shown_value,
)
from emotiwave_core.parts.loading import hook_manager
from emotiwave_core.parts.registry import Registry

MOST_REASON, MOST_NAME = 300, 80  # characters
HOOKS = ("on_epoch_end", "on_run_end", "extra_metrics")


class Watchers:
    """The watchers of a run, by name. Each has a plugin manager of its own, so that one cannot spoil another."""

    def __init__(self, modules: Mapping[str, ModuleType], monitor: Monitor = SILENT) -> None:
        self.monitor = monitor
        self.managers = {name: _manager(name, module) for name, module in modules.items()}

    def epoch_end(self, run: Path, line: dict[str, Any]) -> str | None:
        """Tell all of an epoch; the reason of those that end the training with it, None where none does."""
        stops: list[str] = []
        self._call("on_epoch_end", stops, run=run, line=line)
        return "; ".join(stops) or None

    def run_end(self, run: Path, scores: dict[str, Any]) -> None:
        """Tell all of the end of a run."""
        self._call("on_run_end", run=run, scores=scores)

    def metrics(
        self,
        truth: NDArray[np.int64],
        decided: NDArray[np.int64],
        probabilities: NDArray[np.float64],
        classes: tuple[str, ...],
    ) -> dict[str, float]:
        """Collect the extra metrics of all, as `WATCHER.METRIC`; a number that is not finite is reported instead."""
        scores: dict[str, float] = {}
        answers = self._call(
            "extra_metrics", truth=truth, decided=decided, probabilities=probabilities, classes=classes
        )
        for name, metrics in answers:
            named = dict(metrics) if isinstance(metrics, dict) else {"extra_metrics": metrics}
            for metric, value in named.items():
                if not (isinstance(metric, str) and metric.isprintable() and 0 < len(metric) <= MOST_NAME):
                    told = f"not a text of 1 to {MOST_NAME} characters that can be printed"
                    self.monitor.say(f"The watcher '{name}' calls a metric {shown_value(metric)}, {told}.")
                elif (number := finite_number(value)) is not None:
                    scores[f"{name}.{metric}"] = number
                else:
                    self.monitor.say(
                        f"The watcher '{name}' gives {shown_value(value)} for {metric}, not a finite number."
                    )
        return scores

    def _call(self, hook: str, stops: list[str] | None = None, **arguments: Any) -> list[tuple[str, Any]]:
        """Call a hook of every watcher with copies, and collect the answers; shared state is put back.

        stops: the list in which the reasons of those that end the training are put.
        """
        answers = []
        for name, manager in self.managers.items():
            who = f"The watcher '{name}'"
            try:
                with preserve_global_state(who, f"in {hook}", drawing="anything"):
                    answers += [(name, answer) for answer in getattr(manager.hook, hook)(**copy.deepcopy(arguments))]
            except StopTraining as stop:
                if stops is None:
                    self.monitor.say(f"{who} raises StopTraining in {hook}, where nothing is left to be stopped.")
                else:
                    stops.append(f"{name}: {_reason(stop)}")
            except BaseException as error:  # a watcher may raise anything, and the run goes on
                if asked_to_end(error):
                    raise
                self.monitor.say(f"{who} failed in {hook}: {in_words(error)}")
        return answers


def _reason(stop: StopTraining) -> str:
    """The reason of a stop, on one line."""
    try:
        text = " ".join(printable(str(stop)).split())
    except Exception:  # its message is the watcher's own object
        text = ""
    return text[:MOST_REASON].rstrip(". ") or "it gives no reason"


NOBODY = Watchers({})


def load_watchers(names: Iterable[str], registry: Registry, monitor: Monitor = SILENT) -> Watchers:
    """The watchers of these names. PluginError or SettingsError where one does not load."""
    return Watchers({name: registry.watcher(name) for name in names}, monitor)


def find_watchers(names: Iterable[str], registry: Registry, monitor: Monitor) -> Watchers:
    """The watchers of these names. One that does not load is reported: it costs nothing but itself."""
    modules = {}
    for name in names:
        try:
            modules[name] = registry.watcher(name)
        except EmotiwaveError as error:
            monitor.say(f"Without the watcher '{name}': {error}")
    return Watchers(modules, monitor)


def _manager(name: str, module: ModuleType) -> pluggy.PluginManager:
    PLUGINS.add(module.__name__.partition(".")[0])
    manager = hook_manager()
    try:
        manager.register(module)
        manager.check_pending()
    except Exception as error:
        raise PluginError(f"The hooks of the watcher '{name}' are wrong: {error}") from error
    if not any(manager.subset_hook_caller(hook, []).get_hookimpls() for hook in HOOKS):
        raise PluginError(f"The watcher '{name}' implements none of {', '.join(HOOKS)}; are they marked @hookimpl?")
    return manager
