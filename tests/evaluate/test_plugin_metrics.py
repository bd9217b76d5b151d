"""Metrics of plugins: asked for by a recipe or a call, kept with their meaning, and of no cost to other scores."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import write_numbers
from report_page import page_of
from sklearn.metrics import recall_score, root_mean_squared_error
from training import REGISTRY, evaluate, resume, small, start
from trusted import trust_here

import emotiwave as ew
from emotiwave_core.cli import exit_code_of
from emotiwave_core.config.recipe import Recipe
from emotiwave_core.errors import PluginError, SettingsError
from emotiwave_core.evaluate.plugin_metrics import PluginMetrics
from emotiwave_core.metrics import Array, Metric, Outcomes, guess_of, score_of
from emotiwave_core.metrics.numbers import PredictedNumbers
from emotiwave_core.monitor import Monitor
from emotiwave_core.runs.scores import read_scores
from emotiwave_metrics.rmse import RootMeanSquaredError
from emotiwave_metrics.uar import UnweightedAverageRecall

QUICK = {"epochs": 1}


def outcomes(multi: bool = False) -> Outcomes:
    """Random decisions about 50 samples of four classes, one of which has none."""
    draw = np.random.default_rng(0)
    shape, top = ((50, 4), 2) if multi else ((50,), 3)
    return Outcomes(
        draw.integers(0, top, shape), draw.integers(0, 4 if not multi else 2, shape), np.ones((50, 4)), tuple("abcd")
    )


def test_uar_is_the_mean_recall() -> None:
    """It is scikit-learn's macro recall over the classes that have samples; the floor is one class found of them."""
    drawn, metric = outcomes(), UnweightedAverageRecall()
    due = recall_score(drawn.truth, drawn.decided, labels=[0, 1, 2], average="macro")
    assert score_of(metric, drawn)[0] == pytest.approx(due)
    assert guess_of(metric, drawn.truth, drawn.classes)[0] == pytest.approx(1 / 3)
    assert score_of(metric, outcomes(multi=True))[0] is None
    assert guess_of(metric, outcomes(multi=True).truth, drawn.classes)[0] is None


def test_rmse_is_the_root_of_the_mean_square() -> None:
    """It is scikit-learn's, and less is better."""
    truth, predicted = np.random.default_rng(0).normal(size=(2, 30))
    value = RootMeanSquaredError().score(PredictedNumbers(truth, predicted))
    assert value == pytest.approx(root_mean_squared_error(truth, predicted))
    assert RootMeanSquaredError().gain(1.0, 1.5) == 0.5


def test_a_recipe_asks_for_it_and_the_report_needs_no_plugin(tiny: Path, tmp_path: Path) -> None:
    """Each configuration has its score, the file its meaning and floor, the report a row; the others are as before."""
    run = tmp_path / "run"
    scores = start(small(metric="uar", training=QUICK), tiny, run)
    read = read_scores(run)
    assert read.to_dict() == scores.to_dict()
    assert read.plugin_metrics["uar"].title == "UAR"
    assert read.plugin_metrics["uar"].guess == pytest.approx(1 / 6)
    for one in read.configurations.values():
        recalls = [each.recall for each in one.classes.values() if each.support]
        assert one.extra["uar"] == pytest.approx(np.mean(recalls))
    table = next(table for caption, table in page_of(run).rows.items() if caption.startswith("All metrics"))
    last = [cell.strip() for cell in table[-1]]
    assert (last[0], last[4]) == ("UAR", "mean over the classes of the share of their samples that are found")
    plain = start(small(training=QUICK), tiny, tmp_path / "plain").to_dict()
    content = scores.to_dict()
    assert "plugin_metrics" not in plain
    del content["plugin_metrics"]
    for one in content["configurations"].values():
        assert one.pop("extra").keys() == {"uar"}
    for one in plain["configurations"].values():
        one.pop("extra")
    assert content == plain


