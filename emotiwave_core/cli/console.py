"""Tables on stdout."""

from collections.abc import Iterator

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from emotiwave_core.errors import printable
from emotiwave_core.evaluate.corruptions import find_corruption
from emotiwave_core.runs.protocol_scores import Curve, ProtocolScores
from emotiwave_core.runs.scores import Metrics, Scores

WIDE = 10_000  # characters of a line in a pipe


def tables() -> Console:
    """For tables on stdout: as wide as the terminal; in a pipe as wide as they need, so that nothing is cut."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=WIDE)


def print_table(console: Console, table: Table) -> None:
    """Print a table as wide as its numbers need it: a narrow terminal wraps its lines, and nothing is cut."""
    needed = Measurement.get(console, console.options.update_width(WIDE), table).maximum
    console.print(table, width=max(needed, console.width) if needed > console.width else None, crop=False)


def print_scores(scores: Scores) -> None:
    """Print the table of configurations on stdout; its last lines are what guesses that ignore the input reach."""
    fold = "all folds" if scores.fold == "all" else f"{scores.fold} fold"
    title = f"{scores.dataset}: {fold}, {scores.samples} samples"
    if scores.synthetic and "synthetic" not in title.lower():
        title += " (synthetic)"
    table = Table(title=printable(title), title_justify="left", box=None, pad_edge=False)
    table.add_column("configuration", vertical="bottom")
    headline = scores.judged_by
    beside = headline.beside_name.replace(" ", "\n")
    for name in (headline.name, "95 % interval", "change", "relative", beside):
        table.add_column(name, justify="right", vertical="bottom")
    for name, entry in scores.configurations.items():
        relative, is_complete = entry.relative_drop, name == scores.complete.configuration
        table.add_row(
            Text(printable(name)),
            f"{entry.score:.3f}",
            _interval(entry.interval),
            "" if is_complete else f"{0.0 - entry.absolute_drop:+.3f}",
            "" if is_complete or relative is None else f"{0.0 - relative:+.0%}",
            _cell(entry.metrics, headline.beside),
        )
    table.add_section()
    worst, baselines = scores.worst, scores.constant.named
    table.add_row("mean", f"{scores.mean:.3f}", _interval(scores.mean_interval))
    table.add_row(Text(printable(f"worst ({worst.configuration})")), f"{worst.score:.3f}")
    for guess in baselines:
        table.add_row(guess.name, _cell(guess.metrics, headline.key), "", "", "", _cell(guess.metrics, headline.beside))
    console = tables()
    print_table(console, table)
    for guess in baselines:
        console.print(f"{guess.name}: {guess.meaning}", soft_wrap=True)
    complete = scores.complete.configuration
    for name, metric in scores.plugin_metrics.items():
        value, chance = _number(scores[complete].extra.get(name)), _number(metric.guess)
        told = f"{metric.title}: {value} with {complete}, {chance} for the best guess without the input"
        console.print(Text(printable(told)), soft_wrap=True)
    collapsed = {name: entry.collapsed for name, entry in scores.configurations.items() if entry.collapsed}
    for note in [
        *(f"With {name} {sentence}." for name, sentence in collapsed.items()),
        *scores.notes,
        *_alarms(scores),
    ]:
        console.print(Text(printable(f"Note: {note}")), soft_wrap=True)


def _alarms(scores: Scores) -> Iterator[str]:
    """A sentence on the samples that raise an alarm, and on the score without what raises it, where any does."""
    alarms, complete = scores.alarms, scores.complete.configuration
    raised = {name: one for name, one in alarms.modalities.items() if one.raised} if alarms else {}
    if alarms and raised:
        told = ", ".join(f"{name} in {one.raised} of {one.samples} samples" for name, one in raised.items())
        end = ", and is read as missing" if alarms.on_alarm == "drop" else ""
        if alarms.dropped:
            end = f"; read as missing (--on-alarm drop), {complete} has {alarms.dropped[complete]:.3f}"
        yield f"Unlike what training saw (alarms): {told}{end}."
    pairs = alarms.pairs if alarms else {}
    if told := ", ".join(
        f"{name} in {one.raised} of {one.samples} samples" for name, one in pairs.items() if one.raised
    ):
        yield f"Two that do not fit each other (alarms): {told}."
    yield from (one.sentence(name) for name, one in pairs.items() if one.are_strangers)


def _interval(interval: tuple[float, float] | None) -> str:
    return "–" if interval is None else f"{interval[0]:.3f}–{interval[1]:.3f}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _cell(metrics: Metrics, key: str) -> str:
    """A metric to three decimals, a dash where it is not defined, nothing where it is not known."""
    if key not in metrics:
        return ""
    return _number(metrics[key])


SUMMARIES = {"AUILC": "auilc", "relative": "relative_robustness", "effective": "effective_robustness"}


def print_protocol(scores: ProtocolScores) -> None:
    """Table of a protocol, on stdout: the headline score by level, a column for each curve."""
    curves, corruption = scores.curves, find_corruption(scores.protocol)
    table = Table(box=None, pad_edge=False)
    for name in ("level", *curves):
        table.add_column(Text(printable(name)), justify="right")
    levels = next(iter(curves.values())).levels
    rows = [[_at_level(curve, k, corruption.by_share) for curve in curves.values()] for k in range(len(levels))]
    for level, row in zip(levels, rows, strict=True):
        table.add_row(f"{level:g}", *row)
    for label, key in SUMMARIES.items():
        if key != "effective_robustness" or scores.against is not None:
            table.add_row(label, *(_summary(curve, key) for curve in curves.values()))
    console = Console(highlight=False)
    console.print(Text(printable(_protocol_title(scores))), soft_wrap=True)
    print_table(console, table)
    bracket = "; in brackets the share that was reached" if any("(" in cell for row in rows for cell in row) else ""
    notes = [f"{scores.judged_by.title} of all that remains. Level: {scores.unit}{bracket}."]
    why = f" ({corruption.why_untouched})" if corruption.why_untouched else ""
    for name in (name for name, curve in curves.items() if curve.untouched):
        notes.append(f"In '{name}' nothing is damaged at any level{why}: its scores say nothing about robustness.")
    if scores.against is not None:
        notes.append(f"Effective robustness is against {scores.against.run}, which met the same manifest.")
    for note in notes:
        console.print(Text(printable(note)), soft_wrap=not console.is_terminal)  # in a pipe a note is one line


def _protocol_title(scores: ProtocolScores) -> str:
    """Title of the table of a protocol; that the data are synthetic is said once."""
    fold = "all folds" if scores.fold == "all" else f"{scores.fold} fold"
    title = f"{scores.dataset}: {scores.protocol}, {fold}, {scores.samples} samples, seed {scores.seed}"
    return title + (" (synthetic)" if scores.synthetic and "synthetic" not in title.lower() else "")


def _summary(curve: Curve, key: str) -> str:
    """A number of a curve in which something is corrupted."""
    sign = "+" if key == "effective_robustness" else ""
    return "–" if curve.untouched else f"{getattr(curve, key):{sign}.3f}"


def _at_level(curve: Curve, k: int, by_share: bool) -> str:
    """The score, and in brackets the share that was reached where that is not the level."""
    score, reached, level = curve.score[k], curve.reached[k], curve.levels[k]
    return f"{score:.3f}" if not by_share or abs(reached - level) < 0.02 else f"{score:.3f} ({reached:.2f})"
