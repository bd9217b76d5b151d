"""`emotiwave run`."""

import contextlib
import shlex
from pathlib import Path
from typing import Any

import click

from emotiwave_core.cli.common import (
    EXISTING,
    FOLDER,
    SectionedCommand,
    device_option,
    json_option,
    option,
    print_json,
    registry_option,
)
from emotiwave_core.cli.processes import Processes, advice, job, joined

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
@option("--data", type=EXISTING, section="Data", help="The data set's folder. Without it: the synthetic sample.")
@option(
    "--encoder", multiple=True, metavar="[MODALITY=]NAME[:OPTIONS]", section="Parts", help="For all, or one modality."
)
@option("--fusion", metavar="NAME[:OPTIONS]", section="Parts", help="How modalities become one vector.")
@option("--dropout", metavar="NAME[:OPTIONS]", section="Parts", help="Which modalities training takes away.")
@option("--watch", multiple=True, metavar="NAME", section="Parts", help="A plugin that watches, such as tensorboard.")
@option("--set", "settings", multiple=True, metavar="KEY=VALUE", section="Parts", help="Any value of the recipe.")
@device_option
@option(
    "--precision", type=click.Choice(["fp32", "bf16"]), section="Computing", help="Short for --set training.precision."
)
@option("--deterministic", is_flag=True, section="Computing", help="Short for --set computing.deterministic=true.")
@option("--auto-batch", is_flag=True, section="Computing", help="Short for --set computing.auto_batch=true.")
@option("--out", type=FOLDER, section="Result", help="The run's folder.  [default: runs/RECIPE-N]")
@option("--resume", type=EXISTING, section="Result", help="Continue the run in this folder.")
@json_option
@registry_option
def run(
    recipe: str | None,
    data: Path | None,
    encoder: tuple[str, ...],
    fusion: str | None,
    dropout: str | None,
    watch: tuple[str, ...],
    settings: tuple[str, ...],
    device: str,
    precision: str | None,
    deterministic: bool,
    auto_batch: bool,
    out: Path | None,
    resume: Path | None,
    as_json: bool,
    registry_file: Path | None,
) -> None:
    """Train a model, score it on every configuration and write a report.

    RECIPE is a name that `emotiwave recipes` lists, or a recipe's .toml file; flags override it. Under torchrun the
    processes train together (docs/scaling.md).
    """
    from emotiwave_core.config.recipe import Recipe
    from emotiwave_core.parts.registry import load_registry

    with joined(device) as processes:
        registry = load_registry(registry_file)
        if resume is not None:
            if any(
                (recipe, data, encoder, fusion, dropout, watch, settings, precision, deterministic, auto_batch, out)
            ):
                raise click.UsageError("--resume takes everything from the run's folder; give only --device with it.")
            work = lambda engine, runtime: engine.resume(resume, registry, runtime)  # noqa: E731
            return _carry_out(resume, as_json, work, device, processes)
        table, source = recipe_table(recipe or "default", registry)
        for name, given in {"deterministic": deterministic, "auto_batch": auto_batch}.items():
            settings = (*settings, f"computing.{name}=true") if given else settings
        table = override(table, encoder, fusion, dropout, settings, precision)
        if watch:
            table["watch"] = [*table.get("watch", []), *watch]
        chosen = Recipe.from_table(table, source)
        if out is None and processes.group is not None:
            raise click.UsageError("Under torchrun give the run's folder by --out: a restart must find it.")
        folder = data or processes.first(sample_folder)
        out = out or next_folder(chosen.name)
        work = lambda engine, runtime: engine.start(chosen, folder, out, registry, runtime, job())  # noqa: E731
        return _carry_out(out, as_json, work, device, processes)


