"""A comparison for people: a page, figures of a column's width, and a table for LaTeX."""

import base64
import io
import re
import warnings
from pathlib import Path

import matplotlib.style
import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from emotiwave_core.compare.comparison import ComparedRow, Comparison, Difference
from emotiwave_core.compare.rows import MEAN, Cell
from emotiwave_core.errors import counted
from emotiwave_core.io.atomic import write_bytes, write_json, write_text
from emotiwave_core.report.page import environment
from emotiwave_core.report.pictures import COLUMN, FORMATS, GREY, INK, LINES, STYLE
from emotiwave_core.version import __version__

JSON, PAGE, TEX, FIGURE = "comparison.json", "comparison.html", "comparison.tex", "comparison"
LONG_NAME = 18  # characters, more than half of a legend holds
NAMES = {"macro_f1": "macro-F1", "ccc": "CCC"}
LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_", "%": r"\%",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
}  # fmt: skip


def write_comparison(out: Path, result: Comparison) -> None:
    """Write comparison.json, .html and .tex, and the figure as PNG, PDF and SVG. ResourceError for a full disk."""
    write_json(out / JSON, result.to_dict())
    write_text(out / TEX, latex(result))
    with matplotlib.style.context(["default", STYLE]), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a name without a glyph
        drawing = figure(result)
        pictures = {}
        for suffix, metadata in FORMATS.items():
            picture = io.BytesIO()
            drawing.savefig(picture, format=suffix, dpi=300, metadata=metadata)
            drawing.set_layout_engine("none")
            pictures[suffix] = picture.getvalue()
            write_bytes(out / f"{FIGURE}.{suffix}", pictures[suffix])
    write_text(out / PAGE, page(result, pictures["svg"]))


def columns(result: Comparison) -> list[str]:
    """The configurations, and their mean where there are several."""
    return [*result.configurations, *([MEAN] if len(result.configurations) > 1 else [])]


def best_rows(result: Comparison) -> dict[str, str]:
    """The row with the highest score in each column."""
    return {name: max(result.rows, key=lambda row: row.scores[name].mean).name for name in columns(result)}


def page(result: Comparison, drawing: bytes) -> str:
    """One self-contained page, which loads nothing and runs no script."""
    template = environment().get_template("comparison.html.j2")
    return template.render(
        result=result,
        headline=NAMES[result.headline],
        columns=columns(result),
        best=best_rows(result),
        drawing=base64.b64encode(drawing).decode(),
        breakable=breakable,
        counted=counted,
        number=number,
        signed=lambda value: f"{value:+.3f}",
        probability=probability,
        verdict=verdict(result),
        version=__version__,
    )


def breakable(name: str) -> Markup:
    """A name in HTML, in which a line may break after punctuation and nowhere within a word."""
    return Markup("<wbr>").join(re.split(r"(?<=[.,+_-])", name))


def verdict(result: Comparison) -> str:
    """One sentence on what can be concluded."""
    column, first = columns(result)[-1], result.rows[0]
    sure = [row for row in result.rows[1:] if row.differences[column].is_significant]
    what = "the mean over all configurations" if column == MEAN else column
    if len(result.rows) == 1:
        return f"{first.name} is the only row: it is compared with nothing."
    if not sure:
        return f"No difference to {first.name} in {what} can be told from chance."
    told = [f"{row.name} {'above' if row.differences[column].difference > 0 else 'below'} it" for row in sure]
    return f"Compared with {first.name} in {what}: {', '.join(told)} by more than chance explains."


def probability(value: float | None) -> str:
    """A p value."""
    return "–" if value is None else "< .001" if value < 0.001 else f"{value:.3f}".lstrip("0") if value < 1 else "1"


def number(cell: Cell | None) -> str:
    """A mean with its deviation over seeds; a dash where there is none."""
    if cell is None:
        return "–"
    spread = "" if cell.deviation is None else f" ± {cell.deviation:.3f}"
    return f"{cell.mean:.3f}{spread}"


