"""`emotiwave data` (Look at data): Inspect and describe a data set, write the synthetic sample, prepare a store."""

from pathlib import Path
from typing import Any

import attrs
import click

from emotiwave_core.cli.common import (
    DATA,
    EXISTING,
    FOLDER,
    SectionedCommand,
    json_option,
    option,
    print_json,
    registry_option,
    say,
)
from emotiwave_core.errors import DataError


@click.group()
def data() -> None:
    """Inspect and describe a data set, write the synthetic sample, prepare a store."""


@data.command(cls=SectionedCommand, epilog="\b\nExample:\n  emotiwave data inspect DIR --json > facts.json")
@click.argument("path", type=DATA)
@json_option
@click.pass_context
def inspect(context: click.Context, path: Path, as_json: bool) -> None:
    """Say what a data set, a file or a folder of files is, and what is missing or wrong.

    Leaves with exit code 3 when a file cannot be read or a folder is no data set.
    """
    from emotiwave_core.data.inspect import inspect_folder
    from emotiwave_core.monitor import TerminalMonitor

    facts = inspect_folder(path, TerminalMonitor())
    if as_json:
        print_json(facts)
    else:
        _print_facts(facts)
    is_used = facts["dataset"] is not None
    is_broken = any(
        ("error" in file or "refused" in file) and (file["role"] or not is_used) for file in facts["files"].values()
    ) or "error" in (facts["folds"] or {})
    if is_broken or (not is_used and path.is_dir()):
        context.exit(DataError.exit_code)


@data.command(epilog="\b\nExample:\n  emotiwave data init DIR")
@click.argument("folder", type=EXISTING)
@click.pass_context
def init(context: click.Context, folder: Path) -> None:
    """Write the dataset.toml of a folder, from the names and the content of its files.

    What they do not tell is said in it, and on stderr with exit code 3. One that is there is never written over.
    """
    from emotiwave_core.data.describe import write_description

    written = write_description(folder)
    say(written.path)
    for sentence in written.unknown:
        say(f"Not known: {sentence.rstrip('.')}.", err=True)
    if written.unknown:
        context.exit(DataError.exit_code)


@data.command(epilog="\b\nExample:\n  emotiwave data sample synthetic")
@click.argument("folder", type=FOLDER)
@option("--words", is_flag=True, help="Its text is words, for encoders that read them, and not vectors of words.")
def sample(folder: Path, words: bool) -> None:
    """Write the synthetic sample data set.

    It has real .csd files, planted emotions and a known best score.
    """
    from emotiwave_core.data.synthetic.sample import write_sample
    from emotiwave_core.errors import SettingsError

    if folder.exists() and any(folder.iterdir()):
        raise SettingsError(f"{folder} is not empty; choose a new folder for the sample.")
    write_sample(folder, words=words)
    say(folder)


@data.command(cls=SectionedCommand, epilog="\b\nExample:\n  emotiwave data prepare DIR --recipe notebook")
@click.argument("folder", metavar="DIR|FILE", type=DATA)
@option("--recipe", default="default", show_default=True, help="Whose data options to use: a name or a .toml file.")
@option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="A value of the recipe, such as data.unit=video.")
@json_option
@registry_option
def prepare(folder: Path, recipe: str, settings: tuple[str, ...], as_json: bool, registry_file: Path | None) -> None:
    """Cut and pack a data set now.

    Runs with the same data options then start at once.
    """
    from emotiwave_core.config.flags import override
    from emotiwave_core.config.recipe import Recipe
    from emotiwave_core.data.corpus import open_corpus
    from emotiwave_core.monitor import TerminalMonitor
    from emotiwave_core.parts.registry import load_registry

    table, source = load_registry(registry_file).recipe_table(recipe)
    chosen = Recipe.from_table(override(table, settings), source)
    corpus = open_corpus(folder, chosen.data, TerminalMonitor())
    facts = corpus.facts()
    if as_json:
        print_json({"store": str(corpus.store.path), **attrs.asdict(facts)})
        return
    say(f"{corpus.store.path}: {facts.samples} samples of {facts.videos} videos of {facts.dataset}")
    say(f"  labels: {facts.label_kind} ({facts.label_kind_source}): {', '.join(facts.targets)}")
    for name, modality in facts.modalities.items():
        say(f"  {modality.sentence(name, facts.samples)}")
        if modality.nan or modality.inf:
            say(f"  {name}: {modality.nan} NaN and {modality.inf} infinite values replaced by 0, times kept")
    for reason, count in facts.left_out.items():
        if count:
            say(f"  left out, {reason}: {count}")
    for warning in facts.warnings:
        say(f"  WARNING: {warning}")
    for note in facts.notes:
        say(f"  {note}")


@data.command(cls=SectionedCommand, epilog="\b\nExample:\n  emotiwave data convert mosei.pkl --to csd --out mosei")
@click.argument("data_set", metavar="DIR|FILE", type=DATA)
@option("--to", "form", type=click.Choice(["csd"]), default="csd", show_default=True, help="The format.")
@option("--out", type=FOLDER, required=True, help="A new folder for the files.")
def convert(data_set: Path, form: str, out: Path) -> None:
    """Write a data set anew as .csd files.

    Features, times, labels, words, groups and folds are taken along, and a dataset.toml names them.
    """
    from emotiwave_core.data.dataset import load_dataset
    from emotiwave_core.data.written import convert as write
    from emotiwave_core.monitor import TerminalMonitor

    monitor = TerminalMonitor()
    for note in write(load_dataset(data_set, labelled=False), out, monitor):
        monitor.say(f"Note: {note}")
    say(out)


