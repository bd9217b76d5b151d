"""The model card says what the files of a run say, is valid for Hugging Face, and no name in it is more than text."""

import json
import re
import shutil
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import write_dataset, write_numbers
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt
from report_fixture import write_run

import emotiwave as ew
from emotiwave_core.modalities import configurations
from emotiwave_core.report.card import CARD, plain, render_card
from emotiwave_core.runs.contents import read_run

HOSTILE = (
    "</script><script>alert(1)</script>",
    "[click](javascript:alert(1)) ![x](https://evil.example/x.png)",
    "`code` **bold** _under_ | cell # head",
    "https://evil.example www.evil.example a@b.example &lt;b&gt; $x$",
    '"quoted": {yaml: [1]}\n---\nlicense: mit',
    "\u2028\u2029\uffff 幸せ 🙂 \\",
)


def card_of(run: Path) -> str:
    """The card of a folder."""
    return render_card(read_run(run))


def rows_of(card: str, heading: str, first: str) -> list[list[str]]:
    """The rows of the table under a heading whose first column is called so."""
    section = card.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    table = section.split(f"\n| {first} |", 1)[1].split("\n\n", 1)[0]
    rows = [row.removeprefix("| ").removesuffix(" |").split(" | ") for row in table.splitlines()[2:]]
    return [[cell.strip() for cell in row] for row in rows]


def test_hugging_face_reads_the_front_matter(tmp_path: Path) -> None:
    """Its own class finds licence, tags and every configuration's score, and writes them again as they were."""
    run = write_run(tmp_path / "run")
    card = ModelCard(card_of(run))
    scores = json.loads((run / "scores.json").read_text())
    assert (card.data.license, card.data.pipeline_tag, card.data.library_name) == ("unknown", "other", "emotiwave")
    assert {"emotion-recognition", "text", "audio", "visual"} <= set(card.data.tags)
    found = {each.metric_name: each for each in card.data.eval_results}
    assert len(found) == 8
    for name, scored in scores["configurations"].items():
        one = found[f"Macro-F1, {name}"]
        assert (one.metric_type, one.dataset_name, one.dataset_split) == ("f1", "RAVDESS", "test")
        assert one.metric_value == pytest.approx(scored["macro_f1"], abs=1e-4)
    again = ModelCard(str(card))
    assert again.data.to_dict() == card.data.to_dict()
    assert "synthetic-data" not in card.data.tags


def test_the_card_says_what_the_files_say(tmp_path: Path) -> None:
    """Scores with intervals, the drop without each modality, calibration, counts of the folds, and rare classes."""
    run = write_run(tmp_path / "run", each=7, notes=["a note"])
    card, scores = card_of(run), json.loads((run / "scores.json").read_text())
    rows = {row[0]: row[1:] for row in rows_of(card, "Scores", "configuration")}
    complete = scores["complete"]["configuration"]
    for name in ("+".join(subset) for subset in configurations(("text", "audio", "visual"))):
        scored = scores["configurations"][name]
        low, high = scored["macro_f1_interval"]
        change = "" if name == complete else f"{-scored['absolute_drop']:+.3f}".replace("-", "−")
        assert rows[name][:3] == [f"{scored['macro_f1']:.3f}", f"{low:.3f}–{high:.3f}", change]
    assert rows["mean of all"][0] == f"{scores['mean_macro_f1']:.3f}"
    without = scores["configurations"]["text+visual"]
    assert f"Without audio: {without['macro_f1']:.3f} (" in card
    ece = scores["configurations"][complete]["calibration"]["ece"]
    assert f"calibration error with all modalities: {ece:.3f}" in card
    assert "Fewer than 10 test samples, too few to score: happy (7), sad (7)" in card
    assert "bootstrap resamples of 24 videos, of one training (seeds: 1)" in card
    assert "- a note" in card
    assert "Article 5(1)(f)" in card
    assert "Synthetic" not in card
    folds = json.loads((run / "data.json").read_text())["folds"]
    assert [row[0] for row in rows_of(card, "Trained on", "fold")] == list(folds)


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    """No name makes a tag, a link, a picture, a cell or a line of YAML; what is seen is the name."""
    shape: dict[str, Any] = {"classes": HOSTILE, "modalities": ("text", *HOSTILE[:2]), "dataset": HOSTILE[4]}
    run = write_run(tmp_path / "run", **shape, notes=HOSTILE)
    card = card_of(run)
    data = ModelCard(card).data
    assert data.license == "unknown"
    seen = data.eval_results[0].dataset_name
    assert seen == HOSTILE[4].replace("\n", " ")
    body = card.split("\n---\n", 1)[1]
    html = MarkdownIt("commonmark", {"html": True}).enable("table").render(body)
    tags = set(re.findall(r"<(/?\w+)", html))
    known = {"h1", "h2", "p", "ul", "li", "table", "thead", "tbody", "tr", "th", "td", "pre", "code", "strong"}
    assert {tag.lstrip("/") for tag in tags} <= known
    assert html.count("<strong>") == 0
    seen_text = unescape(re.sub(r"<[^>]*>", "", html))
    assert all(name in seen_text for name in HOSTILE[:4])
    columns = {len(row) for row in rows_of(card, "Scores", "configuration")}
    assert columns == {4}
    # Links that GitHub and Hugging Face make of bare addresses.
    for link in ("https://", "www.evil", "a@b"):
        assert link not in body.split("```", 2)[2]


def test_text_is_escaped_and_reads_the_same() -> None:
    """Rendered, an escaped text is the text."""
    for text in (*HOSTILE[:4], "1. one", "a_b*c", "http://x", "50%"):
        html = MarkdownIt().render(f"x {plain(text)}")
        assert unescape(html.strip()) == f"<p>x {text}</p>"


def test_a_run_folder_is_complete_by_itself(tmp_path: Path, own_cache: Path) -> None:
    """Zipped and opened elsewhere, without its data, it answers as before and writes the same card and a report."""
    (tmp_path / "data").mkdir()
    data, out = write_dataset(tmp_path / "data"), tmp_path / "here" / "run"
    run = ew.train(data, encoder="mean", out=out, training={"epochs": 1}, device="cpu")
    card, sample = (out / CARD).read_text(), {"text": np.ones((3, 5))}
    assert "ew.open_run" in card
    assert str(tmp_path) not in card
    before, scores = run.predict(**sample), run.scores().to_dict()
    archive = shutil.make_archive(str(tmp_path / "run"), "zip", out)
    for gone in (data, out.parent, own_cache):
        shutil.rmtree(gone)
    shutil.unpack_archive(archive, tmp_path / "elsewhere")
    opened = ew.open_run(tmp_path / "elsewhere")
    assert opened.scores().to_dict() == scores
    assert opened.predict(**sample) == before
    (tmp_path / "elsewhere" / CARD).unlink()
    assert opened.report().exists()
    assert (tmp_path / "elsewhere" / CARD).read_text() == card


@pytest.mark.slow
def test_numbers_have_a_card(tmp_path: Path) -> None:
    """A regression's card has the concordance correlation of each configuration and of each target."""
    (tmp_path / "data").mkdir()
    data = write_numbers(tmp_path / "data", targets=("valence", "arousal"))
    run = ew.train(data, encoder="mean", out=tmp_path / "run", training={"epochs": 2}, device="cpu")
    card = (run.folder / CARD).read_text()
    found = ModelCard(card).data.eval_results
    assert {each.metric_type for each in found} == {"ccc"}
    assert found[0].metric_value == pytest.approx(run.scores()["text"].score, abs=1e-4)
    assert "| valence |" in card
    assert "numbers for valence and arousal" in card
