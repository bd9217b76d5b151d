"""An explanation in the terminal: who decided, in tables, and the moments of a sample, as bars."""

import shlex
from collections.abc import Iterable
from typing import Any

from rich.cells import cell_len
from rich.console import Console as RichConsole
from rich.table import Table
from rich.text import Text

from emotiwave_core.cli.console import tables
from emotiwave_core.errors import printable
from emotiwave_core.runs.explanation import SMALLEST_SCALE

WORTH_A_LOOK = {"right": "most confidently right", "wrong": "most confidently wrong", "changed": "most changed"}
NAMED = {"probability": "probability", "logit": "log-odds"}
GAP = 2  # characters between columns
HALF = 12  # characters of a bar to each side
NAME = 8  # characters that a column of names needs at least; longer ones fold
TOGETHER = (
    "Cooperation: what the group brings beyond the sum of what each brings alone, with nothing else there. "
    "Interaction: the same of a pair, averaged over what else is there; below 0, what one says the other or the rest "
    "already says."
)


def print_fold(about: dict[str, Any], asked: str) -> None:
    """The whole fold, on stdout. `asked` is the command that it answers."""
    score, modalities = about["macro_f1"], about["modalities"]
    console = tables()
    fold = "all folds" if about["fold"] == "all" else f"{about['fold']} fold"
    title = f"Who decided: {fold}, {about['samples']} samples"
    table = _table(title, "modality", "decided", "mean share", "macro-F1", "its share")
    for m in modalities:
        shares = (_percent(about["decided"][m]), _percent(about["share"][m]), _signed(score["shapley"][m]))
        table.add_row(_text(m), *shares, _percent(score["share"][m]))
    console.print(table)
    console.print(
        f"decided: samples in which it adds most to the {NAMED[about['value']]} of the decided class; mean share: of "
        f"all that is added or taken away. macro-F1 goes from {score['empty']:.3f} ({_nothing(about['empty'])}) to "
        f"{score['complete']:.3f} (all modalities).\n"
    )
    if len(modalities) > 1:
        table = _table("Macro-F1 together", "modalities", "interaction", "cooperation")
        for name, together in score["cooperation"].items():
            pair = score["interaction"].get(name)
            table.add_row(_text(name), "" if pair is None else _signed(pair), _signed(together))
        console.print(table)
        console.print(f"{TOGETHER}\n")
    table = _table(f"Mean Shapley value ({NAMED[about['value']]})", "decided for", "samples", *modalities)
    for name, one in about["by_class"].items():
        table.add_row(_text(name), str(one["samples"]), *(_signed(one["shapley"][m]) for m in modalities))
    console.print(table)
    _print_chosen(console, about["chosen"], asked)


def _print_chosen(console: RichConsole, chosen: list[dict[str, Any]], asked: str) -> None:
    """The samples worth a look, and how to look at one."""
    if not chosen:
        return
    console.print()
    for why, words in WORTH_A_LOOK.items():
        for one in (one for one in chosen if one["why"] == why):
            tail = f", without {one['changed_by']}" if one["changed_by"] else ""
            said = f"predicted {one['predicted'] or 'nothing'}, true {one['truth'] or 'nothing'}"
            subject = "" if one["class"] == one["predicted"] else f" for {one['class']}"
            console.print(_text(f"{words}{subject}{tail}: {one['id']}, {said}"), soft_wrap=True)
    console.print(_text(f"Look at one: {asked} --sample {shlex.quote(chosen[0]['id'])}"), soft_wrap=True)


