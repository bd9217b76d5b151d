"""Who decided, as the report tells it: waterfalls that meet, occlusion where and as large as it is, sentences."""

import json
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from file_damage import damage
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from report_fixture import write_run
from report_page import page_of

from emotiwave_core.errors import DataError
from emotiwave_core.report.occlusion import OcclusionPlot, occlusion, scale_of, unread
from emotiwave_core.report.page import write_report
from emotiwave_core.report.pictures import shapley
from emotiwave_core.report.samples import DrawnSample, drawn_samples
from emotiwave_core.report.waterfall import waterfall
from emotiwave_core.runs.contents import read_run
from emotiwave_core.runs.explanation import SMALLEST_SCALE, ChosenSample, OcclusionWindow, SampleAttribution

values = st.floats(-2, 2).map(lambda value: round(value, 6))


@given(values, st.lists(values, min_size=1, max_size=5), st.sampled_from([(0.0, 1.0), (0.0, 0.0)]))
def test_waterfall_runs_from_empty_to_complete(empty: float, phi: list[float], ends: tuple[float, float]) -> None:
    """Read back on one scale, each step starts where the one before ended, and the levels are empty and complete."""
    shapley = {f"m{place}": value for place, value in enumerate(phi)}
    complete = empty + sum(phi)
    first, *steps, last = waterfall(empty, complete, shapley, ends)
    reached = [empty + sum(phi[:n]) for n in range(len(phi) + 1)]
    low, high = min(*reached, complete, *ends), max(*reached, complete, *ends)
    if high - low < 1e-3:
        return
    level = empty
    for step, value in zip(steps, phi, strict=True):
        left, right = (low + (high - low) * at for at in (step.left, step.left + step.width))
        assert (left, right) == pytest.approx(sorted((level, level + value)), abs=1e-9)
        assert step.kind == ("down" if f"{value:.3f}".startswith("-") and float(f"{value:.3f}") else "up")
        level += value
    for step, value in ((first, empty), (last, complete)):
        left, right = (low + (high - low) * at for at in (step.left, step.left + step.width))
        assert (left, right) == pytest.approx(sorted((0.0, value)), abs=1e-9)
    assert all(-1e-9 <= step.left <= step.left + step.width <= 1 + 1e-9 for step in (first, *steps, last))


def drawn(**moments: list[OcclusionWindow]) -> DrawnSample:
    """A sample from 10 to 20 s with the moments of some modalities, as the page draws it."""
    sample = ChosenSample(
        id="a", start=10.0, end=20.0, why="right", truth="x", predicted="x", explained="x", empty=0.0, complete=1.0,
        shapley=dict.fromkeys(moments, 1.0), moments=moments,
    )  # fmt: skip
    explanation = type("Explained", (), {"value": "probability", "chosen": [sample]})
    [[one]] = drawn_samples(explanation).values()  # type: ignore[arg-type]
    return one


def bars(plot: OcclusionPlot, scale: float) -> list[tuple[float, float, float]]:
    """The bars of a plot, read back from its paths: left, right (from 0 to 1000), occlusion."""
    zero = plot.zero
    found = re.findall(rf"M([\d.]+) {zero}V([\d.]+)H([\d.]+)V{zero}Z", plot.above + plot.below)
    return sorted((float(a), float(b), (zero - float(y)) / (zero - 3) * scale) for a, y, b in found)


def test_bars_stand_where_their_moments_are() -> None:
    """Read back from the path, a bar's ends are those of the moment and its height its occlusion, up for the class."""
    moments = [
        OcclusionWindow(10.0, 12.5, 0.2),
        OcclusionWindow(12.5, 13.0, -0.4),
        OcclusionWindow(13.0, 20.0, 0.1),
        OcclusionWindow(19.0, 25.0, 0.05),
    ]
    sample = drawn(audio=moments)
    assert sample.scale == 0.4
    due = [(0.0, 250.0, 0.2), (250.0, 300.0, -0.4), (300.0, 1000.0, 0.1), (900.0, 1000.0, 0.05)]
    assert [pytest.approx(one, abs=1e-3) for one in due] == bars(sample.plots[0], 0.4)
    assert sample.plots[0].below.count("M") == 1


def test_one_length_is_one_occlusion_in_all_modalities() -> None:
    """All modalities of a sample are drawn on the scale of the largest, also beside one that has attention."""
    sample = drawn(
        text=[OcclusionWindow(10, 20, 0.002, word="no")],
        audio=[OcclusionWindow(10, 15, 0.14, 0.5), OcclusionWindow(15, 20, -0.07, 0.5)],
        visual=[OcclusionWindow(10, 20, 1.4)],
    )
    assert sample.scale == scale_of(sample.sample.moments, 0.1) == 1.4
    heights = [height for plot in sample.plots for _, _, height in bars(plot, 1.4)]
    assert heights == pytest.approx([0.002, 0.14, -0.07, 1.4], abs=5e-3)
    assert len({plot.zero for plot in sample.plots}) == 1
    assert sample.plots[0].words[0].depth == pytest.approx(0.002 / 1.4)


