"""`emotiwave explain` (Train and score): Show which modality decided, and at which moments."""

import math
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import get_args

import click
from click.core import ParameterSource
from rich.cells import cell_len
from rich.console import Console as RichConsole
from rich.table import Table
from rich.text import Text

from emotiwave_core.cli.common import (
    DATA,
    EXISTING,
    SectionedCommand,
    device_option,
    json_option,
    option,
    print_json,
    registry_option,
    say,
    strict_option,
)
from emotiwave_core.cli.console import tables
from emotiwave_core.data.folds import FOLDS
from emotiwave_core.errors import SettingsError, printable
from emotiwave_core.explain.coalitions import Empty, Value
from emotiwave_core.runs.explanation import (
    ChosenSample,
    ExplanationFile,
    SampleAttribution,
    SampleDetails,
)

WORTH_A_LOOK = {"right": "most confidently right", "wrong": "most confidently wrong", "changed": "most changed"}
NAMED = {"probability": "probability", "logit": "log-odds", "number": "predicted number"}
NUMBERS_WORTH_A_LOOK = {"right": "closest to the truth", "wrong": "furthest from the truth", "changed": "most changed"}
GAP = 2  # characters between columns
HALF = 12  # characters of a bar to each side
NAME = 8  # characters that a column of names needs at least; longer ones fold
TOGETHER = (
    "Cooperation: what the group brings beyond the sum of what each brings alone, with nothing else there. "
    "Interaction: the same of a pair, averaged over what else is there; below 0, what one says the other or the rest "
    "already says."
)

EXAMPLES = """\b
Examples:
  emotiwave explain runs/default-1
  emotiwave explain runs/default-1 --sample "ID" --picture moments.png
"""


@click.command(cls=SectionedCommand, epilog=EXAMPLES)
@click.argument("run", type=EXISTING)
@option("--sample", section="What", help="One sample by its id, as in predictions.csv.  [default: the whole fold]")
@option(
    "--value",
    type=click.Choice(get_args(Value)),
    section="What",
    help="What is split over the modalities: the probability of a class, or its log-odds; of a regression it is the "
    "number.  [default: probability]",
)
@option(
    "--empty",
    type=click.Choice(get_args(Empty)),
    default="prior",
    show_default=True,
    section="What",
    help="Without any modality: the class frequencies of the training fold as its loss weighs them, or its mean "
    "number, or what the model says of nothing.",
)
@option(
    "--picture", type=click.Path(path_type=Path, dir_okay=False), section="What", help="A PNG of --sample's moments."
)
@option("--data", type=DATA, section="Data", help="Another data set of the same form.  [default: the run's own]")
@option("--fold", type=click.Choice([*FOLDS, "all"]), default="test", show_default=True, section="Data")
@device_option
@strict_option
@json_option
@registry_option
def explain(
    run: Path,
    sample: str | None,
    value: Value | None,
    empty: Empty,
    picture: Path | None,
    data: Path | None,
    fold: str,
    device: str,
    strict: bool,
    as_json: bool,
    registry_file: Path | None,
) -> None:
    """Show which modality decided, and at which moments.

    Over a fold, or for one sample. Shapley values are exact: the model is asked about every combination of
    modalities. They sum to what is explained. Nothing in RUN is changed.
    """
    if picture is not None and sample is None:
        raise click.UsageError("--picture shows the moments of one sample: give its --sample.")
    if picture is not None and picture.suffix.lower() != ".png":
        raise SettingsError(f"--picture writes a PNG: name it {picture.with_suffix('.png')}.")

    from emotiwave_core import api
    from emotiwave_core.io.atomic import out_of_space
    from emotiwave_core.monitor import TerminalMonitor
    from emotiwave_core.parts.stdout import quiet

    if picture is not None:
        with out_of_space(picture.parent):
            picture.parent.mkdir(parents=True, exist_ok=True)  # before the work, so that it is not lost
    with quiet():
        opened = api.open_run(run, device=device, registry=registry_file, monitor=TerminalMonitor(), strict=strict)
        explained = opened.explain(sample, value=value, empty=empty, dataset=data, fold=fold)
    if isinstance(explained, ExplanationFile):
        print_json(explained.to_dict()) if as_json else print_fold(explained, shlex.join(_command(run)))
        return
    if picture is not None:
        from emotiwave_core.report.occlusion import write_picture

        write_picture(picture, explained.sample)
    print_json(explained.to_dict()) if as_json else print_sample(explained)
    if picture is not None and not as_json:
        say(f"Picture: {picture}")


