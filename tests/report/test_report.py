"""The report of a run: complete, true to the files, harmless whatever stands in them."""

import json
import re
import shlex
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread
from report_fixture import write_run
from report_page import SHAPES, Page, page_of

from emotiwave_core.report.charts import learning_charts
from emotiwave_core.report.numbers import duration
from emotiwave_core.report.page import render, write_report
from emotiwave_core.report.pictures import configurations, reliability
from emotiwave_core.runs.contents import RunContents, read_run


@pytest.mark.short_rows(2)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_page_is_well_formed_and_names_everything(tmp_path: Path, shape: dict[str, Any]) -> None:
    """For every number of modalities and classes the page parses and holds each configuration and each class."""
    run = write_run(tmp_path, **shape)
    page = page_of(run)
    scores = json.loads((run / "scores.json").read_text())
    first_cells = {row[0].split(" · ")[0].strip() for rows in page.rows.values() for row in rows if row}
    assert {*scores["configurations"], *scores["classes"]} <= first_cells
    assert page.text.count("Scores of each class in") == len(scores["configurations"])


def test_numbers_of_configurations_are_those_of_the_scores(tmp_path: Path) -> None:
    """Each row of the first table shows the scores of its configuration to three decimals, the complete one no drop."""
    run = write_run(tmp_path)
    scores = json.loads((run / "scores.json").read_text())
    rows = next(rows for caption, rows in page_of(run).rows.items() if caption.startswith("Scores with only"))[1:-1]
    assert len(rows) == len(scores["configurations"])
    for (name, one), cells in zip(scores["configurations"].items(), rows, strict=True):
        drops = ["–", "–"]
        if name != scores["complete"]["configuration"]:
            drops = [f"{one['absolute_drop']:.3f}", f"{100 * one['relative_drop']:.1f}%"]
        ends = "–".join(f"{end:.3f}" for end in one["macro_f1_interval"])
        rest = [f"{one['macro_f1']:.3f}", ends, *drops, f"{one['accuracy']:.3f}", f"{one['weighted_accuracy']:.3f}"]
        assert [cells[0].split(" · ")[0], *(cell.strip() for cell in cells[1:])] == [name, *rest]


def test_headline_says_what_was_scored_on_what(tmp_path: Path) -> None:
    """Mean, complete and worst score stand at the top, with the parts of the model, the fold and the data set."""
    run = write_run(tmp_path)
    scores = json.loads((run / "scores.json").read_text())
    head = page_of(run).text.split("Configurations")[0]
    for value in (scores["mean_macro_f1"], scores["complete"]["macro_f1"], scores["worst"]["macro_f1"]):
        assert f"{value:.3f}" in head
    assert "encoder bilstm for text, audio and visual; fusion crossmodal; dropout policy uniform" in head
    assert "scored on 288 segments of the test fold of RAVDESS." in head
    assert "Warning: collapsed. text: only 'happy' is ever predicted." in head


def test_confusion_of_each_emotion_is_shown(tmp_path: Path) -> None:
    """A multi-label page has the four counts of each emotion and its threshold."""
    run = write_run(tmp_path, objective="multi")
    scores = json.loads((run / "scores.json").read_text())
    complete = scores["configurations"][scores["complete"]["configuration"]]
    rows = page_of(run).rows
    for emotion, threshold in scores["thresholds"].items():
        counts = [count for row in complete["confusion"][emotion] for count in row]
        cells = [cell for row in rows[f"{emotion}, threshold {threshold:.3f}"][1:3] for cell in row[1:]]
        assert [int(cell.split("%")[1]) for cell in cells] == counts


@pytest.mark.short_rows(1)
@pytest.mark.parametrize("synthetic", [True, False])
def test_synthetic_data_is_said_to_be_synthetic(tmp_path: Path, synthetic: bool) -> None:
    """Title, heading, first sentence, verdict, notices and facts say so when the data is synthetic, and only then."""
    page = page_of(write_run(tmp_path, synthetic=synthetic))
    assert len(re.findall("synthetic data", page.text, re.IGNORECASE)) == (8 if synthetic else 0)