def figure(result: Comparison) -> Figure:
    """The scores with their intervals: a line of dots for each column, a colour for each row."""
    names = columns(result)
    height = 0.8 + 0.11 * len(names) * (len(result.rows) + 1.5)
    drawing = Figure(figsize=(COLUMN, height), layout="constrained")
    axes = drawing.subplots()
    step = 1.0 / (len(result.rows) + 1.5)
    for number, row in enumerate(result.rows):
        colour, _ = LINES[number % len(LINES)]
        places = np.arange(len(names)) + (number - (len(result.rows) - 1) / 2) * step
        for place, name in zip(places, names, strict=True):
            if (ends := row.scores[name].interval) is not None:
                axes.hlines(place, ends[0], ends[1], color=colour, linewidth=0.9)
        values = [row.scores[name].mean for name in names]
        marker = "os^Dvx+"[number % 7]
        axes.plot(values, places, linestyle="none", marker=marker, markersize=3, color=colour, label=row.name[:40])
    axes.set_yticks(range(len(names)), [name[:40] for name in names])
    axes.invert_yaxis()
    axes.set_xlabel(f"{NAMES[result.headline]}, 95 % over {result.unit}s")
    axes.grid(axis="x", color=GREY, linewidth=0.3, alpha=0.5)
    axes.tick_params(axis="y", length=0, colors=INK)
    is_long = max(len(row.name) for row in result.rows) > LONG_NAME
    drawing.legend(loc="outside upper left", ncols=1 if is_long else 2, fontsize=6.5)
    return drawing


def latex(result: Comparison) -> str:
    """A table for the package booktabs: the best of a column in bold, a star where it differs from the first row.

    Its last column is the corrected p of the last score.
    """
    names, best = columns(result), best_rows(result)
    several = len(result.rows) > 1
    lines = [
        "% Written by Emotiwave; needs \\usepackage{booktabs}.",
        "\\begin{tabular}{l" + "r" * (len(names) + several) + "}",
        "\\toprule",
        " & ".join(["", *map(escaped, names), *(["$p$"] if several else [])]) + r" \\",
        "\\midrule",
    ]
    for row in result.rows:
        cells = [_latex_cell(row, name, best[name] == row.name) for name in names]
        p = [_latex_probability(row.differences.get(names[-1]))] if several else []
        lines.append(" & ".join([escaped(row.name), *cells, *p]) + r" \\")
        spans = [_interval(row.scores[name]) for name in names]
        if any(spans):
            lines.append(" & ".join(["", *spans, *([""] if several else [])]) + r" \\")
    runs = counted(len(result.seeds), "seed")
    runs += "" if result.folds is None else f", {counted(len(result.folds), 'fold')}"
    lines += [
        "\\bottomrule",
        "\\end{tabular}",
        f"% {NAMES[result.headline]}; mean over {runs}; brackets: 95 % over {result.unit}s.",
        *([f"% p of the last score, against {escaped(result.rows[0].name)}."] if several else []),
        f"% A star: different from {escaped(result.rows[0].name)}, p < .05. {escaped(result.test)}",
    ]
    return "\n".join(lines) + "\n"


def _latex_cell(row: ComparedRow, name: str, is_best: bool) -> str:
    number = f"{row.scores[name].mean:.3f}".replace("0.", ".", 1)
    star = "$^{*}$" if _is_sure(row.differences.get(name)) else ""
    return (f"\\textbf{{{number}}}" if is_best else number) + star


def _latex_probability(difference: Difference | None) -> str:
    if difference is None:
        return ""
    return "--" if difference.p_holm is None else f"${probability(difference.p_holm)}$"


def _is_sure(difference: Difference | None) -> bool:
    return difference is not None and difference.is_significant


def _interval(cell: Cell) -> str:
    if cell.interval is None:
        return ""
    low, high = (f"{end:.2f}".replace("0.", ".", 1) for end in cell.interval)
    return f"{{\\scriptsize [{low}, {high}]}}"


def escaped(text: str) -> str:
    """A name in LaTeX: nothing in it is a command."""
    return re.sub(r"[\\{}$&#_%~^]", lambda match: LATEX[match.group()], " ".join(text.split()))