def test_what_matters_next_to_nothing_stays_flat() -> None:
    """No scale is so fine that noise looks like a reason: a sample in which all is tiny has only flat bars."""
    sample = drawn(audio=[OcclusionWindow(10, 20, 3e-5)], text=[OcclusionWindow(10, 20, -2e-3)])
    assert sample.scale == SMALLEST_SCALE
    assert all(abs(height) < 0.03 * SMALLEST_SCALE for plot in sample.plots for _, _, height in bars(plot, 0.1))
    [plot] = drawn(audio=[OcclusionWindow(10, 20, -0.0), OcclusionWindow(10, 20, 0.0)]).plots
    assert plot.above == plot.below == ""


@pytest.mark.parametrize(
    ("windows", "gaps"),
    [
        ([(10, 20)], []),
        ([(10, 13), (13.1, 16)], [(16, 20)]),
        ([(12, 14), (17, 20)], [(10, 12), (14, 17)]),
        ([(14, 9), (11, 12)], [(14, 20)]),
        ([(0, 5)], [(10, 20)]),
        ([(30, 40)], [(10, 20)]),
    ],
)
def test_what_no_window_covers_was_not_read(
    windows: list[tuple[float, float]], gaps: list[tuple[float, float]]
) -> None:
    """Stretches that no window covers are found, whatever order the windows are in; pauses between steps are not."""
    assert unread([OcclusionWindow(low, high, 0.1) for low, high in windows], 10.0, 20.0) == gaps


def test_what_was_not_read_is_hatched_and_said(tmp_path: Path) -> None:
    """Time beyond the last step has a hatched box with words, stands in the label, and the legend explains it."""
    run = write_run(tmp_path, each=2)
    assert "atched" not in page_of(run).text
    it = json.loads((run / "explanation.json").read_text())
    for sample in it["chosen"]:
        sample["moments"]["visual"] = [one for one in sample["moments"]["visual"] if one["end"] < 13.8]
    (run / "explanation.json").write_text(json.dumps(it))
    page = page_of(run)
    boxes = re.findall(
        r'<span class="gap" aria-hidden="true" style="--v:([\d.]+);--w:([\d.]+)">(.*?)</span>', page.html
    )
    assert len(boxes) == 9
    assert {words for _, _, words in boxes} == {"<small>not read</small>"}
    assert all(float(left) + float(width) == pytest.approx(1.0, abs=1e-3) for left, width, _ in boxes)
    assert {left for left, _, _ in boxes} == {f"{1.76 / 3.6:.4f}"}
    assert page.html.count("Not read: 13.76 to 15.60 s.") == 18  # the label and the title
    assert "Hatched: not read, because the modality has no step there" in page.text


def test_attention_is_a_line_at_the_foot() -> None:
    """Attention is drawn from the middle of step to step, the largest highest; without any there is no line."""
    attended = [
        OcclusionWindow(10, 12, 0.1, 0.25),
        OcclusionWindow(12, 16, 0.1, 0.5),
        OcclusionWindow(16, 20, 0.1, 0.0),
    ]
    assert drawn(audio=attended).plots[0].attention == "M100.0 86.0L400.0 74.0L800.0 98.0"
    assert drawn(audio=[OcclusionWindow(10, 12, 0.1), OcclusionWindow(12, 16, 0.1)]).plots[0].attention == ""


def test_words_stand_once(tmp_path: Path) -> None:
    """Words are shown with the modality that tells them apart best, coloured for or against, with their seconds."""
    run = write_run(tmp_path)
    explanation = json.loads((run / "explanation.json").read_text())
    for one in explanation["chosen"]:
        for moment in one["moments"]["audio"]:
            moment["word"] = "told"
    (run / "explanation.json").write_text(json.dumps(explanation))
    html = page_of(run).html
    words = re.findall(r'<p class="words">(.*?)</p>', html)
    assert len(words) == len(explanation["chosen"])
    for line, one in zip(words, explanation["chosen"], strict=True):
        due = [
            (
                "against" if moment["occlusion"] <= -5e-4 else "for",
                f"{moment['start']:.2f} to {moment['end']:.2f} s",
                moment["word"],
            )
            for moment in one["moments"]["text"]
        ]
        found = re.findall(r'<span class="(\w+)" style="--v:[\d.]+" title="\w+, (.*?): .*?">(\w+)</span>', line)
        assert found == due