def test_a_name_that_says_synthetic_is_enough(tmp_path: Path) -> None:
    """Where the data set's name says it, no badge and no bracket repeats it; verdict and notice stay."""
    page = page_of(write_run(tmp_path, synthetic=True, dataset="Synthetic sample"))
    assert re.findall("synthetic data", page.text, re.IGNORECASE) == ["synthetic data", "Synthetic data"]


def test_nothing_left_out_is_not_said(tmp_path: Path) -> None:
    """Of the reasons to leave segments out, those that met none are not listed."""
    text = page_of(write_run(tmp_path)).text
    assert text.count("Left out") == 1
    assert "3: no data in any modality" in text
    assert "too short" not in text


HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "{{ 7777 * 7777 }}{% raw %}",
    "</style></title></pre></code><svg/onload=alert(1)>",
    "javascript:alert(1)//&lt;b&gt;$\\frac\x00\u202e\ud800",
)


def test_hostile_names_make_no_markup(tmp_path: Path) -> None:
    """Names, notes and a recipe that hold markup change no tag and no attribute but quoted labels; all show as text."""
    benign = page_of(write_run(tmp_path / "benign", notes=["one", "two"]))
    run = write_run(
        tmp_path / "hostile",
        classes=HOSTILE,
        modalities=HOSTILE[:3],
        dataset=HOSTILE[1],
        notes=[HOSTILE[0], HOSTILE[5]],
    )
    (run / "recipe.toml").write_text("\n".join(HOSTILE[:5]) + " http://example.org")
    (run / "model.json").write_text(
        (run / "model.json").read_text().replace("bilstm", "</p><script>").replace("0.1.0", "<i>")
    )
    page = Page(write_report(run).read_text(encoding="utf-8"))

    def kinds(page: Page) -> set[tuple[str, str]]:
        return {(tag, name) for tag, name, _ in page.attributes}

    assert kinds(page) == kinds(benign)
    assert not {tag for tag, _, _ in page.attributes} & {"img", "iframe", "object", "link", "base", "form"}
    for name in HOSTILE[:5]:
        assert " ".join(name.split()) in page.text
    assert page.html.count("<script") == page.html.count("</script") == 2
    assert "60481729" not in page.html


@pytest.mark.short_rows(1)
@pytest.mark.parametrize("shape", ["single-label", "multi-label"])
def test_page_needs_nothing_from_outside(tmp_path: Path, shape: str) -> None:
    """No address of another place, no source, no @import; links lead to sections of the page or samples in it."""
    page = page_of(write_run(tmp_path, **SHAPES[shape]))
    assert not re.search(r"https?:|//\w|url\(|@import", page.html)
    ids = {value for _, name, value in page.attributes if name == "id"}
    links = {value for _, name, value in page.attributes if name == "href"}
    sections = set(re.findall(r'<section id="([a-z]+)">', page.html))
    assert {link for link in links if not (link or "").startswith("#sample=")} == {f"#{name}" for name in sections}
    assert sections <= ids
    assert not {name for _, name, _ in page.attributes} & {"src", "srcset", "action", "data", "xlink:href"}
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    style = {value for _, name, value in page.attributes if name == "style"}
    assert all(re.fullmatch(r"--v:[01]\.\d{4}(;--w:[01]\.\d{4}(;--s:[01]\.\d{4})?)?", value or "") for value in style)


