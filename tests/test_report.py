"""The report of a run: complete, true to the files, harmless whatever stands in them."""

import json
import re
import shlex
from collections.abc import Callable
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from matplotlib.image import imread
from report_fixture import EMOTIONS, write_run

from emotiwave_core.errors import DataError
from emotiwave_core.report.facts import read_run
from emotiwave_core.report.page import constant_guess, render, write_report

VOID = {"meta", "wbr"}
FIVE = ("text", "audio", "visual", "physiology", "gaze")
TWENTY = tuple(f"a rather long emotion {number}" for number in range(20))
SHAPES: dict[str, dict[str, Any]] = {
    "single-label": {},
    "multi-label": {"objective": "multi", "synthetic": True},
    "one modality": {"modalities": ("audio",)},
    "one class and one epoch": {"modalities": ("audio",), "classes": ("valence",), "objective": "multi", "epochs": 1},
    "five modalities": {"modalities": FIVE, "classes": TWENTY},
    "five modalities, multi-label": {"modalities": FIVE, "classes": TWENTY, "objective": "multi"},
    "no epoch": {"epochs": 0},
}


class Page(HTMLParser):
    """A parsed page: its text, table cells, tags with their attributes; fails on a tag that is not closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html, self.words, self.attributes, self.open = html, "", [], []
        self.rows: dict[str, list[list[str]]] = {}  # caption -> rows of cells
        self.feed(html)
        self.close()
        assert self.open == []
        self.text = " ".join(self.words.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the tag; a caption names the table that it opens."""
        self.attributes += [(tag, name, value) for name, value in attrs] or [(tag, "", None)]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "caption":
            self.caption = ""
        elif tag == "tr":
            self.rows.setdefault(self.caption, []).append([])
        elif tag in ("td", "th"):
            self.rows[self.caption][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        """Every end tag closes the tag opened last."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Text goes to the page, and to the caption or cell it stands in."""
        if "style" not in self.open:
            self.words += data
        if "caption" in self.open:
            self.caption += data
        elif "td" in self.open or "th" in self.open:
            self.rows[self.caption][-1][-1] += data


def page_of(run: Path) -> Page:
    """The report of a run folder, parsed."""
    return Page(render(read_run(run)))


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_page_is_well_formed_and_names_everything(tmp_path: Path, shape: dict[str, Any]) -> None:
    """For every number of modalities and classes the page parses and holds each configuration and each class."""
    run = write_run(tmp_path, **shape)
    page = Page(write_report(run).read_text(encoding="utf-8"))
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
        rest = [f"{one['macro_f1']:.3f}", *drops, f"{one['accuracy']:.3f}", f"{one['weighted_accuracy']:.3f}"]
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


@pytest.mark.parametrize("synthetic", [True, False])
def test_synthetic_data_is_said_to_be_synthetic(tmp_path: Path, synthetic: bool) -> None:
    """Title, heading, first sentence, notices and facts say so when the data is synthetic, and only then."""
    page = page_of(write_run(tmp_path, synthetic=synthetic))
    assert len(re.findall("synthetic data", page.text, re.IGNORECASE)) == (5 if synthetic else 0)


HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "{{ 7 * 7 }}{% raw %}",
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
    assert not {tag for tag, _, _ in page.attributes} & {"script", "img", "iframe", "object", "link", "base", "form"}
    for name in HOSTILE[:5]:
        assert " ".join(name.split()) in page.text
    assert "<script" not in page.html
    assert page.text.count("49") == benign.text.count("49")


@pytest.mark.parametrize("shape", ["single-label", "multi-label"])
def test_page_needs_nothing_from_outside(tmp_path: Path, shape: str) -> None:
    """No address of another place, no source, no script, no @import; links lead to places in the page that exist."""
    page = page_of(write_run(tmp_path, **SHAPES[shape]))
    assert not re.search(r"https?:|//\w|url\(|@import", page.html)
    ids = {value for _, name, value in page.attributes if name == "id"}
    links = {value for _, name, value in page.attributes if name == "href"}
    assert links == {f"#{name}" for name in ids}
    assert not {name for _, name, _ in page.attributes} & {"src", "srcset", "action", "data", "xlink:href"}
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    style = {value for _, name, value in page.attributes if name == "style"}
    assert all(re.fullmatch(r"--v:[01]\.\d{4}(;--w:[01]\.\d{4})?", value or "") for value in style)


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


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_contrast_meets_aa(tmp_path: Path, theme: int) -> None:
    """Text has a contrast of at least 4.5 on what it stands on, the deepest cell of a heat map included."""
    html = render(read_run(write_run(tmp_path)))
    block = re.findall(r":root \{(.*?)\}", html, re.DOTALL)[theme]
    pairs = re.findall(r"--([\w-]+): #(\w{6})", block)
    colour = {name: tuple(float(value) for value in bytes.fromhex(digits)) for name, digits in pairs}
    heat = float(re.findall(r"--heat: ([\d.]+)", block)[0])
    colour["cell"] = tuple(heat * a + (1 - heat) * p for a, p in zip(colour["accent"], colour["paper"], strict=True))
    for text, ground in (
        ("ink", "paper"), ("ink", "raised"), ("ink", "cell"), ("ink", "caution-paper"), ("muted", "paper"),
        ("muted", "raised"), ("accent", "paper"), ("caution", "paper"), ("caution", "caution-paper"),
    ):  # fmt: skip
        dark, light = sorted((luminance(colour[text]), luminance(colour[ground])))
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (text, ground)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_pictures_are_png(tmp_path: Path, shape: dict[str, Any]) -> None:
    """The three pictures are PNG files that decode to something that is not blank."""
    run = write_run(tmp_path, **shape)
    write_report(run)
    for name in ("configurations.png", "confusion.png", "learning_curves.png"):
        picture = imread(run / name)
        assert min(picture.shape[:2]) > 200
        assert picture.std() > 0


@pytest.mark.parametrize("name", ["scores.json", "model.json", "data.json", "history.jsonl", "recipe.toml"])
def test_missing_file_is_one_sentence(tmp_path: Path, name: str) -> None:
    """A file that is not there is named; for the scores the way out is `emotiwave evaluate`."""
    run = write_run(tmp_path)
    (run / name).unlink()
    with pytest.raises(DataError, match=f"has no {name}: ") as caught:
        write_report(run)
    assert ("run `emotiwave evaluate" in str(caught.value)) == (name == "scores.json")
    assert not (run / "report.html").exists()


def damage(change: Callable[[dict[str, Any]], object]) -> Callable[[str], str]:
    """A change of parsed JSON as a change of its text."""

    def changed(text: str) -> str:
        value = json.loads(text)
        change(value)
        return json.dumps(value)

    return changed


@pytest.mark.parametrize("name", ["scores.json", "model.json", "data.json"])
@pytest.mark.parametrize(
    "change",
    [lambda text: text[:-9], lambda text: "[]", lambda text: "", lambda text: "[" * 100_000, lambda text: "null"],
    ids=["cut", "list", "empty", "deep", "null"],
)
def test_damaged_file_is_one_sentence(tmp_path: Path, name: str, change: Callable[[str], str]) -> None:
    """A file that is not what a run writes is a DataError that names it."""
    run = write_run(tmp_path)
    (run / name).write_text(change((run / name).read_text()))
    with pytest.raises(DataError, match=name):
        write_report(run)


@pytest.mark.parametrize(
    "change",
    [
        lambda scores: scores.pop("mean_macro_f1"),
        lambda scores: scores.update(mean_macro_f1="<b>"),
        lambda scores: scores.update(mean_macro_f1=float("nan")),
        lambda scores: scores.update(mean_macro_f1=float("inf")),
        lambda scores: scores.update(samples=True),
        lambda scores: scores.update(samples=2.5),
        lambda scores: scores.update(objective="other"),
        lambda scores: scores.update(classes=[*EMOTIONS, "calm"]),
        lambda scores: scores["worst"].update(configuration="smell"),
        lambda scores: scores["configurations"]["text"].update(confusion=[[1, 2], [3]]),
        lambda scores: scores["configurations"]["text"].update(confusion={"happy": [[1, 2], [3, 4]]}),
        lambda scores: scores["configurations"]["text"]["classes"].pop("happy"),
    ],
)
def test_scores_that_do_not_agree_are_refused(tmp_path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Scores with a missing, mistyped or infinite number, or names and sizes that do not agree, are a DataError."""
    run = write_run(tmp_path)
    (run / "scores.json").write_text(damage(change)((run / "scores.json").read_text()))
    with pytest.raises(DataError, match=r"scores\.json is damaged"):
        write_report(run)


@pytest.mark.parametrize("torn", [b'{"epoch": 25, "train_lo', b'{"epoch": 25, "train_loss": 0.1, "note": "\xc3'])
def test_torn_last_line_is_ignored(tmp_path: Path, torn: bytes) -> None:
    """A last line that was cut off, also inside a character, leaves the epochs before it; elsewhere it is an error."""
    run = write_run(tmp_path)
    whole = (run / "history.jsonl").read_bytes()
    (run / "history.jsonl").write_bytes(whole + torn)
    assert [epoch.epoch for epoch in read_run(run).history] == list(range(1, 25))
    (run / "history.jsonl").write_bytes(torn + b"\n" + whole)
    with pytest.raises(DataError, match=r"Line 1 of .*history\.jsonl is damaged"):
        read_run(run)


def test_epoch_trained_again_counts_once(tmp_path: Path) -> None:
    """Of two lines of one epoch, as a resumed run writes them, the later holds; a loss that is NaN is a gap."""
    run = write_run(tmp_path, epochs=3)
    lines = (run / "history.jsonl").read_text().splitlines()
    again = damage(lambda epoch: epoch.update(train_loss=float("nan")))(lines[1])
    (run / "history.jsonl").write_text("\n".join([*lines, again]))
    assert [(one.epoch, one.train_loss is None) for one in read_run(run).history] == [(1, False), (2, True), (3, False)]
    curves = [value for tag, name, value in page_of(run).attributes if (tag, name) == ("path", "d")]
    assert curves
    assert all(re.fullmatch(r"[MLh\d. ]+", curve or "") for curve in curves)


def test_report_repeats_itself(tmp_path: Path) -> None:
    """The same run gives the same page and pictures, byte for byte, over the old ones."""
    run = write_run(tmp_path)
    files = [write_report(run), *sorted(run.glob("*.png"))]
    before = [file.read_bytes() for file in files]
    write_report(run)
    assert [file.read_bytes() for file in files] == before


def test_constant_guess_is_the_best_constant(tmp_path: Path) -> None:
    """The dashed line is what scikit-learn gives the best answer that is the same for every sample."""
    from sklearn.metrics import f1_score

    scores = read_run(write_run(tmp_path / "single")).scores
    true = [index for index, name in enumerate(scores.classes) for _ in range(48)]
    best = max(f1_score(true, [guess] * len(true), average="macro") for guess in range(len(scores.classes)))
    assert constant_guess(scores) == pytest.approx(best)
    scores = read_run(write_run(tmp_path / "multi", objective="multi")).scores
    supports = [one.support for one in scores.configurations["text"].classes.values()]
    each = [f1_score([1] * n + [0] * (scores.samples - n), [1] * scores.samples) for n in supports]
    assert constant_guess(scores) == pytest.approx(sum(each) / len(each))


def test_command_is_safe_to_paste(tmp_path: Path) -> None:
    """The command quotes folders that hold spaces and shell characters."""
    run = write_run(tmp_path / "my run; rm -rf $HOME")
    command = re.findall(r'aria-label="Command"><code>(.*?)</code>', render(read_run(run)))[0].replace("&#39;", "'")
    recipe, new = str(run / "recipe.toml"), f"{run}-again"
    assert shlex.split(command) == ["emotiwave", "run", recipe, "--data", "/data/ravdess", "--out", new]
