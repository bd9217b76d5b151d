"""A metric is one file: it appears in scores, schema and report without another edit; each keeps its promises."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_fixture import write_run
from report_page import page_of

from emotiwave_core import metrics
from emotiwave_core.evaluate.baselines import baselines
from emotiwave_core.evaluate.scoring import score_configuration
from emotiwave_core.metrics import Metric, Outcomes, best_guesses, compute_metrics, register, registered
from emotiwave_core.metrics.accuracy import Accuracy
from emotiwave_core.runs.schema import converter
from emotiwave_core.runs.scores import read_scores

CLASSES = ("happy", "sad", "anger")
SOURCE = '''
"""Share of errors."""

from emotiwave_core.metrics import ClassMean, register


class ErrorRate(ClassMean):
    """Share of decisions about each class that are wrong, mean of the classes."""

    key, class_key, title, higher_is_better = "error_rate", "error", "Error rate", False
    single_label, multi_label = "share of wrong answers", "share of wrong answers about each emotion"

    def score_class(self, outcomes, c):
        return float((outcomes.present[:, c] != outcomes.predicted[:, c]).mean())

    def guess_class(self, share):
        return min(share, 1.0 - share)


register(ErrorRate())
'''


@pytest.fixture
def error_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A file with a metric in a folder of the package."""
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "error_rate.py").write_text(SOURCE)
    monkeypatch.setattr(metrics, "__path__", [*metrics.__path__, str(tmp_path / "more")])
    monkeypatch.setattr(metrics, "_REGISTERED", dict(metrics._REGISTERED))
    yield
    sys.modules.pop("emotiwave_core.metrics.error_rate", None)


def outcomes(multi: bool, seed: int = 0) -> Outcomes:
    """Random truth, decisions and probabilities of 40 samples."""
    random = np.random.default_rng(seed)
    shape, top = ((40, 3), 2) if multi else ((40,), 3)
    truth, decided = random.integers(0, top, shape), random.integers(0, top, shape)
    return Outcomes(truth, decided, random.dirichlet([1, 1, 1], 40), CLASSES)


@pytest.mark.parametrize("multi", [False, True])
def test_a_file_is_enough_for_a_metric(error_rate: None, multi: bool) -> None:
    """Its value stands in the configuration, in each class, and in the best constant guess, last of the metrics."""
    drawn = outcomes(multi)
    scores = converter.unstructure(score_configuration(drawn, None, 1.0))
    guesses = converter.unstructure(baselines(drawn.truth, CLASSES))
    each = (drawn.present != drawn.predicted).mean(axis=0)
    shares = drawn.present.mean(axis=0)
    assert scores["error_rate"] == pytest.approx(each.mean())
    assert list(scores)[:8][-2:] == ["aurc", "error_rate"]
    assert [scores["classes"][name]["error"] for name in CLASSES] == pytest.approx(each.tolist())
    assert guesses["error_rate"] == pytest.approx(np.minimum(shares, 1 - shares).mean())
    assert [guesses["classes"][name]["error"] for name in CLASSES] == pytest.approx(np.minimum(shares, 1 - shares))


def test_the_report_has_a_new_metric(error_rate: None, tmp_path: Path) -> None:
    """The table of metrics has its score, its best guess, how much better the score is, and its definition."""
    run = write_run(tmp_path / "run", each=2)
    content = json.loads((run / "scores.json").read_text())
    for entry in content["configurations"].values():
        entry["error_rate"] = 0.125
        for one in entry["classes"].values():
            one["error"] = 0.0625
    content["constant"]["error_rate"] = 0.25
    (run / "scores.json").write_text(json.dumps(content))
    scores = read_scores(run)
    assert scores["text"].metrics["error_rate"] == 0.125
    assert scores.to_dict() == content
    rows = page_of(run).rows
    table = next(table for caption, table in rows.items() if caption.startswith("All metrics"))
    assert [cell.strip() for cell in table[-1]] == [
        "Error rate", "0.125", "0.250", "+0.125", "share of wrong answers; lower is better",
    ]  # fmt: skip
    classes = next(table for caption, table in rows.items() if caption.startswith("Scores of each class"))
    column = classes[0].index("Error rate")
    assert [row[column] for row in classes[1:]] == ["0.062"] * len(scores.classes) + ["0.125"]


def test_a_metric_that_is_not_installed_is_kept_and_not_shown(tmp_path: Path) -> None:
    """Scores of another installation are read whole; the report has the metrics whose definitions it knows."""
    run = write_run(tmp_path, each=2)
    content = json.loads((run / "scores.json").read_text())
    for entry in [*content["configurations"].values(), content["constant"]]:
        entry["error_rate"] = 0.125
    (run / "scores.json").write_text(json.dumps(content))
    assert read_scores(run).to_dict() == content
    assert "rror rate" not in page_of(run).text


def test_a_key_is_taken_once() -> None:
    """A second metric of the same key is refused; the same one may come again, as when its module is reloaded."""

    class Other(Accuracy):
        pass

    registered()
    register(Accuracy())
    with pytest.raises(ValueError, match="two metrics are called 'accuracy'"):
        register(Other())


@pytest.mark.parametrize("metric", registered(), ids=lambda metric: metric.key)
@pytest.mark.parametrize("multi", [False, True])
def test_every_metric_keeps_its_promises(metric: Metric, multi: bool) -> None:
    """It has a title and definitions, lies in [0, 1], and no constant guess is better than its best constant guess."""
    assert metric.title
    assert metric.definition(multi)
    truth = outcomes(multi).truth
    best = best_guesses(truth, CLASSES)
    guess = best.metrics[metric.key]
    assert guess is not None
    answers: Any = [*np.eye(3, dtype=int).tolist(), [0, 0, 0], [1, 1, 0], [1, 1, 1]] if multi else [0, 1, 2]
    for answer in answers:
        decided = np.tile(answer, (40, 1)) if multi else np.full(40, answer)
        value = compute_metrics(Outcomes(truth, decided, np.full((40, 3), 0.3), CLASSES)).metrics[metric.key]
        assert value is not None
        assert 0.0 <= value <= 1.0
        assert (metric.gain(value, guess) or 0.0) <= 1e-12
    each = compute_metrics(outcomes(multi, seed=1))
    assert all((metric.class_key in one) == (metric.class_key is not None) for one in each.classes.values())
    assert all((metric.class_key in one) == (metric.class_key is not None) for one in best.classes.values())
