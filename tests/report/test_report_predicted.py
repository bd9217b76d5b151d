"""What the page holds of the predictions: the rows of the file, safe to stand in a script element, of a modest size."""

import base64
import csv
import hashlib
import json
import re
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_fixture import THREE, write_run
from report_page import page_of

from emotiwave_core.errors import DataError
from emotiwave_core.report.page import render, view, write_report
from emotiwave_core.runs import predictions as predicted
from emotiwave_core.runs.contents import read_run
from emotiwave_core.runs.scores import Scores, read_scores

HOSTILE = ("</script><script>alert(1)</script>", "<!--<script>", "]]>&amp;\u2028\u2029", 'a,"b"\nc')


@pytest.mark.parametrize("objective", ["single", "multi"])
def test_predictions_are_those_of_the_file(tmp_path: Path, objective: str) -> None:
    """Every sample has its id, true and decided classes, and probabilities of every configuration in per mille."""
    run = write_run(tmp_path, objective=objective, each=2)
    facts = read_run(run)
    assert facts.predicted is not None
    with (run / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    classes, count = facts.scores.classes, facts.scores.samples

    def named(words: str) -> list[int]:
        return [classes.index(one) for one in words.split("+") if one]

    for place, sample in enumerate(facts.predicted.samples):
        for k in range(7):
            row = rows[k * count + place]
            assert (sample.id, list(sample.truth)) == (row["id"], named(row["truth"]))
            assert list(sample.decided[k]) == named(row["predicted"])
            assert sample.permille[k] == [round(1000 * float(row[f"p({name})"])) for name in classes]


@given(st.lists(st.text("ab+", min_size=1, max_size=4), min_size=1, max_size=6, unique=True), st.data())
def test_joined_names_are_read_back(classes: list[str], data: st.DataObject) -> None:
    """Also where names hold a plus, what is read joins to the same words, in the order of the classes."""
    chosen = data.draw(st.lists(st.sampled_from(range(len(classes))), unique=True).map(sorted))
    scores = Scores.__new__(Scores)
    object.__setattr__(scores, "objective", "multi")
    object.__setattr__(scores, "classes", classes)
    words = "+".join(classes[index] for index in chosen)
    found = predicted.class_indices(words, scores)
    assert list(found) == sorted(set(found))
    assert "+".join(classes[index] for index in found) == words
    with pytest.raises(ValueError, match="not made of"):
        predicted.class_indices(f"{words}c", scores)


def test_embedded_predictions_cannot_leave_their_element(tmp_path: Path) -> None:
    """The JSON holds no <, >, & or line separator, says the same when read, and the policy knows the script's hash."""
    run = write_run(tmp_path, each=2, ids=HOSTILE, classes=(*HOSTILE[:3], "calm"))
    facts = read_run(run)
    assert facts.predicted is not None
    html = render(facts, [])
    data, script = re.findall(
        r"<script(?: type=\"application/json\" id=\"panel-data\")?>(.*?)</script>", html, re.DOTALL
    )
    assert not re.search("[<>&\u2028\u2029\n]", data)
    samples = json.loads(data)["samples"]
    assert [one[0] for one in samples] == [one.id for one in facts.predicted.samples]
    assert samples[0][0] == HOSTILE[0]
    assert samples[3][3] == facts.predicted.samples[3].permille
    assert [one[4] for one in samples[:12]] == [0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0][: len(samples)]
    assert json.loads(data)["configurations"] == [1, 2, 4, 3, 5, 6, 7]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = re.findall(r'http-equiv="Content-Security-Policy" content="(.*?)"', html)
    allowed = f"script-src 'sha256-{digest}'; style-src 'unsafe-inline'"
    assert policy == [f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'"]


def test_large_fold_is_sampled_evenly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a fold beyond the limit the chosen samples and an even selection are kept, and the page says how many."""
    run = write_run(tmp_path, each=10)
    monkeypatch.setattr(predicted, "MOST_SAMPLES", 20)
    facts = read_run(run)
    assert facts.predicted is not None
    assert facts.explanation is not None
    kept = [one.id for one in facts.predicted.samples]
    chosen = {one.id for one in facts.explanation.chosen}
    assert kept == sorted({f"video-{place:04d}[0]" for place in range(0, 60, 3)} | chosen)
    assert f"The fold has 60 segments; the page holds {len(kept)} of them" in page_of(run).text
    monkeypatch.setattr(predicted, "MOST_NUMBERS", 6 * 7 * 5)
    facts = read_run(run)
    assert facts.predicted is not None
    assert {one.id for one in facts.predicted.samples} == {
        f"video-{place:04d}[0]" for place in range(0, 60, 12)
    } | chosen


def test_without_predictions_there_is_no_script(tmp_path: Path) -> None:
    """Without predictions.csv the page says how to get them, holds no script, and no policy lets one run."""
    run = write_run(tmp_path)
    (run / "predictions.csv").unlink()
    page = page_of(run)
    assert "<script" not in page.html
    assert "script-src" not in page.html
    assert f"There is no predictions.csv to make the panel from: emotiwave evaluate {run} writes it" in page.text
    assert "needs no network and runs no script" in page.text
    assert "#sample=" not in page.html


def test_view_is_quoted() -> None:
    """A link to a view quotes all that could end it or be read as another modality."""
    assert view("a&off=b#c d", "e,f") == "#sample=a%26off%3Db%23c%20d&off=e%2Cf"
    assert view("幸") == "#sample=%E5%B9%B8"


@pytest.mark.short_rows(6)
@pytest.mark.parametrize(
    "change",
    [
        lambda lines: lines[:-1],
        lambda lines: [*lines, lines[-1]],
        lambda lines: [*lines[:5], lines[6], lines[5], *lines[7:]],
        lambda lines: [lines[0].replace("p(sad)", "p(glad)"), *lines[1:]],
        lambda lines: [line.replace(",text+audio,", ",audio,") for line in lines],
        lambda lines: [*lines[:-1], re.sub(r"\d\.\d{6}$", "nan", lines[-1])],
        lambda lines: [*lines[:-1], re.sub(r"\d\.\d{6}$", "1.5", lines[-1])],
        lambda lines: [*lines[:-1], re.sub(r"\d\.\d{6}$", "inf", lines[-1])],
        lambda lines: [*lines[:-1], f"{lines[-1]},0.5"],
        lambda lines: [line.replace(",sad,", ",glad,") for line in lines],
        lambda lines: [*lines[:-1], f'"{"x" * 200_000}"{lines[-1]}'],
        lambda lines: [],
        lambda lines: ["\x00" * 20],
        lambda lines: ["\udcff", *lines],
    ],
)
def test_damaged_predictions_are_one_sentence(tmp_path: Path, change: Callable[[list[str]], list[str]]) -> None:
    """Rows that lack, are too many, out of order or of other classes, and numbers that are no probabilities."""
    run = write_run(tmp_path, each=2)
    path = run / "predictions.csv"
    lines = change(path.read_text().splitlines())
    path.write_bytes("".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match=r"predictions\.csv is damaged .*evaluate.*` writes it anew\.$"):
        write_report(run)


@pytest.mark.full
def test_predictions_are_written_in_the_memory_of_a_row(tmp_path: Path) -> None:
    """Of many classes the table takes no memory that grows with its rows, and has all of them as they were given.

    Its columns of certainty are read over, and so is a file of an earlier version that has none.
    """
    run = write_run(tmp_path, classes=[f"class {n}" for n in range(200)], each=1)
    scores, random = read_scores(run), np.random.default_rng(0)
    answers = random.dirichlet(np.ones(200), (7, 200))
    samples = [predicted.LabelledSample(f"v{n}", 0.0, 1.0, n) for n in range(200)]
    known = predicted.Certainty(answers.max(axis=2), answers.min(axis=2), {"audio": np.full(200, 0.5)})
    for certainty in (known, predicted.Certainty(None, None, {})):
        tracemalloc.start()
        predicted.write_predictions(
            run / "predictions.csv", tuple(scores.classes), THREE, samples, answers.argmax(axis=2), answers, certainty
        )
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert most < (run / "predictions.csv").stat().st_size / 10
        read = predicted.read_predicted(run, scores, [])
        assert read is not None
        assert [one.id for one in read.samples] == [one.id for one in samples]
        assert read.samples[7].permille == np.round(1000 * answers[:, 7]).astype(int).tolist()
        assert [one[0] for one in read.samples[7].decided] == answers[:, 7].argmax(axis=1).tolist()


@pytest.mark.full
@pytest.mark.parametrize("objective", ["single", "multi"])
def test_alarms_stand_on_the_page_where_the_run_has_some(tmp_path: Path, objective: str) -> None:
    """Each sample with a high alarm links to the panel; a run of an earlier version has neither section nor table."""
    run = write_run(tmp_path, objective=objective, each=2)
    page = page_of(run).text
    for place, modality, alarm in ((0, "audio", "9.50"), (2, "visual", "7.50")):
        assert re.search(rf"video-000{place}\[0\]{modality}{alarm} ×", page)
    assert ("Kept to a share of errors" in page) == (objective == "single")
    scores = json.loads((run / "scores.json").read_text())
    del scores["alarms"]
    scores.pop("abstention", None)
    (run / "scores.json").write_text(json.dumps(scores))
    page = page_of(run).text
    assert "Signals that lie" not in page
    assert "Kept to a share of errors" not in page