@pytest.mark.full
def test_a_run_that_is_there_is_asked_for_others(tiny: Path, tmp_path: Path, capfd: Any) -> None:
    """evaluate asks for a metric that the recipe has not, and without one for the recipe's; resume keeps the latter."""
    run = tmp_path / "run"
    start(small(training=QUICK), tiny, run)
    assert exit_code_of(["evaluate", str(run), "--metric", "uar"]) == 0
    assert "UAR: 0." in capfd.readouterr().out
    assert set(read_scores(run).plugin_metrics) == {"uar"}
    assert not evaluate(run).plugin_metrics
    assert set(ew.open_run(run, device="cpu").evaluate(metric=["uar"]).plugin_metrics) == {"uar"}
    assert not resume(run).plugin_metrics
    assert exit_code_of(["evaluate", str(run), "--metric", "uar", "--protocol", "noise"]) == 2
    assert "A protocol has the headline score alone" in capfd.readouterr().err


@pytest.mark.full
def test_numbers_have_a_floor_of_the_training_fold(tmp_path: Path) -> None:
    """Of numbers the floor is the better of the training fold's mean and median as the answer for all."""
    (tmp_path / "numbers").mkdir()
    data = write_numbers(tmp_path / "numbers")
    scores = start(small(metric="rmse", training=QUICK), data, tmp_path / "run")
    meaning = scores.plugin_metrics["rmse"]
    rows = json.loads((tmp_path / "run" / "scores.json").read_text())["configurations"]["text+audio+visual"]
    assert rows["extra"]["rmse"] == scores["text+audio+visual"].extra["rmse"]
    assert meaning.guess is not None
    assert meaning.gain(rows["extra"]["rmse"]) == pytest.approx(meaning.guess - rows["extra"]["rmse"])
    assert meaning.guess >= scores.constant.metrics["mae"]  # a root of a mean square is never below the mean
    with pytest.raises(SettingsError, match="The metric 'uar' is of classes, and the run is of numbers: leave it out"):
        start(small(metric="uar", training=QUICK), data, tmp_path / "other")


@pytest.mark.parametrize(
    ("metric", "sentence"),
    [
        ("ua", "There is no metric 'ua'. Did you mean 'uar'"),
        ({"name": "uar", "beta": 1}, "The metric 'uar' has no option 'beta'"),
        (["uar", "uar"], "The metric 'uar' is asked for twice"),
        ("rmse", "The metric 'rmse' is of numbers, and the run is of classes: leave it out."),
    ],
)
def test_what_cannot_be_asked_for_is_said_before_the_training(
    metric: Any, sentence: str, tiny: Path, tmp_path: Path
) -> None:
    """A wrong name, option, repetition or kind is one sentence."""
    with pytest.raises(SettingsError, match=sentence.replace("?", r"\?")):
        start(small(metric=metric, training=QUICK), tiny, tmp_path / "run")
    assert not (tmp_path / "run" / "model.json").exists()


class Told(Monitor):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        """Keep a line."""
        self.lines.append(text)


class Sick(Exception):  # noqa: N818 -- it is no error of ours
    """Has neither a text nor a message."""

    def __repr__(self) -> str:
        raise RuntimeError("no text")

    __str__ = __repr__


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("raise RuntimeError('no disk')", "The metric 'bad' failed: RuntimeError: no disk"),
        ("raise SystemExit(3)", "The metric 'bad' failed: SystemExit: 3"),
        ("return float('nan')", "The metric 'bad' gives nan, not a finite number."),
        ("return 'high'", "The metric 'bad' gives 'high', not a finite number."),
        ("return 10 ** 400", f"The metric 'bad' gives 1{'0' * 79}, not a finite number."),
        ("return Sick()", "The metric 'bad' gives a Sick, not a finite number."),
        ("raise Sick()", "The metric 'bad' failed: Sick: (it has no message)"),
    ],
)
def test_one_that_fails_costs_its_own_score(body: str, sentence: str) -> None:
    """What it raises, or gives that is no number, is said; the others have their scores."""
    scope: dict[str, Any] = {"Sick": Sick}
    exec(f"def score(self, outcomes, each):\n    {body}", scope)
    bad, told = type("Bad", (UnweightedAverageRecall,), {"score": scope["score"]})(), Told()
    metrics = PluginMetrics({"bad": bad, "uar": UnweightedAverageRecall()}, told)
    assert set(metrics.of_classes(outcomes())) == {"uar"}
    assert told.lines == [sentence]
    assert set(metrics.meanings(outcomes().truth, tuple("abcd"))) == {"bad", "uar"}


