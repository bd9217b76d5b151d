"""The baseline of a comparison: linear models on means and deviations of the features, against scikit-learn's own."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.metrics import f1_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from test_compare import SMALL, carried_out, with_folds

import emotiwave as ew
from emotiwave_core.compare import linear
from emotiwave_core.compare.linear import PENALTIES, PooledStream, design, linear_outcomes, pooled
from emotiwave_core.config.recipe import Recipe
from emotiwave_core.data.corpus import open_corpus
from emotiwave_core.metrics.ccc import CCC
from emotiwave_core.monitor import SILENT

pytestmark = pytest.mark.full
__all__ = ["carried_out"]
FOLDS = ["train"] * 40 + ["valid"] * 20 + ["test"] * 20
N = len(FOLDS)


def arrays(labels: Any, **more: Any) -> Path:
    """A data set of two modalities, 80 samples of 3 to 7 steps, the audio shifted by the first label."""
    random = np.random.default_rng(0)
    lengths = random.integers(3, 8, N)
    one = next(iter(labels.values())) if isinstance(labels, dict) else labels
    first = np.asarray(one).reshape(N, -1)[:, 0].astype(float)
    features = {
        "text": [random.normal(size=(n, 4)) for n in lengths],
        "audio": [random.normal(size=(n, 3)) + value for n, value in zip(lengths, first, strict=True)],
    }
    for sample in more.pop("without_text", ()):
        features["text"][sample] = None  # type: ignore[call-overload]
    return ew.dataset(features, labels=labels, folds=FOLDS, **more).folder


def told(data: Path, out: Path, **settings: Any) -> Any:
    """The outcome of the baseline."""
    return linear_outcomes(data, out, Recipe.from_table(settings, "The recipe"), [None], SILENT)[None]


def plain(data: Path, names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray, Any]:
    """Means and deviations of training and validation, and of the test, by a loop; and the corpus."""
    corpus = open_corpus(data, Recipe.from_table({}, "The recipe").data)
    rows = [
        np.concatenate([stat for name in names for x in [corpus.store.sequence(name, n).numpy().astype(float)]
                        for stat in (x.mean(axis=0), x.std(axis=0))])
        for n in range(N)
    ]  # fmt: skip
    return np.stack(rows[:60]), np.stack(rows[60:]), corpus


def test_classes_are_those_of_a_logistic_regression(tmp_path: Path) -> None:
    """In every configuration the macro-F1 is that of scikit-learn's pipeline; the sums of the groups give it again."""
    labels = np.random.default_rng(1).integers(0, 3, N)
    data = arrays(labels)
    outcome = told(data, tmp_path)
    assert (outcome.task.objective, outcome.task.samples, outcome.trained_on) == ("single", 20, 60)
    for name, score in outcome.scores.items():
        train, test, _ = plain(data, tuple(name.split("+")))
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000, class_weight="balanced"))
        decided = model.fit(train, labels[:60]).predict(test)
        assert score == pytest.approx(f1_score(labels[60:], decided, average="macro"))


def test_numbers_are_those_of_a_ridge_regression(tmp_path: Path) -> None:
    """Each target by itself, its penalty by leave-one-out, judged by the concordance correlation."""
    labels = np.random.default_rng(2).normal(size=(N, 2))
    data = arrays({"valence": labels[:, 0], "arousal": labels[:, 1]})
    outcome = told(data, tmp_path)
    train, test, corpus = plain(data, ("text", "audio"))
    truth = corpus.store.labels.numpy().astype(float)
    scaler = StandardScaler().fit(train)
    train, test = scaler.transform(train), scaler.transform(test)
    decided = np.stack([RidgeCV(PENALTIES).fit(train, own[:60]).predict(test) for own in truth.T], axis=1)
    assert outcome.task.objective == "regression"
    assert outcome.scores["text+audio"] == pytest.approx(CCC.overall(truth[60:], decided, 2))