def test_who_decided_is_the_explanation(tmp_path: Path) -> None:
    """Shares, Shapley values of macro-F1, interaction, cooperation and the table of classes are those of the file."""
    run = write_run(tmp_path)
    it = json.loads((run / "explanation.json").read_text())
    it["decided"] |= {"text": 0.125}
    it["by_class"]["sad"] = {"samples": 0, "shapley": dict.fromkeys(it["modalities"])}
    (run / "explanation.json").write_text(json.dumps(it))
    rows = {row[0]: row[1:] for table in page_of(run).rows.values() for row in table if row}
    tables = {caption.split(":")[0].split(",")[0]: table for caption, table in page_of(run).rows.items()}

    def signed(value: float) -> str:
        return f"{value:+.3f}".replace("-", "\N{MINUS SIGN}")

    fold = it["macro_f1"]
    fall = {row[0]: row[1].strip() for row in tables["Macro-F1 from no modality to all"]}
    assert {name: fall[name] for name in it["modalities"]} == {name: signed(v) for name, v in fold["shapley"].items()}
    assert (fall["no modality"], fall["all modalities"]) == ("0.050", f"{fold['complete']:.3f}")
    for name, *cells in tables["Decided"][1:]:
        due = (it["decided"][name], it["share"][name], fold["share"][name])
        assert [cell.strip() for cell in cells] == [f"{100 * value:.1f}%" for value in due]
    for name, interaction, cooperation in tables["Together"][1:]:
        assert cooperation == signed(fold["cooperation"][name])
        assert interaction == (signed(fold["interaction"][name]) if name in fold["interaction"] else "–")
    for name, count, *cells in tables["By class"][1:]:
        one = it["by_class"][name]
        assert count == str(one["samples"])
        assert cells == [signed(one["shapley"][m]) if one["samples"] else "–" for m in it["modalities"]]
    assert rows["fear"]


def test_a_modality_that_a_sample_lacks_is_said_to_be_absent(tmp_path: Path) -> None:
    """A chosen sample without a modality says so, its row is named absent, and no occlusion of it is drawn."""
    html = page_of(write_run(tmp_path)).html
    samples = re.findall(r'<details class="sample".*?</details>', html, re.DOTALL)
    told = [
        ("This segment has no audio." in one, "audio (absent)" in one, '<span class="name">audio<' in one)
        for one in samples
    ]
    assert told == [(place == 2, place == 2, place != 2) for place in range(9)]


def occluded(**moments: list[OcclusionWindow]) -> Figure:
    """The picture of a sample of 2 s with these windows."""
    sample = SampleAttribution(
        id="v[0]", start=0.0, end=2.0, predicted="sad", truth="", explained="sad", empty=0.1, complete=0.9,
        shapley=dict.fromkeys(moments, 0.1), moments=moments,
    )  # fmt: skip
    return occlusion(sample)


def test_the_picture_of_moments_says_what_is_absent() -> None:
    """A modality without moments has no axes, and the title says that the sample lacks it."""
    window = OcclusionWindow(0.0, 1.0, 0.1)
    for visual, end in (([], "true nothing, no visual"), ([window], "true nothing")):
        figure = occluded(text=[window], visual=visual)
        assert figure.get_suptitle().endswith(end)
        assert len(figure.axes) == 1 + len(visual)


def test_the_picture_has_the_scale_of_the_page_and_prints_it_once() -> None:
    """All axes run from minus to plus the scale, which one of them prints; what was not read is hatched and said."""
    weak, strong = OcclusionWindow(0.0, 1.0, -0.002), OcclusionWindow(0.0, 2.0, 0.5)
    figure = occluded(text=[weak], visual=[strong])
    assert {axes.get_ylim() for axes in figure.axes} == {(-0.54, 0.54)}
    figure.draw_without_rendering()
    printed = [[label.get_text() for label in axes.get_yticklabels() if label.get_visible()] for axes in figure.axes]
    assert printed == [["\N{MINUS SIGN}0.500", "0", "+0.500"], []]
    hatched = [[patch.get_hatch() for patch in axes.patches if patch.get_hatch()] for axes in figure.axes]
    assert [len(hatches) for hatches in hatched] == [1, 0]
    assert [[text.get_text() for text in axes.texts] for axes in figure.axes] == [["not read"], []]
    assert occluded(text=[weak]).axes[0].get_ylim()[1] == 1.08 * SMALLEST_SCALE