def _carry_out(out: Path, as_json: bool, work: Any, device: str, processes: Processes) -> None:
    """Run, print the scores, and say how to go on where it is stopped."""
    from emotiwave_core.cli import Terminated
    from emotiwave_core.cli.console import Console, print_scores
    from emotiwave_core.compute.device import find_device
    from emotiwave_core.compute.distributed import SINGLE
    from emotiwave_core.compute.runtime import Runtime
    from emotiwave_core.monitor import SILENT
    from emotiwave_core.parts.stdout import quiet
    from emotiwave_core.runs.folder import RECIPE
    from emotiwave_core.train import run as engine

    console = Console() if processes.speaks else SILENT
    if processes.group is not None and (note := advice()):
        console.say(note)
    try:
        with quiet():
            runtime = Runtime(processes.device or find_device(device), console, processes.group or SINGLE)
            scores = work(engine, runtime)
    except (KeyboardInterrupt, Terminated):
        if (out / RECIPE).exists():
            program = "emotiwave" if processes.group is None else "torchrun … -m emotiwave_core.cli"
            again = f"{program} run --resume {shlex.quote(str(out))}"
            console.say(f"Continue with: {again}")
        raise
    finally:
        with contextlib.suppress(OSError):
            out.rmdir()  # only where nothing has been written
    if not processes.speaks:
        return
    if as_json:
        print_json(scores)
    else:
        print_scores(scores)
    console.say(f"Report: {out / 'report.html'}")


def recipe_table(name: str, registry: Any) -> tuple[dict[str, Any], str]:
    """The table of a recipe by name or file, and how errors call it."""
    from emotiwave_core.config.recipe import read_recipe

    if name.endswith(".toml"):
        if not Path(name).is_file():
            raise click.UsageError(f"There is no recipe file {name}.")
        return read_recipe(Path(name)), name
    return registry.recipe(name), f"The recipe '{name}'"


def override(
    table: dict[str, Any],
    encoder: tuple[str, ...],
    fusion: str | None,
    dropout: str | None,
    settings: tuple[str, ...],
    precision: str | None,
) -> dict[str, Any]:
    """Lay the flags over a recipe's table."""
    from emotiwave_core.config.flags import parse_part, parse_value
    from emotiwave_core.config.recipe import ALL
    from emotiwave_core.errors import short
    from emotiwave_core.io.untrusted import MOST_DEPTH

    if encoder:
        encoders: dict[str, Any] = {}
        for text in encoder:
            modality, equals, part = text.partition("=")
            named = bool(equals) and ":" not in modality
            key = modality.strip() if named else ALL
            if key in encoders:
                which = f"for {short(key)}" if named else "for all other modalities"
                raise click.UsageError(f"--encoder is given twice {which}; one modality's own is --encoder text=NAME.")
            encoders[key] = parse_part(part if named else text)
        table["encoder"] = encoders[ALL] if set(encoders) == {ALL} else encoders
    if fusion:
        table["fusion"] = parse_part(fusion)
    if dropout:
        table["dropout"] = parse_part(dropout)
    for setting in (*settings, *([f"training.precision={precision}"] if precision else [])):
        key, equals, value = setting.partition("=")
        if not equals or not key.strip():
            raise click.UsageError(f"--set takes KEY=VALUE, such as training.epochs=5, not {short(setting)}.")
        *path, last = key.strip().split(".")
        if len(path) > MOST_DEPTH:
            raise click.UsageError(f"--set: there is no value of the recipe by the name {short(key)}.")
        place = table
        for step in path:
            inner = place.get(step, {})
            place[step] = {"name": inner} if isinstance(inner, str) else inner
            if not isinstance(place[step], dict):
                raise click.UsageError(f"--set {short(key)[1:-1]}: {short(step)} is a value, not a table.")
            place = place[step]
        place[last] = parse_value(value.strip())
    return table


def sample_folder() -> Path:
    """The synthetic sample's folder, said on stderr."""
    from emotiwave_core.cli.console import Console
    from emotiwave_core.data.synthetic.sample import cached_sample

    console = Console()
    folder = cached_sample(console)
    console.say(f"No --data: training on the SYNTHETIC sample in {folder}; its scores say nothing about people.")
    return folder


def next_folder(name: str) -> Path:
    """`runs/NAME-1`, or the next number that is free."""
    safe = "".join(c if c.isalnum() or c in "-_" else "-" for c in name)[:40] or "run"
    number = 1
    while True:
        folder = Path("runs") / f"{safe}-{number}"
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            number += 1