def test_one_that_writes_into_its_input_changes_no_other_score() -> None:
    """A metric that empties what it is given leaves the decisions as they are, for the others and for the run."""

    def score(self: Metric, outcomes: Outcomes, each: list[float | None]) -> float:
        for array in (outcomes.truth, outcomes.decided, outcomes.probabilities, outcomes.present, outcomes.predicted):
            array.fill(0)
        return 0.5

    def guess(self: Metric, shares: Array, each: list[float | None], multi: bool) -> float:
        shares.fill(0)
        return 0.5

    drawn, greedy = outcomes(), type("Greedy", (UnweightedAverageRecall,), {"score": score, "guess": guess})()
    scores = PluginMetrics({"greedy": greedy, "uar": UnweightedAverageRecall()}).of_classes(drawn)
    assert scores["uar"] == score_of(UnweightedAverageRecall(), outcomes())[0]
    assert np.array_equal(drawn.decided, outcomes().decided)


def test_one_that_does_not_say_what_it_is_is_refused_before_the_training() -> None:
    """The report defines every score; one without a definition for the run's labels ends nothing half-way."""

    class OfOneLabel(Metric):
        title, single_label = "Share", "share of nothing"

        def score(self, outcomes: Outcomes, each: list[float | None]) -> float | None:
            return None

        def guess(self, shares: Array, each: list[float | None], multi: bool) -> float | None:
            return None

    metrics = PluginMetrics({"share": OfOneLabel()})
    metrics.check("single")
    with pytest.raises(
        PluginError, match=r"The metric 'share' does not say .* 'multi_label'\. `emotiwave plugins check"
    ):
        metrics.check("multi")
    OfOneLabel.title = None  # type: ignore[assignment]
    with pytest.raises(PluginError, match="no text for a title or a definition"):
        metrics.check("single")
    OfOneLabel.title, OfOneLabel.higher_is_better = "Share", np.ones(3)  # type: ignore[assignment]
    with pytest.raises(PluginError, match="says no True or False of higher_is_better"):
        metrics.check("single")
    OfOneLabel.single_label = property(lambda self: sys.exit(0))  # type: ignore[assignment]
    with pytest.raises(PluginError, match=r"The metric 'share' does not say .*: SystemExit: 0"):
        metrics.check("single")


@pytest.mark.full
def test_one_that_is_gone_is_said_and_missed(tiny: Path, tmp_path: Path, monkeypatch: Any, capfd: Any) -> None:
    """A run whose metric is no longer there is evaluated and resumed without it; nothing else changes."""
    monkeypatch.chdir(tmp_path)
    source = Path(ew.__file__).parent.parent / "plugins" / "emotiwave_metrics" / "uar.py"
    Path("mine.py").write_text(source.read_text().replace('"uar"', '"mine"'))
    Path("registry.toml").write_text('[plugins]\nmine = "mine.py"\n')
    trust_here()
    command = ["run", "--data", str(tiny), "--encoder", "mean:width=4", "--set", "training.epochs=1", "--out", "run"]
    assert exit_code_of([*command, "--metric", "mine"]) == 0
    assert set(read_scores(Path("run")).plugin_metrics) == {"mine"}
    Path("registry.toml").unlink()
    for again in (["evaluate", "run"], ["run", "--resume", "run"]):
        capfd.readouterr()
        assert exit_code_of(again) == 0
        assert "Without the metric 'mine': There is no metric 'mine'." in capfd.readouterr().err
        assert not read_scores(Path("run")).plugin_metrics


def test_a_recipe_without_one_is_as_before() -> None:
    """Runs from before there were any have the recipe that they had; one or several may be asked for."""
    assert "metric" not in small().to_table()
    assert [part.name for part in small(metric=["uar", {"name": "uar"}]).metric] == ["uar", "uar"]
    recipe = small(metric="uar")
    assert Recipe.from_table(recipe.to_table(), "x") == recipe
    assert REGISTRY.complete("metric", recipe.metric[0]).options == {}
