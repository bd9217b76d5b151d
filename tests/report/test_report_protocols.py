"""Intervals, metrics, calibration and protocols in the report: charts that can be read back to the numbers."""

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from file_damage import damage
from report_fixture import write_run
from report_page import page_of

from emotiwave_core.errors import DataError
from emotiwave_core.report.charts import FIRM, Chart, axis_of, protocol_chart, reliability_chart
from emotiwave_core.report.page import write_report
from emotiwave_core.report.pictures import configurations, protocol_curves, reliability
from emotiwave_core.runs.contents import read_run
from emotiwave_core.runs.protocol_scores import read_protocols
from emotiwave_core.runs.schema import Fraction
from emotiwave_core.runs.scores import Bin, Calibration


def read_back(chart: Chart, path: str, x: tuple[float, float]) -> list[tuple[float, float]]:
    """The points of a path: x by the ends of its axis, y by the labels of its ticks."""
    (low_at, low), (high_at, high) = (
        (at, float(label.replace("\N{MINUS SIGN}", "-"))) for at, label in (chart.y_ticks[0], chart.y_ticks[-1])
    )
    assert (low_at, high_at) == (0.0, 1.0)
    pairs = re.findall(r"[ML]([\d.]+) ([\d.]+)", path)
    return [(x[0] + (x[1] - x[0]) * float(a) / 1000, low + (high - low) * (1 - float(b) / 1000)) for a, b in pairs]


@pytest.mark.short_rows(1)
@pytest.mark.parametrize("objective", ["single", "multi"])
def test_every_metric_stands_beside_chance(tmp_path: Path, objective: str) -> None:
    """The table of all metrics has the score, the better guess without the input and what lies between."""
    run = write_run(tmp_path, objective=objective)
    scores = json.loads((run / "scores.json").read_text())
    complete = scores["configurations"][scores["complete"]["configuration"]]
    rows = next(rows for caption, rows in page_of(run).rows.items() if caption.startswith("All metrics"))[1:]
    keys = {row[0]: row[0].lower().replace("-", "_").replace(" ", "_") for row in rows}
    assert list(keys.values()) == [
        key
        for key in (
            "macro_f1", "micro_f1", "weighted_f1", "accuracy", "weighted_accuracy", "average_precision", "aurc",
        )
        if complete.get(key) is not None
    ]  # fmt: skip
    for name, value, best, above, *_ in rows:
        score, constant = complete[keys[name]], scores["constant"][keys[name]]
        if name == "Macro-F1":
            constant = max(constant, scores["constant"]["drawn_macro_f1"] or 0.0)
        assert value.strip() == f"{score:.3f}"
        assert best == ("–" if constant is None else f"{constant:.3f}")
        gain = 0.0 if constant is None else constant - score if name == "AURC" else score - constant
        assert above == ("–" if constant is None else f"{gain:+.3f}".replace("-", "\N{MINUS SIGN}"))


def test_intervals_are_drawn_and_said(tmp_path: Path) -> None:
    """Each configuration's whisker runs from the low to the high end, and a sentence says what an interval is."""
    run = write_run(tmp_path)
    scores = json.loads((run / "scores.json").read_text())
    page = page_of(run)
    whiskers = re.findall(r'<u style="--v:([\d.]+);--w:([\d.]+)">', page.html)
    due = [one["macro_f1_interval"] for one in scores["configurations"].values()] + [scores["mean_macro_f1_interval"]]
    assert whiskers[: len(due)] == [(f"{low:.4f}", f"{high:.4f}") for low, high in due]
    assert "95% percentile interval of 1,000 bootstrap resamples over the 24 videos of the fold (seed 0)" in page.text


def test_what_a_guess_reaches_is_marked_and_explained(tmp_path: Path) -> None:
    """Both guesses stand in a line each that says what they are; the larger is chance, the dashed line of macro-F1."""
    run = write_run(tmp_path, each=2)
    path = run / "scores.json"
    for constant, drawn in ((0.05, 0.125), (0.2, 0.125)):
        change = {"macro_f1": constant, "drawn_macro_f1": drawn}
        path.write_text(damage(lambda it, change=change: it["constant"].update(change))(path.read_text()))
        page, chance = page_of(run), max(constant, drawn)
        mark = " · chance"
        first, second = ("", mark) if drawn > constant else (mark, "")
        assert f"Best constant guess{first}{constant:.3f}, reached by the one answer for every segment" in page.text
        assert f"Random guess{second}{drawn:.3f}, reached on average by answers drawn at random" in page.text
        table = page.html.split("Scores with only")[1].split("</table>")[0]
        assert set(re.findall(r'<b style="--v:([\d.]+)">', table)) == {f"{chance:.4f}"}
        assert f'<span class="chance">chance {chance:.3f}</span>' in table
    for value in (None, "left out"):
        change = damage(lambda it, value=value: it["constant"].update(drawn_macro_f1=value))
        path.write_text(change(path.read_text()))
        if value:
            path.write_text(damage(lambda it: it["constant"].pop("drawn_macro_f1"))(path.read_text()))
        page = page_of(run)
        assert "drawn at random" not in page.text
        assert "Best constant guess · chance0.200" in page.text