def print_sample(about: dict[str, Any]) -> None:
    """One sample, on stdout."""
    console = tables()
    title = f"{about['id']}, {about['start']:.2f} to {about['end']:.2f} s: predicted {about['predicted'] or 'nothing'}"
    console.print(_text(f"{title}, true {about['truth'] or 'nothing'}"), soft_wrap=True)
    shown = _shown(about)
    console.print()
    modalities, lacking = list(about["shapley"]), [m for m in about["shapley"] if m not in about["present"]]
    room = console.width - 2 * (NAME + GAP)
    columns = list(about["classes"] if _width(about["classes"]) <= room else shown)
    table = _table("Predictions and probabilities", "configuration", *columns, names=("predicted",))
    for name, one in about["configurations"].items():
        there = set(name.split("+")) - set(lacking)
        chances = (f"{one['probabilities'][label]:.3f}" if there else "–" for label in columns)
        table.add_row(_text(_lacking(name, lacking)), _text((there and one["predicted"]) or "–"), *chances)
    console.print(table)
    console.print()
    title = f"Shapley values of the {NAMED[about['value']]}"
    table = _table(title, "class", _nothing(about["empty_coalition"]), *modalities, "all")
    for name, what in shown.items():
        one = about["classes"][name]
        parts = ("absent" if m in lacking else _signed(one["shapley"][m]) for m in modalities)
        table.add_row(_text(f"{name} ({what})"), f"{one['empty']:.3f}", *parts, f"{one['complete']:.3f}")
    shares = ("" if m in lacking else _percent(about["share"][m]) for m in modalities)
    table.add_row(_text(f"share ({about['class']})"), "", *shares, "")
    console.print(table)
    if lacking:
        console.print(_text(f"The sample has no {', '.join(lacking)}."))
    if about["interaction"]:
        console.print()
        table = _table(f"Together ({about['class']})", "modalities", "interaction", "cooperation")
        for name, together in about["cooperation"].items():
            pair = about["interaction"].get(name)
            if len(set(name.split("+")) - set(lacking)) > 1:
                table.add_row(_text(_lacking(name, lacking)), "" if pair is None else _signed(pair), _signed(together))
        console.print(table)
        console.print(TOGETHER)
    _print_moments(console, about)


def _shown(about: dict[str, Any]) -> dict[str, str]:
    """The classes that a person asks about: the one that is explained, others that were predicted, true ones."""
    said = {}
    for name in dict.fromkeys([about["class"], *about["classes"]]):
        what = [word for word in ("predicted", "true") if about["classes"][name][word]]
        if what or name == about["class"]:
            said[name] = " and ".join(what) or "explained"
    return said


def _print_moments(console: RichConsole, about: dict[str, Any]) -> None:
    """A line for every window of every modality: its time, its bar (to the right: for the class), its word."""
    moments = about["moments"]
    largest = max((abs(one["occlusion"]) for some in moments.values() for one in some), default=0.0)
    console.print()
    title = f"Drop of the log-odds of {about['class']} when a stretch is missing"
    console.print(_text(title), style="italic", soft_wrap=True)
    for m, some in moments.items():
        if m not in about["present"]:
            continue
        attended = any(one["attention"] is not None for one in some)
        console.print(_text(f"{m}{' (with the attention on it)' if attended else ''}"), style="bold")
        for one in some:
            line = Text(f"{one['start']:8.2f} – {one['end']:.2f}".ljust(18))
            line.append_text(_bar(one["occlusion"], max(largest, SMALLEST_SCALE)))
            line.append(f" {_signed(one['occlusion'])}")
            line.append("" if one["attention"] is None else f"  {one['attention']:4.0%}")
            line.append(f"  {printable(one['word'])}" if one["word"] else "")
            console.print(line, soft_wrap=True)


def _bar(value: float, largest: float) -> Text:
    """A bar from the middle, to the right above 0 and to the left below."""
    length = round(HALF * abs(value) / largest) if largest > 0 else 0
    if value < 0:
        return Text(f"{'█' * length:>{HALF}}", style="red").append(f"│{'':{HALF}}", style="default")
    return Text(f"{'':{HALF}}│").append(f"{'█' * length:{HALF}}", style="cyan")


def _table(title: str, first: str, *columns: str, names: Iterable[str] = ()) -> Table:
    """A table of numbers after columns of names: where the terminal is narrow the names fold, and nothing is cut."""
    table = Table(title=printable(title), title_justify="left", box=None, pad_edge=False)
    for name in (first, *names):
        table.add_column(_text(name), overflow="fold", min_width=NAME)
    for name in columns:
        table.add_column(_text(name), justify="right", no_wrap=True)
    return table


def _width(classes: Iterable[str]) -> int:
    """Of columns of probabilities."""
    return sum(max(cell_len(name), len("0.000")) + GAP for name in classes)


def _lacking(configuration: str, lacking: list[str]) -> str:
    """The name of a configuration, and what of it the sample lacks."""
    if configuration in lacking:
        return f"{configuration} (absent)"
    absent = [m for m in configuration.split("+") if m in lacking]
    return f"{configuration} (no {', '.join(absent)})" if absent else configuration


def _nothing(empty: str) -> str:
    return {"prior": "prior", "zeros": "nothing"}[empty]


def _signed(value: float | None) -> str:
    """+0.123; never -0.000."""
    return "–" if value is None else f"{round(value, 3) + 0.0:+.3f}"


def _percent(value: float) -> str:
    return f"{value:.0%}"


def _text(text: str) -> Text:
    """Names from data files: no markup, no control characters."""
    return Text(printable(text))