def _command(run: Path) -> list[str]:
    """The words of the command as it was given, to ask again with more."""
    context = click.get_current_context()
    options = (
        (parameter.opts[0], str(context.params[parameter.name]))
        for parameter in context.command.params
        if parameter.name and isinstance(parameter, click.Option)
        if context.get_parameter_source(parameter.name) is ParameterSource.COMMANDLINE
    )
    return ["emotiwave", "explain", str(run), *(word for pair in options for word in pair)]


def print_fold(explanation: ExplanationFile, command: str) -> None:
    """Print the explanation of a fold on stdout. `command` is the one that it answers."""
    score, modalities, headline = explanation.score, explanation.modalities, explanation.judged_by
    console = tables()
    fold = "all folds" if explanation.fold == "all" else f"{explanation.fold} fold"
    title = f"Who decided: {fold}, {explanation.samples} samples"
    table = _table(title, "modality", "decided", "mean share", headline.name, "its share")
    for m in modalities:
        shares = (_percent(explanation.decided[m]), _percent(explanation.share[m]), _signed(score.shapley[m]))
        table.add_row(_text(m), *shares, _percent(score.share[m]))
    console.print(table)
    what = f"adds most to the {NAMED[explanation.value]} of the decided class"
    what = "moves the predicted number most" if explanation.value == "number" else what
    console.print(
        f"decided: samples in which it {what}; mean share: of all that is added or taken away. {headline.name} goes "
        f"from {score.empty:.3f} ({_nothing(explanation.empty)}) to {score.complete:.3f} (all modalities).\n"
    )
    if len(modalities) > 1:
        table = _table(f"{headline.title} together", "modalities", "interaction", "cooperation")
        for name, together in score.cooperation.items():
            pair = score.interaction.get(name)
            table.add_row(_text(name), "" if pair is None else _signed(pair), _signed(together))
        console.print(table)
        console.print(f"{TOGETHER}\n")
    sign = "+" if explanation.value == "number" else ""
    table = (
        _table("Mean absolute Shapley value", "target", "samples", *modalities)
        if explanation.value == "number"
        else _table(f"Mean Shapley value ({NAMED[explanation.value]})", "decided for", "samples", *modalities)
    )
    for name, attribution in explanation.by_class.items():
        values = (_signed(attribution.shapley[m]).removeprefix(sign) for m in modalities)
        table.add_row(_text(name), str(attribution.samples), *values)
    console.print(table)
    _print_chosen(console, explanation.chosen, command)


def _print_chosen(console: RichConsole, chosen: list[ChosenSample], command: str) -> None:
    """The samples worth a look, and how to look at one."""
    if not chosen:
        return
    console.print()
    for why, words in (NUMBERS_WORTH_A_LOOK if chosen[0].headline == "ccc" else WORTH_A_LOOK).items():
        for sample in (sample for sample in chosen if sample.why == why):
            tail = f", without {sample.changed_by}" if sample.changed_by else ""
            decision = f"predicted {sample.predicted or 'nothing'}, true {sample.truth or 'nothing'}"
            says_so = sample.explained == sample.predicted or sample.headline == "ccc"
            subject = "" if says_so else f" for {sample.explained}"
            console.print(_text(f"{words}{subject}{tail}: {sample.id}, {decision}"), soft_wrap=True)
    console.print(_text(f"Look at one: {command} --sample {shlex.quote(chosen[0].id)}"), soft_wrap=True)