def test_figures_mark_chance(tmp_path: Path) -> None:
    """The figure of the configurations has a line at chance, named so with its number."""
    facts = read_run(write_run(tmp_path, each=2))
    floor = facts.scores.constant.floor
    [axes] = configurations(facts).axes
    lines = {line.get_label(): list(line.get_xdata()) for line in axes.lines}  # type: ignore[call-overload]
    assert lines[f"chance {floor:.3f}"] == [floor, floor]
    legend = axes.get_legend()
    assert legend is not None
    assert f"chance {floor:.3f}" in {text.get_text() for text in legend.get_texts()}


@pytest.mark.short_rows(1)
@pytest.mark.parametrize("videos", [24, 12])
def test_videos_of_one_segment_are_said(tmp_path: Path, videos: int) -> None:
    """Where every segment is a video of its own, the page says when the intervals are too narrow; elsewhere not."""
    run = write_run(tmp_path, each=2)
    change = damage(lambda it: it["interval"].update(videos=videos))
    (run / "scores.json").write_text(change((run / "scores.json").read_text()))
    said = "where one person stands in several, the intervals are too narrow" in page_of(run).text
    assert said == (videos == 12)


def test_one_video_has_no_interval(tmp_path: Path) -> None:
    """Where there was nothing to resample, no column, whisker or sentence speaks of an interval."""
    run = write_run(tmp_path, each=2)
    scores = json.loads((run / "scores.json").read_text())
    scores["mean_macro_f1_interval"] = None
    for one in scores["configurations"].values():
        one["macro_f1_interval"] = None
        for each in one["classes"].values():
            each["f1_interval"] = None
    (run / "scores.json").write_text(json.dumps(scores))
    page = page_of(run)
    assert "<u " not in page.html
    assert "nterval" not in page.text.split("Damaged input")[0].split("Skip to the scores")[1]
    write_report(run)


def test_scores_of_an_earlier_version_are_named_so(tmp_path: Path) -> None:
    """Scores without intervals are no riddle: the sentence says to evaluate again."""
    run = write_run(tmp_path, each=2)
    text = (run / "scores.json").read_text().replace("macro_f1_interval", "gone")
    (run / "scores.json").write_text(text)
    with pytest.raises(
        DataError, match=r"has no intervals: an earlier version wrote it; `emotiwave evaluate .*` writes it anew"
    ):
        write_report(run)


def calibration_of(*bins: tuple[float, float, int]) -> Calibration:
    """A calibration with bins of (confidence, frequency, count)."""
    return Calibration(Fraction(0.1), [Bin(Fraction(low), Fraction(seen), count) for low, seen, count in bins])


def test_reliability_diagram_is_the_bins(tmp_path: Path) -> None:
    """Dots and line stand at (confidence, frequency), the bars have the share of the predictions."""
    facts = read_run(write_run(tmp_path, each=2))
    calibration = facts.scores.configurations["text+audio+visual"].calibration
    chart = reliability_chart(calibration)
    due = [(one.confidence, one.frequency) for one in calibration.bins]
    assert [(dot.x, dot.y) for dot in chart.dots] == due
    joined = [point for point, one in zip(due, calibration.bins, strict=True) if one.count >= FIRM]
    assert [pytest.approx(one, abs=1e-3) for one in joined] == read_back(chart, chart.lines[0].path, (0, 1))
    bars = re.findall(r"M([\d.-]+) 1000h24V([\d.]+)h-24Z", chart.area)
    total = sum(one.count for one in calibration.bins)
    for (left, top), one in zip(bars, calibration.bins, strict=True):
        assert (float(left) + 12) / 1000 == pytest.approx(one.confidence, abs=1e-3)
        assert 1 - float(top) / 1000 == pytest.approx(one.count / total, abs=1e-3)
    assert f"is {calibration.ece:.3f}." in page_of(facts.folder).text


