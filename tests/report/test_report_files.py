"""The files that a report is made of: missing, torn or damaged ones are one sentence."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from file_damage import damage
from report_fixture import EMOTIONS, write_run
from report_page import page_of

from emotiwave_core.errors import DataError, SettingsError
from emotiwave_core.report.page import write_report
from emotiwave_core.runs.contents import read_run


@pytest.mark.short_rows(2)
@pytest.mark.parametrize("name", ["scores.json", "data.json", "history.jsonl", "recipe.toml"])
def test_missing_file_is_one_sentence(tmp_path: Path, name: str) -> None:
    """A file that is not there is named; for the scores the way out is `emotiwave evaluate`."""
    run = write_run(tmp_path)
    (run / name).unlink()
    with pytest.raises(DataError, match=f"has no {name}: ") as caught:
        write_report(run)
    assert ("run `emotiwave evaluate" in str(caught.value)) == (name == "scores.json")
    assert not (run / "report.html").exists()


@pytest.mark.parametrize("left", [(), ("recipe.toml",), ("data.json",), ("data.json", "scores.json")])
def test_a_folder_without_a_model_is_said_to_hold_none(tmp_path: Path, left: Sequence[str]) -> None:
    """Whatever else is there, without model.json it is no run that has ended: the sentence of `emotiwave evaluate`."""
    run = write_run(tmp_path, each=2)
    for file in [one for one in run.iterdir() if one.is_file() and one.name not in left]:
        file.unlink()
    with pytest.raises(DataError) as caught:
        write_report(run)
    assert str(caught.value) == (f"{run} holds no trained model (model.json); give the folder of a run that has ended.")


@pytest.mark.parametrize("lost", [(), ("scores.json",), ("scores.json", "model.json")])
def test_a_run_that_has_not_ended_is_to_be_resumed(tmp_path: Path, lost: Sequence[str]) -> None:
    """Before training has ended, the way out is to resume it, in a command that can be pasted."""
    run = write_run(tmp_path / "a b", each=2)
    (run / "data.json").write_text(damage(lambda it: it.update(trained=False))((run / "data.json").read_text()))
    for name in lost:
        (run / name).unlink()
    with pytest.raises(SettingsError) as caught:
        write_report(run)
    assert str(caught.value) == f"The training in {run} has not ended: emotiwave run --resume '{run}'."


@pytest.mark.parametrize(
    ("name", "options", "end"),
    [
        ("scores.json", "", "."), ("explanation.json", "", "."), ("predictions.csv", "", "."),
        ("protocols/noise.json", " --protocol noise", ", or delete it."),
    ],
)  # fmt: skip
def test_the_way_out_of_a_damaged_file_can_be_pasted(tmp_path: Path, name: str, options: str, end: str) -> None:
    """A file that `emotiwave evaluate` writes is written anew by the command in the sentence, the folder quoted."""
    run = write_run(tmp_path / "a b", each=2)
    (run / name).write_text("{")
    with pytest.raises(DataError) as caught:
        write_report(run)
    assert str(caught.value).endswith(f"; `emotiwave evaluate '{run}'{options}` writes it anew{end}")


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("protocols/noise.json", lambda it: it.pop("fold"), "'fold' is missing"),
        ("scores.json", lambda it: it["constant"].pop("macro_f1"),
         "'constant.macro_f1' is missing"),
        ("scores.json", lambda it: it.update(samples=2.5), "'samples' is wrong: int expected"),
        ("explanation.json", lambda it: it["decided"].update(text=1.5),
         "'decided['text']' is wrong: number from 0 to 1 expected"),
        ("model.json", lambda it: it.update(parameters=10**40), "'parameters' is wrong: a number below 1e30 expected"),
    ],
)  # fmt: skip
def test_damage_is_named_by_its_key(tmp_path: Path, name: str, change: Callable[[Any], object], says: str) -> None:
    """The sentence names the key in question and what is wrong with it, in words and not in those of a library."""
    run = write_run(tmp_path, each=2)
    (run / name).write_text(damage(change)((run / name).read_text()))
    with pytest.raises(DataError) as caught:
        write_report(run)
    assert f"writes: {says}" in str(caught.value)
    assert "$" not in str(caught.value)


@pytest.mark.short_rows(10)
@pytest.mark.parametrize("name", ["scores.json", "model.json", "data.json", "explanation.json", "protocols/noise.json"])
@pytest.mark.parametrize(
    "change",
    [lambda text: text[:-9], lambda text: "[]", lambda text: "", lambda text: "[" * 100_000, lambda text: "null"],
    ids=["cut", "list", "empty", "deep", "null"],
)
def test_damaged_file_is_one_sentence(tmp_path: Path, name: str, change: Callable[[str], str]) -> None:
    """A file that is not what a run writes is a DataError that names it and says that it is no JSON object."""
    run = write_run(tmp_path, each=2)
    (run / name).write_text(change((run / name).read_text()))
    with pytest.raises(DataError, match=f"{name}.*(it is not JSON|it is no JSON object|nested too deeply)"):
        write_report(run)


@pytest.mark.short_rows(5)
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
