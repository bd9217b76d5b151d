"""`scores.json` as a typed record: what is read is what was written, and a table for those who have pandas."""

import itertools
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from report_fixture import write_run

from emotiwave_core.errors import DataError, SettingsError
from emotiwave_core.runs.scores import SCORES, read_scores, write_scores


@pytest.mark.parametrize("objective", ["single", "multi"])
def test_scores_are_written_as_they_are_read(tmp_path: Path, objective: str) -> None:
    """`to_dict()` is the content of the file, and what is written of it reads as the same record."""
    run = write_run(tmp_path / "run", objective=objective, each=2)
    scores = read_scores(run)
    assert scores.to_dict() == json.loads((run / SCORES).read_text())
    write_scores(tmp_path, scores)
    assert read_scores(tmp_path) == scores


def test_configurations_are_found_by_name(tmp_path: Path) -> None:
    """A configuration has its metrics as a mapping, and the headline one by name; an unknown name is one sentence."""
    run = write_run(tmp_path, each=2)
    scores, content = read_scores(run), json.loads((run / SCORES).read_text())
    assert list(scores) == list(content["configurations"])
    for name in scores:
        entry = content["configurations"][name]
        assert scores[name].macro_f1 == scores[name].metrics["macro_f1"] == entry["macro_f1"]
        assert scores[name].classes["sad"].f1 == entry["classes"]["sad"]["f1"]


def test_modalities_of_a_configuration_stand_in_any_order(tmp_path: Path) -> None:
    """`audio+text` is `text+audio`; a wrong name is answered with the configuration that is meant."""
    scores = read_scores(write_run(tmp_path, each=2))
    for name in scores:
        for order in itertools.permutations(name.split("+")):
            assert scores["+".join(order)] is scores[" + ".join(order)] is scores[name]
    for wrong, meant in {"text+adio": "text+audio", "adio+text": "text+audio", "visul+adio": "audio+visual"}.items():
        with pytest.raises(SettingsError, match=re.escape(f"no configuration '{wrong}'. Did you mean '{meant}'?")):
            scores[wrong]
    for wrong in ("text+text", "", "text+", "+"):
        with pytest.raises(SettingsError, match="Choose from: audio"):
            scores[wrong]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda it: it["configurations"]["text"].pop("macro_f1"),
         "'configurations['text'].macro_f1' is missing"),
        (lambda it: it["configurations"]["text"].update(macro_f1=None),
         "'configurations['text'].macro_f1' is wrong: float expected"),
        (lambda it: it["configurations"]["text"].update(micro_f1=1.5),
         "'configurations['text'].micro_f1' is wrong: number from 0 to 1 expected"),
        (lambda it: it["configurations"]["text"].update(new="words"),
         "'configurations['text'].new' is wrong: float expected"),
        (lambda it: it["configurations"]["text"]["classes"]["sad"].pop("f1"),
         "'configurations['text'].classes['sad'].f1' is missing"),
        (lambda it: it["constant"]["classes"]["sad"].update(weighted_f1=True),
         "'constant.classes['sad'].weighted_f1' is wrong: float expected"),
        (lambda it: it.update(constant=[1]), "'constant.macro_f1' is not what it should be"),
        (lambda it: it["configurations"].update(text=3), "'configurations['text']' is not what it should be"),
        (lambda it: it["configurations"]["text"].pop("micro_f1"), "configurations, classes and confusion matrices"),
        (lambda it: it["constant"].pop("micro_f1"), "configurations, classes and confusion matrices do not agree"),
    ],
)  # fmt: skip
def test_a_damaged_metric_is_named(tmp_path: Path, change: Callable[[Any], object], says: str) -> None:
    """A metric that is no number from 0 to 1 is named by its key; every configuration has the same metrics."""
    run = write_run(tmp_path, each=2)
    content = json.loads((run / SCORES).read_text())
    change(content)
    (run / SCORES).write_text(json.dumps(content))
    with pytest.raises(DataError) as caught:
        read_scores(run)
    assert says in str(caught.value)


def test_a_table_needs_pandas_and_nothing_else_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row for each configuration with its metrics, interval and drops; one sentence where pandas is missing."""
    scores = read_scores(write_run(tmp_path, each=2))
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(SettingsError, match="needs pandas"):
        scores.to_frame()
    pandas = SimpleNamespace(
        DataFrame=lambda rows, index: dict(zip(index, rows, strict=True)), Index=lambda names, name: names
    )
    monkeypatch.setitem(sys.modules, "pandas", pandas)
    frame = scores.to_frame()
    assert list(frame) == list(scores)
    row, one = frame["text"], scores["text"]
    assert row["macro_f1"] == one.macro_f1
    assert (row["macro_f1_low"], row["macro_f1_high"]) == one.interval
    assert row["absolute_drop"] == one.absolute_drop
