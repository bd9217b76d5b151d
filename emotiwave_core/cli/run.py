"""`emotiwave run` (Train and score): Train a model, score it on every configuration and write a report."""

import shlex
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from emotiwave_core.cli.common import (
    DATA,
    EXISTING,
    FOLDER,
    SectionedCommand,
    device_option,
    json_option,
    option,
    print_json,
    registry_option,
)
from emotiwave_core.compute.torchrun import Processes, advice, joined
from emotiwave_core.monitor import SILENT, Monitor, TerminalMonitor

if TYPE_CHECKING:
    from emotiwave_core.api import Run

EXAMPLES = """\b
Examples:
  emotiwave run --encoder bilstm --fusion concat
  emotiwave run notebook --data ravdess --out runs/notebook
  emotiwave run --data DIR --encoder bilstm:hidden_size=256 --fusion crossmodal
  emotiwave run --data DIR --encoder text=bilstm:layers=2 --encoder bilstm
  emotiwave run paper --data DIR --set training.epochs=5 --set seed=3
  emotiwave run --resume runs/notebook
"""


@click.command(cls=SectionedCommand, epilog=EXAMPLES)
@click.argument("recipe", required=False)
@option("--data", type=DATA, section="Data", help="The data set's folder or file. Without it: the synthetic sample.")
@option(
    "--encoder", multiple=True, metavar="[MODALITY=]NAME[:OPTIONS]", section="Parts", help="For all, or one modality."
)
@option("--fusion", metavar="NAME[:OPTIONS]", section="Parts", help="How modalities become one vector.")
@option("--dropout", metavar="NAME[:OPTIONS]", section="Parts", help="Which modalities training takes away.")
@option(
    "--augmentation", multiple=True, metavar="NAME[:OPTIONS]", section="Parts", help="How training changes features."
)
@option("--objective", metavar="NAME[:OPTIONS]", section="Parts", help="What is learned of outputs and labels.")
@option("--metric", multiple=True, metavar="NAME[:OPTIONS]", section="Parts", help="A further score of a plugin.")
@option("--watch", multiple=True, metavar="NAME", section="Parts", help="A plugin that watches, such as tensorboard.")
@option("--set", "settings", multiple=True, metavar="KEY=VALUE", section="Parts", help="Any value of the recipe.")
@device_option
@option(
    "--precision", type=click.Choice(["fp32", "bf16"]), section="Computing", help="Short for --set training.precision."
)
@option("--deterministic", is_flag=True, section="Computing", help="Short for --set computing.deterministic=true.")
@option("--auto-batch", is_flag=True, section="Computing", help="Short for --set computing.auto_batch=true.")
@option("--out", type=FOLDER, section="Result", help="The run's folder.  [default: runs/RECIPE-N]")
@option("--no-test", is_flag=True, section="Result", help="End before the test fold is read; --resume reads it.")
@option("--resume", type=EXISTING, section="Result", help="Continue the run in this folder.")
@json_option
@registry_option
def run(
    recipe: str | None,
    data: Path | None,
    encoder: tuple[str, ...],
    fusion: str | None,
    dropout: str | None,
    augmentation: tuple[str, ...],
    objective: str | None,
    metric: tuple[str, ...],
    watch: tuple[str, ...],
    settings: tuple[str, ...],
    device: str,
    precision: str | None,
    deterministic: bool,
    auto_batch: bool,
    out: Path | None,
    no_test: bool,
    resume: Path | None,
    as_json: bool,
    registry_file: Path | None,
) -> None:
    """Train a model, score it on every configuration and write a report.

    RECIPE is a name that `emotiwave recipes` lists, or a recipe's .toml file; flags override it. Under torchrun the
    processes train together (docs/scaling.md).
    """
    from emotiwave_core import api
    from emotiwave_core.config.flags import override
    from emotiwave_core.config.recipe import Recipe
    from emotiwave_core.parts.registry import load_registry
    from emotiwave_core.runs.folder import next_folder

    with joined(device) as processes:
        registry = load_registry(registry_file)
        training: dict[str, Any] = {"device": device, "registry": registry, "processes": processes, "test": not no_test}
        if resume is not None:
            parts = (encoder, fusion, dropout, augmentation, objective, metric, watch)
            if any((recipe, *parts, settings, precision, deterministic, auto_batch, out)):
                raise click.UsageError(
                    "--resume takes everything from the run's folder; give only --device with it, and --data where its "
                    "data have moved."
                )
            go_on = partial(api.resume, resume, dataset=data, **training)
            return _carry_out(resume, as_json, lambda monitor: go_on(monitor=monitor), processes)
        switches = {"deterministic": deterministic, "auto_batch": auto_batch}
        settings += tuple(f"computing.{name}=true" for name, is_on in switches.items() if is_on)
        settings += (f"training.precision={precision}",) if precision else ()
        table, source = registry.recipe_table(recipe or "default")
        chosen: dict[str, Any] = {"encoder": encoder, "fusion": fusion, "dropout": dropout}
        override(table, settings, **chosen, augmentation=augmentation, objective=objective, metric=metric)
        if watch:
            table["watch"] = [*table.get("watch", []), *watch]
        complete_recipe = Recipe.from_table(table, source)
        if out is None and processes.group is not None:
            raise click.UsageError("Under torchrun give the run's folder by --out: a restart must find it.")
        folder = data or processes.first(_sample)
        run_folder = out or next_folder(complete_recipe.name)

        def train(monitor: Monitor) -> api.Run:
            return api.train(folder, complete_recipe, out=run_folder, monitor=monitor, **training)

        return _carry_out(run_folder, as_json, train, processes)


def _carry_out(folder: Path, as_json: bool, work: Callable[[Monitor], "Run"], processes: Processes) -> None:
    """Run, print the scores, and say how to go on where it is stopped."""
    from emotiwave_core.cli import Terminated
    from emotiwave_core.cli.console import print_scores
    from emotiwave_core.parts.stdout import quiet
    from emotiwave_core.runs.folder import RECIPE
    from emotiwave_core.runs.model_file import read_model_file
    from emotiwave_core.runs.scores import SCORES

    console = TerminalMonitor() if processes.speaks else SILENT
    if processes.group is not None and (note := advice()):
        console.say(note)
    try:
        with quiet():
            run = work(console)
    except (KeyboardInterrupt, Terminated):
        if (folder / RECIPE).exists():
            program = "emotiwave" if processes.group is None else "torchrun … -m emotiwave_core.cli"
            console.say(f"Continue with: {program} run --resume {shlex.quote(str(folder))}")
        raise
    if not processes.speaks:
        return
    if not (folder / SCORES).exists():  # --no-test
        best = read_model_file(folder).best
        if as_json:
            print_json({"select": best.select, "validation": best.score, "epoch": best.epoch})
        console.say(
            f"The training has ended: {best.select} validation score {best.score:.3f} in epoch {best.epoch}. The test "
            f"fold is read by: emotiwave run --resume {shlex.quote(str(folder))}"
        )
        return
    scores = run.scores()
    print_json(scores.to_dict()) if as_json else print_scores(scores)
    console.say(f"Report: {folder / 'report.html'}")


def _sample() -> Path:
    """Write the synthetic sample where it is not there yet, say that it is used, and return its folder."""
    from emotiwave_core import api

    console = TerminalMonitor()
    folder = api.load_sample(console).folder
    console.say(f"No --data: training on the SYNTHETIC sample in {folder}; its scores say nothing about people.")
    return folder