def test_bins_of_few_predictions_are_not_joined(tmp_path: Path) -> None:
    """Bins below the limit are faint, no line goes through them; dots grow with the count, and the limit is said."""
    chart = reliability_chart(
        calibration_of((0.1, 1.0, 1), (0.3, 0.2, 40), (0.5, 0.5, 10), (0.7, 0.0, 9), (0.9, 0.9, 20))
    )
    assert [(dot.size, dot.firm) for dot in chart.dots] == [
        (0.025, False), (1.0, True), (0.25, True), (0.225, False), (0.5, True)
    ]  # fmt: skip
    assert chart.lines[0].path == "M300.0 800.0h0L500.0 500.0M900.0 100.0h0"
    run = write_run(tmp_path, each=2)
    few = {"confidence": 0.1, "frequency": 1.0, "count": FIRM - 1}
    change = damage(lambda it: it["configurations"]["text+audio+visual"]["calibration"]["bins"].insert(0, few))
    (run / "scores.json").write_text(change((run / "scores.json").read_text()))
    page = page_of(run)
    assert page.html.count('<span class="dot bin few"') == 1 + sum(
        one.count < FIRM for one in read_run(run).scores.configurations["text+audio+visual"].calibration.bins[1:]
    )
    assert f"Bins of fewer than {FIRM} predictions are faint and not joined" in page.text


def test_the_figure_of_calibration_joins_no_bins_of_few_predictions(tmp_path: Path) -> None:
    """Its line has a gap at a bin below the limit, whose dot is hollow and named in the legend."""
    run = write_run(tmp_path, each=2)
    bins = [
        {"confidence": 0.3, "frequency": 0.2, "count": 40},
        {"confidence": 0.5, "frequency": 1.0, "count": 2},
        {"confidence": 0.7, "frequency": 0.6, "count": 30},
    ]
    change = damage(lambda it: it["configurations"]["text+audio+visual"]["calibration"].update(bins=bins))
    (run / "scores.json").write_text(change((run / "scores.json").read_text()))
    [axes] = reliability(read_run(run)).axes
    line = next(line for line in axes.lines if str(line.get_label()).startswith("ECE"))
    assert [math.isnan(y) for y in line.get_ydata()] == [False, True, False]  # type: ignore[union-attr]
    firm, few = axes.collections
    assert [len(dots.get_offsets()) for dots in (firm, few)] == [2, 1]  # type: ignore[arg-type]
    assert few.get_label() == f"fewer than {FIRM}"
    large, less = firm.get_sizes()  # type: ignore[attr-defined]
    assert large > less > few.get_sizes()[0]  # type: ignore[attr-defined]


def test_protocol_curves_are_the_scores(tmp_path: Path) -> None:
    """Each line runs through (level, macro-F1), its band through the intervals, a thin one is the other run."""
    noise = next(one for one in read_protocols(write_run(tmp_path, each=2)) if one.protocol == "noise")
    chart = protocol_chart(noise)
    assert [line.label for line in chart.lines] == ["text", "text (other-1)", "audio"]
    for name, line in (("text", chart.lines[0]), ("audio", chart.lines[2])):
        curve = noise.curves[name]
        due = list(zip(curve.levels, curve.score, strict=True))
        assert [pytest.approx(one, abs=1e-3) for one in due] == read_back(chart, line.path, (0, 0.7))
        lows = [(level, ends[0]) for level, ends in zip(curve.levels, curve.intervals or [], strict=True) if ends]
        highs = [(level, ends[1]) for level, ends in zip(curve.levels, curve.intervals or [], strict=True) if ends]
        outline = read_back(chart, line.band, (0, 0.7))
        assert [pytest.approx(one, abs=1e-3) for one in [*lows, *reversed(highs)]] == outline
    assert {round(y, 3) for _, y in read_back(chart, chart.lines[1].path, (0, 0.7))} == {0.3}
    assert [label for _, label in chart.x_ticks] == ["0", "0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.7"]