def test_thresholds_come_from_the_validation_fold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several emotions: thresholds see validation samples alone; an emotion that nobody has is no error."""
    labels = (np.random.default_rng(3).random((N, 3)) < 0.3).astype(float)
    labels[:, 2] = 0.0
    seen = []
    tune = linear.tune_thresholds
    monkeypatch.setattr(linear, "tune_thresholds", lambda truth, chances: seen.append(truth) or tune(truth, chances))
    outcome = told(arrays(labels, targets=["a", "b", "c"]), tmp_path, objective={"kind": "multi"})
    assert len(seen) == len(outcome.scores) == 3
    assert all((truth == labels[40:60]).all() for truth in seen)
    assert outcome.scores["text+audio"] > outcome.scores["text"]


def test_a_missing_stream_is_the_mean_and_is_told(tmp_path: Path) -> None:
    """Its content is never read: zeros stand for it after standardisation, and a column says where it is there."""
    store = open_corpus(arrays([0, 1] * 40, without_text=[0, 5, 70]), Recipe.from_table({}, "The recipe").data).store
    own = pooled(store, "text")
    assert own.present.tolist() == [n not in (0, 5, 70) for n in range(N)]
    hidden = PooledStream(np.where(own.present[:, None], own.values, np.nan), own.present)
    columns = design([hidden], np.arange(60), np.arange(N))
    assert np.isfinite(columns).all()
    assert (columns[[0, 5, 70], 1:] == 0.0).all()
    assert (columns[:, -1] == own.present).all()
    assert columns[:60][own.present[:60], 1:-1].mean(axis=0) == pytest.approx(0.0, abs=1e-12)
    nobody = PooledStream(hidden.values, np.arange(N) > 60)
    assert design([nobody], np.arange(60), np.arange(N)).shape == (N, 1)
    without = told(arrays([0, 1] * 40, without_text=range(N - 1)), tmp_path)
    assert without.scores["audio"] == pytest.approx(without.scores["text+audio"])


def test_a_single_class_is_its_answer(tmp_path: Path) -> None:
    """Where all samples of the training have one class, every sample is of it."""
    outcome = told(arrays([0] * 60 + [0, 1] * 10), tmp_path)
    score = f1_score([0, 1] * 10, [0] * 20, average="macro")
    assert list(outcome.scores.values()) == pytest.approx([score] * 3)


def test_the_baseline_is_a_row(tiny: Path, tmp_path: Path, carried_out: list[str], monkeypatch: Any) -> None:
    """It stands last, in every file, without a deviation over seeds; what is kept is not made again, unless changed."""
    data = with_folds(tiny, tmp_path / "data")
    result = ew.compare(data, {"a": SMALL}, out=tmp_path / "cmp", seeds=2, folds="cv.json", baseline=True)
    row = result.rows[-1]
    assert (row.name, row.runs, row.scores["mean"].deviation) == ("linear", 3, None)
    assert row.differences["mean"].pairs == 6
    assert "linear is a logistic regression for each configuration" in result.notes[-1]
    assert "linear" in (tmp_path / "cmp/comparison.tex").read_text()
    assert "training and the validation fold" in (tmp_path / "cmp/comparison.html").read_text()
    assert json.loads((tmp_path / "cmp/comparison.json").read_text()) == result.to_dict()
    kept = sorted((tmp_path / "cmp/baseline").iterdir())
    assert [path.name for path in kept] == ["fold-0.json", "fold-1.json", "fold-2.json"]
    kept[0].write_text("{")
    made = []
    anew = linear.linear_outcome
    monkeypatch.setattr(linear, "linear_outcome", lambda *more: made.append(1) or anew(*more))
    assert ew.compare(data, {"a": SMALL}, out=tmp_path / "cmp", seeds=2, folds="cv.json", baseline=True) == result
    assert len(made) == 1
    table = json.loads(kept[1].read_text())
    table["scores"]["text"] = 9.0
    kept[1].write_text(json.dumps(table))
    assert ew.compare(data, {"a": SMALL}, out=tmp_path / "cmp", seeds=2, folds="cv.json", baseline=True) == result
    assert len(made) == 2
    with pytest.raises(ew.SettingsError, match="row of the baseline is called linear"):
        ew.compare(data, {"linear": SMALL}, out=tmp_path / "cmp", baseline=True)


def test_rows_of_another_task_are_refused_before_any_run(tiny: Path, tmp_path: Path, carried_out: list[str]) -> None:
    """Other classes, other samples or another kind of answer have no common score, and no run is wasted on it."""
    for setting, sentence in (
        ("objective.no_emotion=class", "of 6 classes and on 12 of 7"),
        ("objective.kind=multi", "objective of one is single, and that of the other multi"),
    ):
        with pytest.raises(ew.SettingsError, match=sentence):
            ew.compare(tiny, {"a": SMALL, "b": f"{SMALL},{setting}"}, out=tmp_path / "cmp", seeds=1)
    assert not carried_out