def test_the_figure_of_who_decided_is_the_explanation(tmp_path: Path) -> None:
    """Its bars run from no modality to all by the Shapley values of macro-F1, its cells are those of each class."""
    explanation = read_run(write_run(tmp_path, each=2)).explanation
    assert explanation is not None
    above, below = shapley(explanation).axes
    patches = [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in above.patches]  # type: ignore[attr-defined]
    fold, levels = explanation.score, [explanation.score.empty]
    for name in explanation.modalities:
        levels.append(levels[-1] + fold.shapley[name])
    assert patches == [pytest.approx(ends) for ends in [(0, fold.empty), (0, fold.complete), *pairwise(levels)]]
    assert levels[-1] == pytest.approx(fold.complete)
    cells = [text.get_text().replace("\N{MINUS SIGN}", "-") for text in below.texts]
    assert cells == [f"{explanation.by_class[c].shapley[m]:+.3f}" for c in explanation.classes for m in fold.shapley]


def test_with_one_modality_nothing_is_split(tmp_path: Path) -> None:
    """One modality has all of the way: the table by class and the probabilities are left of who decided."""
    page = page_of(write_run(tmp_path, modalities=("audio",)))
    captions = [caption.split(":")[0] for caption in page.rows]
    assert "By class" in captions
    assert not {"Macro-F1 from no modality to all, by Shapley value", "Decided"} & set(captions)
    assert "no modality" not in {row[0] for table in page.rows.values() for row in table if row}
    it = json.loads((tmp_path / "explanation.json").read_text())
    for one in it["chosen"]:
        assert f"Probability of {one['class']}: {one['complete']:.3f}." in page.text


def test_without_explanation_the_page_says_so(tmp_path: Path) -> None:
    """Without explanation.json the page names the command that makes it; the rest is whole."""
    run = write_run(tmp_path / "a b")
    (run / "explanation.json").unlink()
    page = page_of(run)
    assert f"There is no explanation.json: emotiwave evaluate '{run}' works out" in page.text
    assert "Chosen samples" not in page.text
    assert "Switch modalities off" in page.text


@pytest.mark.short_rows(8)
@pytest.mark.parametrize(
    "change",
    [
        lambda it: it.pop("macro_f1"),
        lambda it: it.update(modalities=["text", "audio"]),
        lambda it: it.update(classes=["happy"]),
        lambda it: it.update(value="<b>"),
        lambda it: it["macro_f1"]["shapley"].pop("text"),
        lambda it: it["macro_f1"]["shapley"].update(text=1e300),
        lambda it: it["macro_f1"]["interaction"].pop("text+audio"),
        lambda it: it["decided"].update(text=1.5),
        lambda it: it["share"].update(text="much"),
        lambda it: it["by_class"]["sad"]["shapley"].pop("text"),
        lambda it: it["chosen"][0].update(why="<script>"),
        lambda it: it["chosen"][0]["shapley"].update(smell=0.1),
        lambda it: it["chosen"][0]["moments"].update(smell=[]),
        lambda it: it["chosen"][0]["moments"]["text"][0].update(occlusion=float("nan")),
        lambda it: it["chosen"][0].update(start=float("inf")),
        lambda it: it["chosen"][0].update(present=["smell"]),
        lambda it: it["absent"].update(a=["smell"]),
        lambda it: it["absent"].update(a=it["modalities"]),
        lambda it: it.update(chosen={"a": 1}),
        lambda it: it.update(samples=10**400),
    ],
)
def test_damaged_explanation_is_one_sentence(tmp_path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """An explanation of other modalities or classes, of another shape, or with absurd numbers is a DataError."""
    run = write_run(tmp_path, each=2)
    (run / "explanation.json").write_text(damage(change)((run / "explanation.json").read_text()))
    with pytest.raises(DataError, match=r"explanation\.json (is damaged|does not fit)"):
        write_report(run)


def test_moments_out_of_place_are_drawn_inside(tmp_path: Path) -> None:
    """Moments before, after or against time, and a segment without length, give paths of plain numbers in the box."""
    run = write_run(tmp_path, each=2)
    it = json.loads((run / "explanation.json").read_text())
    for one in it["chosen"]:
        one["moments"]["audio"] = [
            {"start": start, "end": end, "occlusion": value, "attention": -1.0, "word": None}
            for start, end, value in ((-1e9, 1e9, 0.5), (14.0, 13.0, -0.5), (1e20, 1e25, 1e20))
        ]
    it["chosen"][0] |= {"start": 5.0, "end": 5.0}
    (run / "explanation.json").write_text(json.dumps(it))
    found = drawn_samples(read_run(run).explanation)  # type: ignore[arg-type]
    plots = [plot for samples in found.values() for sample in samples for plot in sample.plots]
    paths = "".join(plot.above + plot.below for plot in plots)
    assert all(0 <= float(number) <= 1002 for number in re.findall(r"-?[\d.]+", paths))
    assert "e" not in paths
    assert page_of(run).open == []