def test_protocol_charts_have_one_scale_and_a_guess(tmp_path: Path) -> None:
    """The scale runs from 0 to 1 and the dashed line stands at the guess, unless other samples were scored."""
    run = write_run(tmp_path, each=2)
    facts = read_run(run)
    noise = next(one for one in facts.protocols if one.protocol == "noise")
    floor = facts.scores.constant.floor
    chart = protocol_chart(noise, facts.guess(noise))
    assert (chart.y_ticks[0], chart.y_ticks[-1]) == ((0.0, "0"), (1.0, "1"))
    assert chart.lines[-1].stroke == "guess"
    [level] = re.findall(r"^M0 ([\d.]+)H1000$", chart.lines[-1].path)
    assert 1 - float(level) / 1000 == pytest.approx(floor, abs=1e-3)
    figure = protocol_curves(noise, facts.guess(noise)).axes[0]
    assert figure.get_ylim() == (0, 1)
    assert [floor, floor] in [list(line.get_ydata()) for line in figure.lines]  # type: ignore[call-overload]
    change = damage(lambda it: it.update(samples=it["samples"] - 1))
    (run / "protocols" / "noise.json").write_text(change((run / "protocols" / "noise.json").read_text()))
    facts = read_run(run)
    assert [facts.guess(one) is None for one in facts.protocols] == [True, False]
    assert page_of(run).text.count("Shaded: 95% interval.") == 2


def test_a_curve_without_damage_claims_no_robustness(tmp_path: Path) -> None:
    """Where nothing is damaged at any level, dashes stand for the robustness and a sentence says why."""
    run = write_run(tmp_path, each=2)
    path = run / "protocols" / "noise.json"
    zeros = damage(lambda it: it["curves"]["audio"].update(reached=[0.0] * 8))
    path.write_text(zeros(path.read_text()))
    page = page_of(run)
    rows = next(rows for caption, rows in page.rows.items() if caption.startswith("Robustness under noise"))
    cells = {name: row[:3] for name, *row in rows[1:]}
    assert cells["audio"] == ["–", "–", "–"]
    assert "–" not in cells["text"][:2]
    assert page.text.count("nothing is damaged at any level") == 1
    assert "In audio nothing is damaged at any level" in page.text


def test_protocols_are_shown_as_they_are(tmp_path: Path) -> None:
    """Each protocol has its table of robustness; manifests and other files are no protocols; none is a sentence."""
    run = write_run(tmp_path, each=2)
    for name in ("noise.manifest.json", "Noise.json", "-x.json"):
        (run / "protocols" / name).write_text("no protocol")
    page = page_of(run)
    rows = next(rows for caption, rows in page.rows.items() if caption.startswith("Robustness under noise"))
    curves = json.loads((run / "protocols" / "noise.json").read_text())["curves"]
    for name, area, relative, effective, *ends in rows[1:]:
        one = curves[name]
        assert (area, relative, effective) == (f"{one['auilc']:.3f}", "\N{MINUS SIGN}0.300", "–")
        assert ends == [f"{one['macro_f1'][0]:.3f}", f"{one['macro_f1'][-1]:.3f}"]
    for file in (run / "protocols").iterdir():
        file.unlink()
    assert f"No protocol was run. emotiwave evaluate {run} --protocol noise" in page_of(run).text


@pytest.mark.short_rows(4)
@pytest.mark.parametrize(
    "change",
    [
        lambda it: it.update(protocol="swap"),
        lambda it: it.update(curves={}),
        lambda it: it["curves"]["text"].update(levels=[]),
        lambda it: it["curves"]["text"]["levels"].reverse(),
        lambda it: it["curves"]["text"]["macro_f1"].pop(),
        lambda it: it["curves"]["text"]["reached"].append(0.5),
        lambda it: it["curves"]["text"]["intervals"].pop(),
        lambda it: it["curves"]["text"].update(intervals=[[0.5, 0.4]] * 8),
        lambda it: it["curves"]["text"].update(macro_f1=[2.0] * 8),
        lambda it: it["curves"]["text"].update(auilc=None),
        lambda it: it["against"]["curves"]["text"]["macro_f1"].pop(),
    ],
)
def test_damaged_protocol_is_one_sentence(tmp_path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Curves of uneven length, out of order, of another protocol or with absurd numbers are a DataError."""
    run = write_run(tmp_path, each=2)
    path = run / "protocols" / "noise.json"
    path.write_text(damage(change)(path.read_text()))
    with pytest.raises(DataError, match=r"noise\.json is damaged"):
        write_report(run)


def test_axis_has_its_last_tick() -> None:
    """A tick at the end of an axis is there although 7 times 0.1 is a little above 0.7."""
    assert axis_of(0.0, 0.7, most=10).labels()[-1] == (pytest.approx(1.0), "0.7")
