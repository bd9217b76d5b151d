"""Who decided, as the report tells it: waterfalls that meet, strips that stand where their moments are, sentences."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from file_damage import damage
from hypothesis import given
from hypothesis import strategies as st
from report_fixture import write_run
from report_page import page_of

from emotiwave_core.errors import DataError
from emotiwave_core.report.occlusion import moments as picture
from emotiwave_core.report.page import write_report
from emotiwave_core.report.waterfall import Strip, stories, waterfall
from emotiwave_core.runs.contents import read_run
from emotiwave_core.runs.explanation import Chosen, Moment

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


def strip_of(moments: list[Moment], *, modality: str = "audio") -> Strip:
    """The strip of a sample from 10 to 20 s."""
    sample = Chosen("a", 10.0, 20.0, "right", "x", "x", "x", 0.0, 1.0, {modality: 1.0}, moments={modality: moments})
    run = type("Explained", (), {"value": "probability", "chosen": [sample]})
    [[story]] = stories(run).values()  # type: ignore[arg-type]
    return story.strips[0]


def test_bars_stand_where_their_moments_are() -> None:
    """Read back from the path, a bar's ends are those of the moment and its height its occlusion, up for the class."""
    moments = [Moment(10.0, 12.5, 0.2), Moment(12.5, 13.0, -0.4), Moment(13.0, 20.0, 0.1), Moment(19.0, 25.0, 0.05)]
    strip = strip_of(moments)
    assert strip.most == 0.4
    numbers = {
        side: re.findall(r"M([\d.]+) 50V([\d.]+)H([\d.]+)V50Z", getattr(strip, side)) for side in ("above", "below")
    }
    found = sorted((float(a), float(b), (50 - float(y)) / 47 * 0.4) for side in numbers.values() for a, y, b in side)
    due = [(0.0, 250.0, 0.2), (250.0, 300.0, -0.4), (300.0, 1000.0, 0.1), (900.0, 1000.0, 0.05)]
    assert [pytest.approx(one, abs=1e-3) for one in due] == found
    assert len(numbers["below"]) == 1


def test_what_matters_next_to_nothing_stays_flat() -> None:
    """Bars have the scale of their modality, but never one so fine that noise looks like a reason."""
    assert strip_of([Moment(10, 20, 3e-5)]).most == 1e-3
    assert strip_of([Moment(10, 20, -0.0), Moment(10, 20, 0.0)]).above == ""


def test_attention_is_a_line_at_the_foot() -> None:
    """Attention is drawn from the middle of step to step, the largest highest; without any there is no line."""
    strip = strip_of([Moment(10, 12, 0.1, 0.25), Moment(12, 16, 0.1, 0.5), Moment(16, 20, 0.1, 0.0)])
    assert strip.attention == "M100.0 86.0L400.0 74.0L800.0 98.0"
    assert strip_of([Moment(10, 12, 0.1), Moment(12, 16, 0.1)]).attention == ""


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
    """A chosen sample without a modality says so, its row is named absent, and no strip is drawn of it."""
    html = page_of(write_run(tmp_path)).html
    stories_of = re.findall(r'<details class="story".*?</details>', html, re.DOTALL)
    told = [
        ("This segment has no audio." in one, "audio (absent)" in one, ">audio <small>" in one) for one in stories_of
    ]
    assert told == [(place == 2, place == 2, place != 2) for place in range(9)]


def test_the_picture_of_moments_says_what_is_absent() -> None:
    """A modality without moments has no strip, and the title says that the sample lacks it."""
    moment = {"start": 0.0, "end": 1.0, "occlusion": 0.1, "attention": None, "word": None}
    about = {"id": "v[0]", "predicted": "sad", "truth": "", "class": "sad"}
    for visual, end in (([], "true nothing, no visual"), ([moment], "true nothing")):
        figure = picture(about | {"moments": {"text": [moment], "visual": visual}})
        assert figure.get_suptitle().endswith(end)
        assert len(figure.axes) == 1 + len(visual)


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
    found = stories(read_run(run).explanation)  # type: ignore[arg-type]
    paths = "".join(strip.above + strip.below for one in found.values() for story in one for strip in story.strips)
    assert all(0 <= float(number) <= 1002 for number in re.findall(r"-?[\d.]+", paths))
    assert "e" not in paths
    assert page_of(run).open == []