def print_sample(details: SampleDetails) -> None:
    """Print one sample on stdout."""
    console, sample = tables(), details.sample
    title = f"{sample.id}, {sample.start:.2f} to {sample.end:.2f} s: predicted {sample.predicted or 'nothing'}"
    console.print(_text(f"{title}, true {sample.truth or 'nothing'}"), soft_wrap=True)
    if sample.confidence is not None:
        console.print(_certainty(sample))
    for name, share in sample.alarms.items():
        told = f"Alarm: its {name} is unlike those of the training, {share:.2f} times the threshold."
        if "+" in name:
            told = f"Alarm: its {name.replace('+', ' and ')} do not fit each other, {share:.2f} times the threshold."
        console.print(_text(told), soft_wrap=True)
    shown = _shown(details)
    console.print()
    modalities, absent = list(sample.shapley), sample.absent
    room = console.width - 2 * (NAME + GAP)
    columns = list(details.classes if _width(details.classes) <= room else shown)
    of_numbers = sample.headline == "ccc"
    title = "Predicted numbers" if of_numbers else "Predictions and probabilities"
    table = _table(title, "configuration", *columns, names=() if of_numbers else ("predicted",))
    for name, answer in details.configurations.items():
        has = set(name.split("+")) - set(absent)
        shares = (f"{answer.answers[label]:.3f}" if has else "–" for label in columns)
        decision = [] if of_numbers else [_text((has and answer.predicted) or "–")]
        table.add_row(_text(_with_absent(name, absent)), *decision, *shares)
    console.print(table)
    console.print()
    title = f"Shapley values of the {NAMED[details.value]}"
    table = _table(title, "target" if of_numbers else "class", _nothing(details.empty_coalition), *modalities, "all")
    for name, role in shown.items():
        values = details.classes[name]
        parts = ("absent" if m in absent else _signed(values.shapley[m]) for m in modalities)
        table.add_row(
            _text(f"{name} ({role})" if role else name), f"{values.empty:.3f}", *parts, f"{values.complete:.3f}"
        )
    shares = ("" if m in absent else _percent(details.share[m]) for m in modalities)
    table.add_row(_text(f"share ({sample.explained})"), "", *shares, "")
    console.print(table)
    if absent:
        console.print(_text(f"The sample has no {', '.join(absent)}."))
    if sample.interaction:
        console.print()
        table = _table(f"Together ({sample.explained})", "modalities", "interaction", "cooperation")
        for name, together in details.cooperation.items():
            pair = sample.interaction.get(name)
            if len(set(name.split("+")) - set(absent)) > 1:
                table.add_row(
                    _text(_with_absent(name, absent)), "" if pair is None else _signed(pair), _signed(together)
                )
        console.print(table)
        console.print(TOGETHER)
    _print_windows(console, sample)


def _certainty(sample: SampleAttribution) -> str:
    """The confidence, and the risk from which on such a decision is made, where the run knows that."""
    told = f"Confidence {sample.confidence:.3f}"
    if sample.risk is None:
        return told
    return f"{told}; decided with --max-risk {math.ceil(sample.risk * 1000) / 1000} or more"


def _shown(details: SampleDetails) -> dict[str, str]:
    """The classes that a person asks about: the one that is explained, others that were predicted, true ones.

    All targets of a regression.
    """
    if details.sample.headline == "ccc":
        return dict.fromkeys(details.classes, "")
    roles = {}
    for name in dict.fromkeys([details.sample.explained, *details.classes]):
        values = details.classes[name]
        words = [word for word, holds in (("predicted", values.predicted), ("true", values.true)) if holds]
        if words or name == details.sample.explained:
            roles[name] = " and ".join(words) or "explained"
    return roles


def _print_windows(console: RichConsole, sample: SampleAttribution) -> None:
    """A line for every window of every stream: its time, its bar (to the right: for the class), its word."""
    largest = max((abs(window.occlusion) for windows in sample.moments.values() for window in windows), default=0.0)
    console.print()
    of = "of the predicted number" if sample.headline == "ccc" else "of the log-odds"
    title = f"Drop {of} of {sample.explained} when a stretch is missing"
    console.print(_text(title), style="italic", soft_wrap=True)
    for m, windows in sample.moments.items():
        if not windows:  # it is absent
            continue
        attended = any(window.attention is not None for window in windows)
        console.print(_text(f"{m}{' (with the attention on it)' if attended else ''}"), style="bold")
        for window in windows:
            line = Text(f"{window.start:8.2f} – {window.end:.2f}".ljust(18))
            line.append_text(_bar(window.occlusion, max(largest, sample.smallest_scale)))
            line.append(f" {_signed(window.occlusion)}")
            line.append("" if window.attention is None else f"  {window.attention:4.0%}")
            line.append(f"  {printable(window.word)}" if window.word else "")
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
    """Characters that columns of probabilities take."""
    return sum(max(cell_len(name), len("0.000")) + GAP for name in classes)


def _with_absent(configuration: str, absent: list[str]) -> str:
    """The name of a configuration, and which of it are absent."""
    if configuration in absent:
        return f"{configuration} (absent)"
    without = [m for m in configuration.split("+") if m in absent]
    return f"{configuration} (no {', '.join(without)})" if without else configuration


def _nothing(empty: str) -> str:
    return {"prior": "prior", "zeros": "nothing"}[empty]


def _signed(value: float | None) -> str:
    """+0.123; never -0.000."""
    return "–" if value is None else f"{round(value, 3) + 0.0:+.3f}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"


def _text(text: str) -> Text:
    """Names from data files: no markup, no control characters."""
    return Text(printable(text))
