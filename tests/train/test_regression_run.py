"""A run of numbers from labels to report, on a data set whose best scores are known."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from datasets import NUMBER_WEIGHTS, write_numbers
from training import small, start

from emotiwave_core import api
from emotiwave_core.cli.console import print_protocol, print_scores
from emotiwave_core.cli.explain import print_fold, print_sample
from emotiwave_core.errors import SettingsError
from emotiwave_core.metrics.ccc import CCC
from emotiwave_core.modalities import configurations, name_of
from emotiwave_core.runs.explanation import ExplanationFile, SampleDetails, read_explanation
from emotiwave_core.runs.history import read_history
from emotiwave_core.runs.model_file import read_model_file
from emotiwave_core.runs.scores import Scores, read_scores

NAMES = [name_of(configuration) for configuration in configurations(tuple(NUMBER_WEIGHTS))]
OBJECTIVE = {"distillation": 0.5, "unimodal": 0.2}
TRAINING = {"epochs": 15, "batch_size": 16, "learning_rate": 5e-3}


@pytest.fixture(scope="module")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A data set of one sentiment, and its run in `run/`."""
    folder = write_numbers(tmp_path_factory.mktemp("numbers"), videos=84)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMOTIWAVE_CACHE", str(folder / "cache"))
        start(small(encoder="mean", objective=OBJECTIVE, training=TRAINING), folder, folder / "run")
        yield folder


@pytest.fixture
def scores(numbers: Path) -> Scores:
    """Its scores, as the file has them."""
    return read_scores(numbers / "run")


def best_scores() -> dict[str, float]:
    """CCC of the conditional mean of the number in every configuration: 2 R² / (1 + R²)."""
    whole = sum(weight**2 for weight in NUMBER_WEIGHTS.values()) + 0.2**2
    shares = {name: sum(NUMBER_WEIGHTS[m] ** 2 for m in name.split("+")) / whole for name in NAMES}
    return {name: 2 * share / (1 + share) for name, share in shares.items()}


def test_every_configuration_comes_near_what_can_be_known(scores: Scores) -> None:
    """The planted number is learned: each configuration is about as good as its share of the variance allows."""
    assert list(scores) == NAMES
    for name, due in best_scores().items():
        assert scores[name].score == pytest.approx(due, abs=0.25), name
    assert scores.complete.score > 0.85
    assert scores.mean == pytest.approx(np.mean([scores[name].score for name in NAMES]))
    assert scores.worst.score == min(scores[name].score for name in NAMES)
    assert scores.constant.floor == 0.0