def _print_facts(facts: dict[str, Any]) -> None:
    """Print all facts of a folder on stdout."""
    synthetic = " (synthetic)" if facts["synthetic"] else ""
    say(f"{facts['dataset'] or 'No data set'}{synthetic} in {facts['folder']}")
    for note in facts["notes"]:
        say(f"  {note}")
    if facts["problem"]:
        say(f"  ! {facts['problem']}")
    for name, file in facts["files"].items():
        say("")
        _print_file(name, file)
    _print_ids(facts["ids"])
    if facts["folds"]:
        _print_folds(facts["folds"])


def _print_file(name: str, file: dict[str, Any]) -> None:
    say(f"{name}  {file['role'] or 'not used by the data set'}, {file['bytes'] / 1e6:.1f} MB")
    if "error" in file:
        say(f"  ! {file['error']}")
        return
    steps = file["steps_of_an_id"]
    form = f"{file['width']} columns of {file['kind']}"
    say(f"  {file['format']}, root '{file['root']}', {file['ids']} ids of {file['videos']} videos, {form}")
    if maker := file["extractor"]:
        weights = maker.get("sha256", {}).get("weights", "")[:16] if isinstance(maker.get("sha256"), dict) else ""
        say(f"  made by {maker.get('name', maker)} {maker.get('model', '')} {weights}".rstrip())
    for note in file["notes"]:
        say(f"  {note}")
    if "refused" in file:
        say(f"  ! {file['refused']}")
    else:
        for key, reason in list(file["unfit"].items())[:5]:
            say(f"  ! {key}: {reason}")
    has_rate = file["hertz"] and file["has_times"]
    rate = f", {file['seconds_of_a_step']:g} s each ({file['hertz']:g} Hz)" if has_rate else ""
    say(
        f"  {file['steps']} steps; of an id {steps['shortest']} to {steps['longest']}, median {steps['median']:g}{rate}"
    )
    if not file["has_times"]:
        say("  no times: each id is a sample whole, or `rate` in dataset.toml tells the steps a second")
    else:
        say(f"  from {file['lowest_start']} s to {file['last_end']} s{_nonzero(file['intervals'], '; intervals ')}")
    if file["kind"] == "words":
        say(f"  {file['pauses']} pauses 'sp' ({file['pauses'] / max(file['steps'], 1):.1%})")
    else:
        dirt = f"NaN {_by_column(file['nan'])}; infinite {_by_column(file['inf'])}"
        say(f"  {dirt}; ids of zeros only: {file['zero_only_ids']}")
    if "labels" in file:
        _print_labels(file["labels"])


def _print_labels(labels: dict[str, Any]) -> None:
    say(f"  columns {', '.join(labels['columns'])}, from {labels['source']}")
    for note in labels["notes"]:
        say(f"  ! {note}")
    kind, width = labels["kind"], max(map(len, labels["targets"]))
    say(f"  {kind}: {labels['kind_source']}; {labels['lowest']:g} to {labels['highest']:g}")
    lacking = "" if kind == "regression" else f", {labels['no_emotion']} without any emotion"
    say(f"  {labels['rows']} rows{lacking}, {labels['not_finite']} not finite")
    heads = {"regression": "mean", "intensities": "present   strongest (argmax)"}
    say(f"  {'':{width}}  {heads.get(kind, 'rows')}")
    for name in labels["targets"]:
        count, strongest, mean = labels["present"][name], labels["argmax"][name], labels["mean"][name]
        shown = {"regression": f"{mean or 0.0:7.3f}", "intensities": f"{count:7}   {strongest:7}"}
        say(f"  {name:{width}}  {shown.get(kind, f'{count:7}')}")


def _print_ids(ids: dict[str, Any]) -> None:
    if len(ids.get("missing_from", {})) < 2:
        return
    say(f"\n{ids['any_file']} videos, {ids['all_files']} of them in all files")
    for name, count in ids["missing_from"].items():
        if count:
            examples = ", ".join(ids["examples_missing"][name])
            say(f"  {count} missing from {name}, such as {examples}")


def _print_folds(folds: dict[str, Any]) -> None:
    say(f"\nfolds, from {folds['file']}{', rotation 0' if 'rotation' in folds else ''}")
    if twice := folds.get("in_two_folds"):
        say(f"  ! {len(twice)} videos are in two folds: {', '.join(twice[:5])}{', …' if len(twice) > 5 else ''}")
    if "error" in folds:
        say(f"  ! {folds['error']}")
        return
    for fold, count in folds["videos"].items():
        absent = folds["ids_without_labels"][fold]
        tail = (
            f"; {len(absent)} without labels ({', '.join(absent[:3])}{', …' if len(absent) > 3 else ''})"
            if absent
            else ""
        )
        say(f"  {fold:5} {count} videos, {folds['rows'][fold]} rows{tail}")
    say(f"  in none: {folds['videos_in_no_fold']} videos, {folds['rows_in_no_fold']} rows; no video is in two folds")


def _by_column(counts: dict[str, int]) -> str:
    if not counts:
        return "none"
    shown = ", ".join(f"{name} {count}" for name, count in list(counts.items())[:8])
    return f"{sum(counts.values())} in {len(counts)} columns ({shown}{', …' if len(counts) > 8 else ''})"


def _nonzero(counts: dict[str, int], before: str) -> str:
    shown = [f"{name}: {count}" for name, count in counts.items() if count]
    return before + ", ".join(shown) if shown else ""