def test_tables_are_accessible(tmp_path: Path) -> None:
    """Every table has a caption, every header cell a scope, every chart a label, and headings skip no level."""
    page = page_of(write_run(tmp_path))
    assert page.html.count("<table") == page.html.count("<caption>")
    assert all("scope=" in header for header in re.findall(r"<th\b[^>]*>", page.html))
    assert all("aria-" in chart for chart in re.findall(r"<svg\b[^>]*>", page.html))
    levels = [int(level) for level in re.findall(r"<h(\d)", page.html)]
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def luminance(colour: tuple[float, ...]) -> float:
    """Relative luminance of sRGB values from 0 to 255 (WCAG 2.2)."""
    linear = [c / 255 / 12.92 if c / 255 <= 0.04045 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.short_rows(1)
@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_contrast_meets_aa(tmp_path: Path, theme: int) -> None:
    """Text has a contrast of at least 4.5 on what it stands on, the deepest cell of a heat map included."""
    html = render(read_run(write_run(tmp_path)), [])
    block = re.findall(r":root \{(.*?)\}", html, re.DOTALL)[theme]
    pairs = re.findall(r"--([\w-]+): #(\w{6})", block)
    colour = {name: tuple(float(value) for value in bytes.fromhex(digits)) for name, digits in pairs}
    heat = float(re.findall(r"--heat: ([\d.]+)", block)[0])
    for cell, name in (("cell", "accent"), ("against-cell", "against")):
        colour[cell] = tuple(heat * a + (1 - heat) * p for a, p in zip(colour[name], colour["paper"], strict=True))
    for text, ground in (
        ("ink", "paper"), ("ink", "raised"), ("ink", "cell"), ("ink", "against-cell"), ("paper", "accent"),
        ("ink", "caution-paper"), ("muted", "paper"),
        ("muted", "raised"), ("accent", "paper"), ("caution", "paper"), ("caution", "caution-paper"),
    ):  # fmt: skip
        dark, light = sorted((luminance(colour[text]), luminance(colour[ground])))
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (text, ground)


@pytest.mark.parametrize("draw", [configurations, reliability])
def test_a_figure_is_drawn(tmp_path: Path, draw: Callable[[RunContents], Figure]) -> None:
    """The bars of the configurations and the calibration are pictures that are not blank."""
    picture = tmp_path / "figure.png"
    draw(read_run(write_run(tmp_path))).savefig(picture, dpi=60)
    assert imread(picture).std() > 0


@pytest.mark.pictures
@pytest.mark.parametrize(
    "shape",
    [
        pytest.param(shape, marks=pytest.mark.slow if place else pytest.mark.full, id=name)
        for place, (name, shape) in enumerate(SHAPES.items())
    ],
)
def test_figures_are_png_pdf_and_svg(tmp_path: Path, shape: dict[str, Any]) -> None:
    """The PNGs decode to something that is not blank, each has a PDF and an SVG beside it, the page names them all."""
    run = write_run(tmp_path, **shape)
    page = write_report(run).read_text(encoding="utf-8")
    names = {"configurations", "confusion", "learning_curves", "reliability", "risk_coverage"}
    names |= {"protocol_noise", "protocol_random"}
    names |= set() if len(shape.get("modalities", "more")) == 1 else {"shapley"}
    for suffix in ("png", "pdf", "svg"):
        assert {file.stem for file in run.glob(f"*.{suffix}")} == names
    for name in sorted(names):
        assert f"<code>{name}.png</code>" in page
        picture = imread(run / f"{name}.png")
        assert min(picture.shape[:2]) > 200
        assert picture.std() > 0
        pdf = (run / f"{name}.pdf").read_bytes()
        assert pdf.startswith(b"%PDF-")
        assert b"/Type3" not in pdf  # which publishers refuse
        inches = [float(value) / 72 for value in re.findall(rb"/MediaBox \[ 0 0 ([\d.]+) ([\d.]+) \]", pdf)[0]]
        assert inches == [pytest.approx(pixels / 300, abs=0.01) for pixels in picture.shape[1::-1]]
        assert ElementTree.parse(run / f"{name}.svg").getroot().tag == "{http://www.w3.org/2000/svg}svg"
    assert "each also as PDF and SVG" in page


@pytest.mark.slow
@pytest.mark.pictures
def test_report_repeats_itself(tmp_path: Path) -> None:
    """The same run gives the same page and figures, byte for byte, over the old ones, and no file holds a date."""
    run = write_run(tmp_path)
    files = [write_report(run), *sorted(file for suffix in ("png", "pdf", "svg") for file in run.glob(f"*.{suffix}"))]
    assert len(files) == 25
    before = [file.read_bytes() for file in files]
    write_report(run)
    assert [file.read_bytes() for file in files] == before
    assert not [mark for mark in (b"CreationDate", b"<dc:date>", b"tIME") if mark in b"".join(before)]


def test_command_is_safe_to_paste(tmp_path: Path) -> None:
    """The command quotes folders that hold spaces and shell characters."""
    run = write_run(tmp_path / "my run; rm -rf $HOME")
    command = re.findall(r'aria-label="Command"><code>(.*?)</code>', render(read_run(run), []))[0].replace("&#39;", "'")
    recipe, new = str(run / "recipe.toml"), f"{run}-again"
    assert shlex.split(command) == ["emotiwave", "run", recipe, "--data", "/data/ravdess", "--out", new]


PROVENANCE = {
    "started": "2026-01-31T23:05:09Z", "finished": "2026-02-01T00:20:00Z", "training_seconds": 4205.4,
    "scoring_seconds": 12.34, "device": "cuda", "hardware": "A <GPU>", "processes": 2, "threads": 8,
    "system": "Linux x86_64", "python": "3.11.7", "torch": "2.13.0", "emotiwave": "0.1.0",
}  # fmt: skip


def test_date_duration_and_hardware_are_those_of_the_record(tmp_path: Path) -> None:
    """Of a run with a record the page says when it was trained, how long it took, and on what; of an older one not."""
    run = write_run(tmp_path, each=2)
    assert "Hardware" not in page_of(run).text
    (run / "run.json").write_text(json.dumps(PROVENANCE))
    page = page_of(run)
    assert "trained on 31 January 2026 and scored on 12 segments" in page.text
    for fact in (
        "Trained31 January 2026, 23:05 UTC",
        "Duration1 h 10 min of training with validation, 12.3 s of scoring with the explanation",
        "HardwareA <GPU> (cuda), 2 processes with 8 CPU threads each",
        "SoftwareEmotiwave 0.1.0, PyTorch 2.13.0, Python 3.11.7, Linux x86_64",
    ):
        assert fact in page.text
    (run / "run.json").write_text(json.dumps(PROVENANCE | {"started": "<i>", "training_seconds": None, "processes": 1}))
    page = page_of(run)
    assert "Trained<i>" in page.text
    assert "Duration– of training" in page.text
    assert "1 process with 8 CPU threads" in page.text


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.04, "0.0 s"), (59.4, "59.4 s"), (59.6, "1 min 00 s"), (125, "2 min 05 s"), (3599.7, "1 h 00 min"),
     (90_061, "25 h 01 min"), (None, "–")],
)  # fmt: skip
def test_durations_are_said_as_people_say_them(seconds: float | None, words: str) -> None:
    """Seconds below a minute, then minutes and seconds, then hours and minutes, each rounded once."""
    assert duration(seconds) == words


def test_losses_are_told_apart(tmp_path: Path) -> None:
    """Where there is a validation loss, it has a line and a sentence says how it is measured; without it, neither."""
    run = write_run(tmp_path, each=2, epochs=3)
    assert "the validation loss is that of the complete configuration" in page_of(run).text
    assert [line.label for line in learning_charts(read_run(run).history, 1, "CCC")[0].lines] == [
        "training",
        "validation",
    ]
    lines = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    for line in lines:
        del line["valid"]["loss"]
    (run / "history.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert "the validation loss is" not in page_of(run).text
    assert [line.label for line in learning_charts(read_run(run).history, 1, "Macro-F1")[0].lines] == ["training"]
