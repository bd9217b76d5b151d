"""Comparison of recipes, and the search for one."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emotiwave_core.api.arguments import FilePath, dataset_folder, errors_of_ours, open_registry
from emotiwave_core.monitor import Monitor, monitor_for_here

if TYPE_CHECKING:
    from emotiwave_core.compare.comparison import Comparison
    from emotiwave_core.compare.search import Search
    from emotiwave_core.data.dataset import Dataset


def compare(
    dataset: "Dataset | FilePath",
    recipes: "Mapping[str, str | Mapping[str, Any]]",
    /,
    *,
    out: FilePath,
    seeds: "int | Sequence[int]" = 5,
    folds: str | None = None,
    specialists: Sequence[str] = (),
    baseline: bool = False,
    protocols: Sequence[str] = (),
    jobs: int | None = None,
    executor: str = "local",
    address: str | None = None,
    slurm: Mapping[str, str] | None = None,
    device: str = "auto",
    registry: FilePath | None = None,
    monitor: Monitor | None = None,
) -> "Comparison":
    """Train every recipe with every seed on every fold, and test the differences from the first recipe in pairs.

    recipes: {row: recipe}, each a name, a `.toml` file, `"RECIPE,fusion=mean,training.epochs=5"`, or a table. seeds:
    how many, from 0 up, or which ones. folds: a file of folds in the data set's folder, each of which is tested on
    once. specialists: rows beside which a row of specialists stands, one run for each configuration. baseline: a row
    `linear`, for each configuration a logistic (of numbers a ridge) regression over means and deviations of the
    features. protocols: corruptions, such as "noise", under which the complete configuration of each run is scored
    too. jobs: processes side by side, each with one thread; else one for each GPU, or for each processor that
    there is memory for.
    executor: local, ray or slurm (docs/scaling.md). address: of a Ray cluster to join, auto or HOST:PORT; else one of
    this machine is started. slurm: options of Slurm, such as {"partition": "gpu"}.

    Runs lie in `out`/runs and are of the usual kind. Those that are done are not done again, those that were cut go on.
    A run that fails costs itself: its row says why. `out` gets comparison.json, .html, .tex and figures.
    Errors in a recipe come before any run; DataError where no run of the first row has ended.
    """
    from emotiwave_core.compare.compare import ComparisonPlan
    from emotiwave_core.compare.compare import compare as carried_out
    from emotiwave_core.compare.jobs import Runs
    from emotiwave_core.execute.executor import Execution

    setting = Runs(
        data=dataset_folder(dataset).resolve(),
        out=Path(out),
        registry_file=None if registry is None else Path(registry).resolve(),
        execution=Execution(executor, jobs, device, address, dict(slurm or {})).checked(),
    )
    chosen = tuple(range(seeds)) if isinstance(seeds, int) else tuple(seeds)
    plan = ComparisonPlan(dict(recipes), chosen, folds, tuple(specialists), baseline, tuple(protocols))
    with errors_of_ours():
        return carried_out(plan, setting, open_registry(registry), monitor or monitor_for_here())


def compare_runs(runs: Sequence[FilePath], /, *, out: FilePath, monitor: Monitor | None = None) -> "Comparison":
    """Compare runs that have ended, without training any: those of one recipe are a row, whatever their seed and fold.

    The rows are compared with that of the first run, as in `compare`, and `out` gets the same files. SettingsError for
    runs on other data or of another task; DataError where a run has not ended, or its data are no longer there.
    """
    from emotiwave_core.compare.existing import compare_existing

    with errors_of_ours():
        return compare_existing([Path(run) for run in runs], Path(out), monitor or monitor_for_here())


def tune(
    dataset: "Dataset | FilePath",
    recipe: "str | Mapping[str, Any]" = "default",
    /,
    *,
    space: Sequence[str],
    out: FilePath,
    trials: int = 30,
    seed: int = 0,
    prune: bool = True,
    jobs: int | None = None,
    executor: str = "local",
    address: str | None = None,
    slurm: Mapping[str, str] | None = None,
    device: str = "auto",
    registry: FilePath | None = None,
    monitor: Monitor | None = None,
) -> "Search":
    """Search for the best recipe by its validation score; the test fold is never read.

    space: `"training.learning_rate=log(1e-4,1e-2)"`, `"encoder.hidden_size=[32,64]"`, `"dropout.p=uniform(0,0.5)"`,
    `"encoder.layers=int(1,3)"`, `'fusion=["concat", "gated"]'`. trials: how many in all; a search that was stopped
    goes on, in the same `out`, until there are so many. seed: of the search. prune: stop trials whose validation is
    below the median of others at the same epoch. jobs: trials side by side, for which a search is repeatable; needed
    with an executor other than local. executor, address, slurm: as of `compare`.

    Trials are drawn by optuna (TPE). `out` gets winner.toml, trials.csv, a figure, and the runs: `train(dataset,
    "OUT/winner.toml")` then reads the test fold, once. Errors in recipe and space come before any run.
    """
    from emotiwave_core.compare.jobs import Runs
    from emotiwave_core.compare.space import read_space
    from emotiwave_core.compare.tune import SearchPlan
    from emotiwave_core.compare.tune import tune as searched
    from emotiwave_core.execute.executor import Execution

    known = open_registry(registry)
    table, source = known.recipe_table(recipe) if isinstance(recipe, str) else (dict(recipe), "The recipe")
    setting = Runs(
        data=dataset_folder(dataset).resolve(),
        out=Path(out),
        registry_file=None if registry is None else Path(registry).resolve(),
        execution=Execution(executor, jobs, device, address, dict(slurm or {})),
    )
    with errors_of_ours():
        plan = SearchPlan(table, source, read_space(space), trials, seed, prune)
        return searched(plan, setting, known, monitor or monitor_for_here())
