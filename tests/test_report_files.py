"""The files that a report is made of: missing, torn or damaged ones are one sentence."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from report_fixture import EMOTIONS, write_run
from report_page import page_of

from emotiwave_core.errors import DataError
from emotiwave_core.report.facts import read_run
from emotiwave_core.report.page import write_report


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


@pytest.mark.parametrize("name", ["scores.json", "model.json", "data.json", "explanation.json", "protocols/noise.json"])
@pytest.mark.parametrize(
    "change",
    [lambda text: text[:-9], lambda text: "[]", lambda text: "", lambda text: "[" * 100_000, lambda text: "null"],
    ids=["cut", "list", "empty", "deep", "null"],
)
def test_damaged_file_is_one_sentence(tmp_path: Path, name: str, change: Callable[[str], str]) -> None:
    """A file that is not what a run writes is a DataError that names it."""
    run = write_run(tmp_path, each=2)
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
    assert all(re.fullmatch(r"[MLHVhZ\d. -]+", curve or "") for curve in curves)