def test_scores_follow_from_the_predictions(numbers: Path, scores: Scores) -> None:
    """From the digits of `predictions.csv` alone every score and error is computed again, to the bit."""
    with (numbers / "run" / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    for name in NAMES:
        own = [row for row in rows if row["configuration"] == name]
        truth, predicted = (
            np.array([float(row[f"{which}(sentiment)"]) for row in own]) for which in ("truth", "predicted")
        )
        assert CCC.overall(truth[:, None], predicted[:, None], 1) == scores[name].score
        assert np.abs(truth - predicted).mean() == scores[name].metrics["mae"]
        assert scores[name].metrics["acc_7"] is not None


def test_files_speak_of_numbers_and_not_of_classes(numbers: Path, scores: Scores) -> None:
    """No file of the run has a key that only classes have, and each is read back as it was written."""
    run = numbers / "run"
    text = "".join((run / name).read_text() for name in ("scores.json", "history.jsonl", "explanation.json"))
    for word in ("macro_f1", "confusion", "calibration", "threshold", "no_emotion", '"class', "probabilit"):
        assert word not in text, word
    written = json.loads((run / "scores.json").read_text())
    assert scores.to_dict() == written
    assert written["targets"] == ["sentiment"]
    assert {"mean_ccc", "mean_ccc_interval"} < set(written)
    explanation = read_explanation(run, scores)
    assert explanation is not None
    assert explanation.to_dict() == json.loads((run / "explanation.json").read_text())
    model = read_model_file(run)
    assert model.recipe["objective"]["kind"] == "regression"
    assert model.scale is not None
    assert set(model.scale) == {"sentiment"}
    best = max(read_history(run), key=lambda epoch: epoch.valid.mean)
    assert (model.best.epoch, model.best.mean) == (best.epoch, best.valid.mean)


def test_shapley_values_split_the_number(numbers: Path, scores: Scores) -> None:
    """They sum from the mean of the training fold to the predicted number, and those of the fold from 0 to the CCC."""
    explanation = read_explanation(numbers / "run", scores)
    assert explanation is not None
    for sample in explanation.chosen:
        assert sample.complete - sample.empty == pytest.approx(sum(sample.shapley.values()), abs=1e-6)
        assert float(sample.predicted) == pytest.approx(sample.complete, abs=6e-4)
    assert explanation.score.empty == 0.0
    assert sum(explanation.score.shapley.values()) == pytest.approx(scores.complete.score)
    errors = {sample.why: abs(float(sample.truth) - float(sample.predicted)) for sample in explanation.chosen}
    assert errors["right"] < errors["wrong"]


def test_one_sample_is_predicted_as_it_was_scored(numbers: Path) -> None:
    """`predict` gives the numbers of `predictions.csv`, and nothing of classes."""
    run = api.open_run(numbers / "run", device="cpu")
    predictions = {prediction.id: prediction for prediction in run.predict(numbers)}
    with (numbers / "run" / "predictions.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["configuration"] == NAMES[-1]]
    for row in rows:
        assert predictions[row["id"]].numbers["sentiment"] == pytest.approx(
            float(row["predicted(sentiment)"]), abs=1e-5
        )
    one = predictions[rows[0]["id"]]
    assert (one.probabilities, one.decided) == ({}, ())
    assert set(one.to_dict()) - {"alarms"} == {"numbers", "present", "id", "interval"}


def test_what_is_printed_speaks_of_numbers(numbers: Path, scores: Scores, capsys: pytest.CaptureFixture[str]) -> None:
    """The tables have CCC and error, the guesses of training, and a sample's numbers in every configuration."""
    print_scores(scores)
    out = capsys.readouterr().out
    assert "CCC" in out
    assert "MAE" in out
    assert "training median" in out
    run = api.open_run(numbers / "run", device="cpu")
    fold = run.explain()
    assert isinstance(fold, ExplanationFile)
    print_fold(fold, "emotiwave explain")
    one = run.explain(fold.chosen[0].id)
    assert isinstance(one, SampleDetails)
    assert set(one.to_dict()["configurations"]["text"]) == {"predicted", "numbers"}
    print_sample(one)
    print_protocol(run.robustness("noise"))
    out += capsys.readouterr().out
    for word in ("macro-F1", "probab", "class", "log-odds", "nan"):
        assert word not in out, word
    with pytest.raises(SettingsError, match="predicts numbers, which are split themselves"):
        run.explain(value="logit")


def test_the_report_shows_numbers(numbers: Path) -> None:
    """It has a scatter and the targets, nothing of classes."""
    page = (numbers / "run" / "report.html").read_text()
    for part in ('id="scatter"', 'id="targets"', "Numbers by fold", "Training median", "Closest to the truth"):
        assert part in page, part
    text = page[: page.index("<script")]
    for word in ("acro-F1", "Confusion", "Calibration", "Probabilit", "log-odds", 'id="classes"'):
        assert word not in text, word


@pytest.mark.full
@pytest.mark.pictures
def test_its_pictures_are_of_numbers(numbers: Path) -> None:
    """A scatter and no confusion, also beside a protocol and another run."""
    run = api.open_run(numbers / "run", device="cpu")
    run.robustness("frames", against=run)
    page = run.report().read_text()
    assert 'id="scatter"' in page
    assert "acro-F1" not in page[: page.index("<script")]
    assert (numbers / "run" / "scatter.png").stat().st_size > 5_000
    assert not (numbers / "run" / "confusion.png").exists()


@pytest.mark.slow
def test_two_targets_and_another_loss(tmp_path: Path) -> None:
    """Valence and arousal are learned together by absolute error, and the score is the mean of both."""
    folder = write_numbers(tmp_path, videos=60, targets=("valence", "arousal"))
    scores = start(small(encoder="mean", objective={"loss": "mae"}, training=TRAINING), folder, tmp_path / "run")
    assert set(scores["text"].targets) == {"valence", "arousal"}
    assert scores["text"].score == pytest.approx(
        np.mean([target.metrics["ccc"] for target in scores["text"].targets.values()])
    )
    assert scores.complete.score > 0.2
    assert scores["text"].metrics["acc_7"] is None
