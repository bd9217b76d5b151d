"""The facts of `emotiwave data inspect`, as text."""

from typing import Any

import click

from emotiwave_core.errors import printable


def print_facts(facts: dict[str, Any]) -> None:
    """Print all facts of a folder on stdout."""
    synthetic = " (synthetic)" if facts["synthetic"] else ""
    _line(f"{facts['dataset'] or 'No data set'}{synthetic} in {facts['folder']}")
    if facts["problem"]:
        _line(f"  ! {facts['problem']}")
    for name, file in facts["files"].items():
        _line("")
        _file(name, file)
    _ids(facts["ids"])
    if facts["folds"]:
        _folds(facts["folds"])


def _line(text: str) -> None:
    click.echo(printable(text))


def _file(name: str, file: dict[str, Any]) -> None:
    _line(f"{name}  {file['role'] or 'not used by the data set'}, {file['bytes'] / 1e6:.1f} MB")
    if "error" in file:
        _line(f"  ! {file['error']}")
        return
    steps = file["steps_of_an_id"]
    form = f"{file['width']} columns of {file['kind']}"
    _line(f"  root '{file['root']}', {file['ids']} ids of {file['videos']} videos, {form}")
    rate = f", {file['seconds_of_a_step']:g} s each ({file['hertz']:g} Hz)" if file["hertz"] else ""
    _line(
        f"  {file['steps']} steps; of an id {steps['shortest']} to {steps['longest']}, median {steps['median']:g}{rate}"
    )
    _line(f"  from {file['lowest_start']} s to {file['last_end']} s{_counted(file['intervals'], '; intervals ')}")
    if file["kind"] == "words":
        _line(f"  {file['pauses']} pauses 'sp' ({file['pauses'] / max(file['steps'], 1):.1%})")
    else:
        dirt = f"NaN {_columns(file['nan'])}; infinite {_columns(file['inf'])}"
        _line(f"  {dirt}; ids of zeros only: {file['zero_only_ids']}")
    if "labels" in file:
        _labels(file["labels"])


def _labels(labels: dict[str, Any]) -> None:
    _line(f"  columns {', '.join(labels['columns'])}, from {labels['source']}")
    for note in labels["notes"]:
        _line(f"  ! {note}")
    _line(f"  {labels['rows']} rows, {labels['no_emotion']} without any emotion, {labels['not_finite']} not finite")
    _line(f"  intensities {labels['lowest']:g} to {labels['highest']:g}")
    width = max(map(len, labels["targets"]))
    _line(f"  {'':{width}}  present   strongest (argmax)")
    for name in labels["targets"]:
        _line(f"  {name:{width}}  {labels['present'][name]:7}   {labels['argmax'][name]:7}")


def _ids(ids: dict[str, Any]) -> None:
    if len(ids.get("missing_from", {})) < 2:
        return
    _line(f"\n{ids['any_file']} videos, {ids['all_files']} of them in all files")
    for name, count in ids["missing_from"].items():
        if count:
            examples = ", ".join(ids["examples_missing"][name])
            _line(f"  {count} missing from {name}, such as {examples}")


def _folds(folds: dict[str, Any]) -> None:
    _line(f"\nfolds, from {folds['file']}{', rotation 0' if 'rotation' in folds else ''}")
    if twice := folds.get("in_two_folds"):
        _line(f"  ! {len(twice)} videos are in two folds: {', '.join(twice[:5])}{', …' if len(twice) > 5 else ''}")
    if "error" in folds:
        _line(f"  ! {folds['error']}")
        return
    for fold, count in folds["videos"].items():
        absent = folds["ids_without_labels"][fold]
        tail = (
            f"; {len(absent)} without labels ({', '.join(absent[:3])}{', …' if len(absent) > 3 else ''})"
            if absent
            else ""
        )
        _line(f"  {fold:5} {count} videos, {folds['rows'][fold]} rows{tail}")
    _line(f"  in none: {folds['videos_in_no_fold']} videos, {folds['rows_in_no_fold']} rows; no video is in two folds")


def _columns(counts: dict[str, int]) -> str:
    if not counts:
        return "none"
    shown = ", ".join(f"{name} {count}" for name, count in list(counts.items())[:8])
    return f"{sum(counts.values())} in {len(counts)} columns ({shown}{', …' if len(counts) > 8 else ''})"


def _counted(counts: dict[str, int], before: str) -> str:
    shown = [f"{name}: {count}" for name, count in counts.items() if count]
    return before + ", ".join(shown) if shown else ""
