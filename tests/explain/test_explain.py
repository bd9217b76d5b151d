"""Explanations of trained runs: they add up, and agree with the scores and predictions beside them."""

import csv
import json
import math
import shlex
import shutil
import tomllib
from itertools import combinations, permutations
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from datasets import WIDTHS, write_dataset
from numpy.typing import NDArray
from rich.console import Console
from sklearn.metrics import f1_score
from training import CPU, REGISTRY, evaluate, small, start

from emotiwave_core import api
from emotiwave_core.cli import exit_code_of
from emotiwave_core.cli.explain import TOGETHER, print_sample
from emotiwave_core.config.recipe import ObjectiveSettings
from emotiwave_core.errors import DataError, PluginError, SettingsError
from emotiwave_core.explain.attribution import Explanation, explain, values_of
from emotiwave_core.explain.choose import change_without, choose
from emotiwave_core.explain.coalitions import Empty, Value
from emotiwave_core.explain.records import TABLE
from emotiwave_core.modalities import configurations, name_of
from emotiwave_core.objectives.settle import make_objective
from emotiwave_core.predict.predictions import Predictions
from emotiwave_core.predict.trained import TrainedRun, open_trained_run, restrict_to_sample
from emotiwave_core.runs.explanation import EXPLANATION, SampleDetails
from emotiwave_core.runs.predictions import Certainty

MODALITIES = tuple(WIDTHS)
NAMES = [name_of(kept) for kept in configurations(MODALITIES)]
KINDS: dict[str, dict[str, Any]] = {
    "single": {"objective": {"kind": "single", "no_emotion": "class", "class_weights": False}},
    "multi": {"objective": {"kind": "multi"}, "model": {"absent": "zeros"}, "data": {"max_steps": 12}},
}
LACKING = "v19"  # a test video of the tiny data set that has no visual


@pytest.fixture(scope="module", params=KINDS)
def run(request: pytest.FixtureRequest, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has ended, single-label and multi-label."""
    folder = tmp_path_factory.mktemp(request.param)
    start(small(**KINDS[request.param], training={"epochs": 4}), tiny, folder / "run")
    return folder / "run"


def opened(run: Path, **options: Any) -> tuple[TrainedRun, Predictions]:
    """A run and its predictions."""
    trained = open_trained_run(run, REGISTRY, **options)
    return trained, trained.predict(CPU)


def prior_of(run: Path) -> np.ndarray:
    """What is known of nothing: the frequencies n / N, a class without samples as one; one half where it is weighed."""
    train = json.loads((run / "data.json").read_text())["folds"]["train"]
    counts = np.maximum(list(train["classes"].values()), 1) / train["used"]
    weighed = tomllib.loads((run / "recipe.toml").read_text())["objective"]["class_weights"]
    return np.full(6, 0.5) if weighed else np.asarray(counts / counts.sum())


def other(folder: Path) -> Path:
    """Another data set of the same form."""
    (folder / "other").mkdir()
    write_dataset(folder / "other", videos=16, seed=3)
    return folder / "other"


def read(run: Path) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """`explanation.json` and `explanations.csv`."""
    with (run / TABLE).open(newline="") as file:
        return json.loads((run / EXPLANATION).read_text()), list(csv.DictReader(file))


def predicted(run: Path) -> dict[str, dict[str, dict[str, str]]]:
    """`predictions.csv` as {configuration: {id: row}}."""
    found: dict[str, dict[str, dict[str, str]]] = {name: {} for name in NAMES}
    with (run / "predictions.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            found[row["configuration"]][row["id"]] = row
    return found


def worth(rows: dict[str, dict[str, dict[str, str]]], sample: str, name: str, kept: Any, prior: float) -> float:
    """What a coalition is worth, from predictions.csv: the video LACKING has no visual."""
    there = [m for m in MODALITIES if m in kept and not (sample.startswith(LACKING) and m == "visual")]
    return float(rows[name_of(tuple(there))][sample][f"p({name})"]) if there else prior


@pytest.mark.short_rows(1)
def test_every_value_follows_from_the_predictions(run: Path) -> None:
    """Each row of explanations.csv is the mean over all orders of what the modalities add in predictions.csv."""
    _, table = read(run)
    rows, scores = predicted(run), json.loads((run / "scores.json").read_text())
    known = dict(zip(scores["classes"], prior_of(run).tolist(), strict=True))
    assert [(row["id"], row["class"]) for row in table] == [(s, c) for s in rows[NAMES[0]] for c in scores["classes"]]
    assert any(row["id"].startswith(LACKING) for row in table)
    for row in table:
        prior = known[row["class"]]

        def v(kept: Any, row: dict[str, str] = row, prior: float = prior) -> float:
            return worth(rows, row["id"], row["class"], kept, prior)

        phi = dict.fromkeys(MODALITIES, 0.0)
        for order in permutations(MODALITIES):
            for place, m in enumerate(order):
                phi[m] += (v(order[: place + 1]) - v(order[:place])) / 6
        for m in MODALITIES:
            assert float(row[f"shapley({m})"]) == pytest.approx(phi[m], abs=3e-6)
        for i, j in combinations(MODALITIES, 2):
            (other,) = set(MODALITIES) - {i, j}
            due = [v({i, j, *s}) - v({i, *s}) - v({j, *s}) + v({*s}) for s in ([], [other])]
            assert float(row[f"interaction({i}+{j})"]) == pytest.approx(sum(due) / 2, abs=5e-6)
        assert float(row["empty"]) == pytest.approx(prior, abs=1e-8)
        complete = rows[NAMES[-1]][row["id"]]
        assert float(row["complete"]) == pytest.approx(float(complete[f"p({row['class']})"]), abs=1e-6)
        assert (row["truth"], row["predicted"]) == (complete["truth"], complete["predicted"])


@pytest.mark.short_rows(3)
@pytest.mark.parametrize("value", ["probability", "logit"])
@pytest.mark.parametrize("empty", ["prior", "zeros"])
def test_efficiency_and_null_player_on_real_predictions(run: Path, value: Value, empty: Empty) -> None:
    """The values sum to what is explained less what nothing is worth, to 1e-6; what a sample lacks gets exactly 0."""
    trained, predictions = opened(run)
    found = explain(trained, predictions, value=value, empty=empty)
    due = values_of(trained.objective, value, predictions.logits[-1])
    np.testing.assert_allclose(found.shapley.sum(axis=0) + found.coalitions[0], due, atol=1e-6)
    lacking = [trained.corpus.store.ids[row].startswith(LACKING) for row in trained.fold.rows]
    assert (~found.present[:, 2]).tolist() == lacking
    assert found.present[:, :2].all()
    assert (found.shapley[2, lacking] == 0).all()
    assert (found.shapley[2, ~np.array(lacking)] != 0).all()


def test_what_is_explained(run: Path) -> None:
    """A logit is the log-odds of the probability, and nothing is worth the prior or what the model says of nothing."""
    trained, predictions = opened(run)
    every = {
        (value, empty): explain(trained, predictions, value=value, empty=empty)
        for value in ("probability", "logit")
        for empty in ("prior", "zeros")
    }
    for empty in ("prior", "zeros"):
        p, odds = every["probability", empty].coalitions, every["logit", empty].coalitions
        inside = (p > 1e-6) & (p < 1 - 1e-6)
        inside[0] = False
        assert inside[1:].mean() > 0.9
        np.testing.assert_allclose(odds[inside], np.log(p[inside] / (1 - p[inside])), atol=1e-4)
    p = prior_of(run)
    np.testing.assert_allclose(every["probability", "prior"].coalitions[0], np.tile(p, (12, 1)))
    np.testing.assert_allclose(every["logit", "prior"].coalitions[0, 0], np.log(p / (1 - p)), atol=1e-12)
    nothing = torch.from_numpy(predictions.nothing)
    of_nothing = (nothing.sigmoid() if trained.objective.multi else nothing.softmax(dim=0)).numpy()
    np.testing.assert_allclose(every["probability", "zeros"].coalitions[0, 0], of_nothing)
    np.testing.assert_allclose(
        every["logit", "zeros"].coalitions[0, 0], np.log(of_nothing / (1 - of_nothing)), atol=1e-6
    )


@pytest.mark.parametrize("empty", ["prior", "zeros"])
def test_the_coalitions_of_macro_f1_are_the_configurations(run: Path, empty: Empty) -> None:
    """Its coalitions are the configurations of scores.json and a guess from nothing, its values sum to the complete."""
    trained, predictions = opened(run)
    split = explain(trained, predictions, empty=empty).score()
    scores = json.loads((run / "scores.json").read_text())
    v = {name: entry["macro_f1"] for name, entry in scores["configurations"].items()}
    objective, targets = trained.objective, trained.fold.targets.numpy()
    counts = np.array(list(trained.corpus.fold_facts("train", objective).classes.values()))
    if empty == "zeros":
        chances = objective.answers(torch.from_numpy(predictions.nothing)).numpy()
        guesses = objective.decide(np.tile(chances, (len(targets), 1)), trained.thresholds)
    elif objective.multi:  # of each emotion one half
        guesses = np.broadcast_to(trained.thresholds < 0.5, targets.shape)
    else:
        guesses = np.full(len(targets), counts.argmax())
    labels = list(range(len(objective.classes)))
    v[""] = float(f1_score(targets, guesses, labels=labels, average="macro", zero_division=0))
    assert (split.empty, split.complete) == pytest.approx((v[""], v[NAMES[-1]]))
    for m in MODALITIES:
        due = 0.0
        for size in range(3):
            for S in combinations([n for n in MODALITIES if n != m], size):
                gain = v[name_of(tuple(n for n in MODALITIES if n in (*S, m)))] - v[name_of(S)]
                due += math.factorial(size) * math.factorial(2 - size) / 6 * gain
        assert split.shapley[m] == pytest.approx(due, abs=1e-12)
    assert sum(split.shapley.values()) == pytest.approx(v[NAMES[-1]] - v[""], abs=1e-6)
    total = sum(map(abs, split.shapley.values()))
    assert split.share == pytest.approx({m: abs(phi) / total for m, phi in split.shapley.items()})
    together = {name: v[name] - v[""] - sum(v[m] - v[""] for m in name.split("+")) for name in NAMES[3:]}
    assert split.cooperation == pytest.approx(together)
    assert list(split.interaction) == NAMES[3:6]


def test_the_fold_is_the_sum_of_its_samples(run: Path) -> None:
    """Who decided, shares and classes are means of the rows of explanations.csv, of modalities that a sample has."""
    about, table = read(run)
    samples = list(dict.fromkeys(row["id"] for row in table))
    phi = {(row["id"], row["class"]): {m: float(row[f"shapley({m})"]) for m in MODALITIES} for row in table}
    said = {row["id"]: row["predicted"].split("+") for row in table}
    decided, shares = dict.fromkeys(MODALITIES, 0.0), dict.fromkeys(MODALITIES, 0.0)
    complete = {(row["id"], row["class"]): float(row["complete"]) for row in table}
    thresholds = json.loads((run / "scores.json").read_text())["thresholds"] or dict.fromkeys(about["classes"], 0.0)
    for sample in samples:
        subject = max(about["classes"], key=lambda c: complete[sample, c] - thresholds[c])
        assert said[sample] == [""] or subject in said[sample]
        own = phi[sample, subject]
        has = [m for m in MODALITIES if not (m == "visual" and sample.startswith(LACKING))]
        decided[max(has, key=lambda m: own[m])] += 1 / len(samples)
        for m in MODALITIES:
            shares[m] += abs(own[m]) / sum(map(abs, own.values())) / len(samples)
    assert about["decided"] == pytest.approx(decided)
    assert about["share"] == pytest.approx(shares, abs=1e-6)
    for name, one in about["by_class"].items():
        members = [sample for sample in samples if name in said[sample]]
        assert one["samples"] == len(members)
        for m in MODALITIES:
            if members:
                assert one["shapley"][m] == pytest.approx(np.mean([phi[s, name][m] for s in members]), abs=1e-6)
            else:
                assert one["shapley"][m] is None
    assert (about["samples"], about["value"], about["empty"]) == (len(samples), "probability", "prior")


def test_a_modality_that_is_not_there_did_not_decide(run: Path) -> None:
    """Where all that a sample has speaks against the class, one of those decided, and not the missing one with 0."""
    trained, predictions = opened(run)
    found = explain(trained, predictions)
    lacking = ~found.present[:, 2]
    against, by_text = (np.array(phi)[:, None, None] for phi in ([-0.2, -0.1, 0.0], [0.5, 0.1, 0.2]))
    phi = np.where(lacking[None, :, None], against, np.broadcast_to(by_text, found.shapley.shape))
    decided = attrs.evolve(found, shapley=phi).decided_by()
    assert decided == pytest.approx({"text": 1 - lacking.mean(), "audio": lacking.mean(), "visual": 0.0})


def made(probabilities: Any, truth: Any, present: Any = None, multi: bool = False) -> Explanation:
    """An explanation of two modalities from probabilities [3, N, C] and truth [N, C]; only `choose` reads it."""
    p, y = np.array(probabilities), np.array(truth)
    decided = (p > 0.5).astype(np.int64) if multi else np.eye(p.shape[2], dtype=np.int64)[p.argmax(axis=2)]
    N, C = y.shape
    there = np.ones((N, 2), dtype=bool) if present is None else np.array(present)
    zeros: NDArray[np.float64] = np.zeros((4, N, C))
    return Explanation(
        modalities=("a", "b"), classes=tuple("xyz"[:C]), value="probability", empty="prior",
        unit=np.ones(C), kind="multi" if multi else "single",
        answers=p, decided=decided, truth=y, guess=decided[0, 0], present=there, coalitions=zeros,
        shapley=zeros[:2], interaction=zeros[:1], subject=p[-1].argmax(axis=1), certainty=Certainty(None, None, {}),
    )  # fmt: skip


@pytest.mark.parametrize("multi", [False, True])
def test_chosen_samples_are_the_extremes(multi: bool) -> None:
    """The surest right and wrong ones in their order, and those that move most without a modality that they have."""
    complete = [[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.6, 0.4], [0.95, 0.05], [0.45, 0.55]]
    truth = [[1, 0], [0, 1], [0, 1], [1, 0], [0, 1], [0, 1]]
    without_a = [[0.9, 0.1], [0.7, 0.3], [0.9, 0.1], [0.6, 0.4], [0.95, 0.05], [0.45, 0.55]]
    without_b = [[0.8, 0.2], [0.7, 0.3], [0.2, 0.8], [0.6, 0.4], [0.05, 0.95], [0.45, 0.55]]
    present = [[1, 1]] * 4 + [[0, 1], [1, 1]]  # the fifth has only b, so nothing is left without it
    found = choose(made([without_b, without_a, complete], truth, np.array(present, dtype=bool), multi))
    of = {why: [choice.number for choice in found if choice.why == why] for why in ("right", "wrong", "changed")}
    assert of == {"right": [0, 2, 3], "wrong": [4, 1], "changed": [2, 0]}
    assert [one.changed_by for one in found if one.why == "changed"] == ["a", "b"]
    if multi:  # what is not predicted is neither right nor wrong
        quiet = made([complete] * 3, [[0, 0]] * 6, multi=True)
        quiet = attrs.evolve(quiet, decided=np.zeros_like(quiet.decided))
        assert choose(quiet) == []


def test_change_is_total_variation_or_the_largest_change() -> None:
    """½ Σ |p - q| of a distribution, max |p - q| of several labels."""
    complete, rest = [[0.7, 0.2, 0.1]], [[0.1, 0.5, 0.4]]
    for multi, due in ((False, 0.6), (True, 0.6)):
        found = change_without(made([rest, complete, complete], [[1, 0, 0]], multi=multi))
        np.testing.assert_allclose(found, [[0.0], [due]])
    spread = made([[[0.4, 0.35, 0.25]], complete, complete], [[1, 0, 0]], multi=False)
    np.testing.assert_allclose(change_without(spread)[1], 0.3)
    np.testing.assert_allclose(change_without(attrs.evolve(spread, kind="multi"))[1], 0.3)
    labels = made([[[0.4, 0.4, 0.4]], [[0.5, 0.5, 0.5]], [[0.5, 0.5, 0.5]]], [[1, 0, 0]], multi=True)
    np.testing.assert_allclose(change_without(labels)[1], 0.1)


def test_chosen_samples_are_told_in_full(run: Path) -> None:
    """Each has its interval, its decision as in predictions.csv, values that add up, and moments where it has steps."""
    about, table = read(run)
    rows = predicted(run)[NAMES[-1]]
    assert {one["why"] for one in about["chosen"]} >= {"right", "changed"}
    for one in about["chosen"]:
        row = rows[one["id"]]
        assert (one["truth"], one["predicted"]) == (row["truth"], row["predicted"])
        assert (one["start"], one["end"]) == (float(row["start"]), float(row["end"]))
        assert one["complete"] == pytest.approx(one["empty"] + sum(one["shapley"].values()), abs=1e-6)
        (same,) = (line for line in table if (line["id"], line["class"]) == (one["id"], one["class"]))
        assert {m: float(same[f"shapley({m})"]) for m in MODALITIES} == pytest.approx(one["shapley"], abs=1e-7)
        assert (one["changed_by"] is None) == (one["why"] != "changed")
        lacks = {"visual"} if one["id"].startswith(LACKING) else set()
        assert {m for m, moments in one["moments"].items() if not moments} == lacks
        assert one["why"] != "right" or one["class"] in one["truth"].split("+")
        assert one["why"] != "wrong" or one["class"] not in one["truth"].split("+")


@pytest.mark.short_rows(1)
def test_evaluate_explains_anew_and_the_same(run: Path, tmp_path: Path) -> None:
    """`evaluate` on the run's own test fold writes the same explanation again; otherwise it leaves the run as it is."""
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    before = {name: (copy / name).read_bytes() for name in (EXPLANATION, TABLE)}
    for name in before:
        (copy / name).unlink()
    evaluate(copy, fold="valid")
    assert not any((copy / name).exists() for name in before)
    evaluate(copy, write=True)
    assert {name: (copy / name).read_bytes() for name in before} == before


@pytest.mark.short_rows(1)
def test_other_data_meet_the_prior_of_the_runs_own_training_fold(run: Path, tmp_path: Path) -> None:
    """The empty coalition of other data is worth the same; a run without the counts says what to do."""
    due = explain(*opened(run)).coalitions[0, 0]
    trained, predictions = opened(run, data=(data := other(tmp_path)), fold="all")
    np.testing.assert_array_equal(
        explain(trained, predictions).coalitions[0], np.tile(due, (len(trained.fold.rows), 1))
    )
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    known = json.loads((copy / "data.json").read_text())
    folds, known["trained"] = known.pop("folds"), False  # as before the training has ended
    (copy / "data.json").write_text(json.dumps(known))
    np.testing.assert_array_equal(explain(*opened(copy, fold="valid")).coalitions[0, 0], due)
    with pytest.raises(DataError, match="no class counts of its training fold"):
        explain(*opened(copy, data=data, fold="all"))
    explain(*opened(copy, data=data, fold="all"), empty="zeros")
    folds["train"]["classes"].popitem()
    (copy / "data.json").write_text(json.dumps(known | {"folds": folds, "trained": True}))
    with pytest.raises(DataError, match=r"data\.json is damaged"):
        explain(*opened(copy))


def test_what_cannot_be_explained_is_said(run: Path) -> None:
    """NaN from the model is the fault of a part; a single class has no log-odds."""
    trained, predictions = opened(run)
    wrong = predictions.logits.copy()
    wrong[0, 0, 0] = np.nan
    with pytest.raises(PluginError, match="NaN"):
        explain(trained, predictions._replace(logits=wrong))
    one = attrs.evolve(trained, objective=make_objective(ObjectiveSettings(), ("happy",)))
    with pytest.raises(SettingsError, match="only class"):
        explain(one, predictions, value="logit")


@pytest.mark.short_rows(1)
def test_a_sample_is_found_by_its_id(run: Path, tmp_path: Path) -> None:
    """It is explained alone as among the others; a wrong id gets a sentence with what may have been meant."""
    trained, predictions = opened(run)
    whole = explain(trained, predictions)
    alone, n = restrict_to_sample(trained, f"{LACKING}[1]")
    place = [trained.corpus.store.ids[row] for row in trained.fold.rows].index(f"{LACKING}[1]")
    found = explain(alone, alone.predict(CPU))
    assert n == 0
    np.testing.assert_allclose(found.shapley[:, 0], whole.shapley[:, place], atol=1e-6)
    assert found.subject[0] == whole.subject[place]
    for wrong, sentence in (
        ("v19", r"no sample 'v19'. Did you mean 'v19\[\d\]'"),
        ("nothing like it", r"Its 12 ids are like 'v18\[0\]'"),
        ("v03[0]", "not in the fold 'test': --fold train"),
    ):
        with pytest.raises(SettingsError, match=sentence) as caught:
            restrict_to_sample(trained, wrong)
        assert len(str(caught.value)) < 200
    with pytest.raises(SettingsError, match=r"predictions\.csv has all"):
        restrict_to_sample(trained, "nothing like it")
    for elsewhere in (opened(run, fold="valid")[0], opened(run, data=other(tmp_path))[0]):
        with pytest.raises(SettingsError) as caught:
            restrict_to_sample(elsewhere, "nothing like it")
        assert "predictions.csv" not in str(caught.value)


def test_a_sample_without_an_emotion_is_said_to_be_left_out(tiny: Path, tmp_path: Path) -> None:
    """Where the recipe drops samples without an emotion, asking for one says so."""
    start(small(training={"epochs": 1}), tiny, tmp_path / "run")
    trained = open_trained_run(tmp_path / "run", REGISTRY)
    fold = trained.fold
    left = attrs.evolve(trained, fold=fold._replace(rows=fold.rows[1:], targets=fold.targets[1:]))
    with pytest.raises(SettingsError, match=r"has no emotion, and the run leaves such samples out"):
        restrict_to_sample(left, trained.corpus.store.ids[fold.rows[0]])


@pytest.mark.short_rows(1)
def test_the_command_tells_of_the_fold(run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """`emotiwave explain RUN` prints who decided and what to look at, --json what RUN holds, and changes nothing."""
    before = {path.name: path.stat().st_mtime_ns for path in run.iterdir()}
    assert exit_code_of(["explain", str(run)]) == 0
    out = capfd.readouterr().out
    about, _ = read(run)
    for m in MODALITIES:
        (line,) = (line for line in out.splitlines() if line.startswith(f"{m} "))
        assert f"{about['decided'][m]:.0%}" in line
        assert f"{about['macro_f1']['shapley'][m]:+.3f}" in line
    asked = shlex.join(["emotiwave", "explain", str(run), "--sample", about["chosen"][0]["id"]])
    assert f"Look at one: {asked}\n" in out
    assert TOGETHER in out
    assert exit_code_of(["explain", str(run), "--json"]) == 0
    assert json.loads(capfd.readouterr().out) == about
    assert {path.name: path.stat().st_mtime_ns for path in run.iterdir()} == before


@pytest.mark.short_rows(1)
def test_the_command_that_is_advised_works(run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Whatever was asked and wherever the run is: the last line can be typed as it stands."""
    folder = shutil.copytree(run, tmp_path / "my run's")
    assert exit_code_of(["explain", str(folder), "--fold", "valid", "--empty", "zeros", "--value", "logit"]) == 0
    advised = shlex.split(capfd.readouterr().out.splitlines()[-1].removeprefix("Look at one: "))
    assert advised[:3] == ["emotiwave", "explain", str(folder)]
    assert exit_code_of([*advised[1:], "--json"]) == 0
    about = json.loads(capfd.readouterr().out)
    assert (about["fold"], about["value"], about["empty_coalition"]) == ("valid", "logit", "zeros")
    assert exit_code_of(["explain", str(folder), "--fold", "all"]) == 0
    assert capfd.readouterr().out.startswith("Who decided: all folds, ")


@pytest.mark.short_rows(1)
def test_the_command_tells_of_a_sample(run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """With --sample: every configuration, the classes that matter, what it lacks, moments and a picture."""
    picture = tmp_path / "made" / "for it" / "moments.png"
    asked = ["explain", str(run), "--sample", f"{LACKING}[0]", "--value", "logit", "--empty", "zeros"]
    assert exit_code_of([*asked, "--picture", str(picture)]) == 0
    out = capfd.readouterr().out
    assert all(f"\n{name} " in out for name in NAMES)
    assert "The sample has no visual." in out
    (row,) = (line.split() for line in out.splitlines() if line.startswith("visual (absent) "))
    assert set(row[2:]) == {"–"}
    assert "\ntext+visual (no visual) " in out
    assert "\nvisual\n" not in out
    split = out.partition("Shapley values")[2].partition("\nshare ")[0]
    assert all("  absent  " in line for line in split.splitlines()[2:])
    assert "log-odds" in out
    assert out.count("│") >= 2
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert exit_code_of([*asked, "--json"]) == 0
    about = json.loads(capfd.readouterr().out)
    assert (about["value"], about["empty_coalition"], about["present"]) == ("logit", "zeros", ["text", "audio"])
    assert list(about["configurations"]) == NAMES
    rows = predicted(run)
    for name, one in about["configurations"].items():
        row = rows[name][f"{LACKING}[0]"]
        assert one["predicted"] == row["predicted"]
        for label, chance in one["probabilities"].items():
            assert chance == pytest.approx(float(row[f"p({label})"]), abs=1e-5)
    for one in about["classes"].values():
        assert sum(one["shapley"].values()) == pytest.approx(one["complete"] - one["empty"], abs=1e-6)


def test_a_narrow_terminal_cuts_no_name(
    run: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Names fold where there is no room; a pipe has room for all."""
    details = api.open_run(run, device="cpu").explain("v18[0]")
    assert isinstance(details, SampleDetails)
    said, answer = "happy+sad+anger+surprise", details.configurations["text+audio"]
    answers = details.configurations | {"text+audio": attrs.evolve(answer, predicted=said)}
    details = attrs.evolve(details, configurations=answers)
    for width in (50, 80, 10_000):
        monkeypatch.setattr(
            "emotiwave_core.cli.explain.tables", lambda width=width: Console(width=width, highlight=False)
        )
        print_sample(details)
        out = capfd.readouterr().out
        assert "…" not in out
        assert (said in out) or width < 10_000
        assert f"{answer.answers[details.sample.explained]:.3f}" in out
    assert all(f"{chance:.3f}" in out for chance in details.configurations["text"].answers.values())


@pytest.mark.parametrize(
    ("options", "code", "sentence"),
    [
        (["--picture", "x.png"], 2, "give its --sample"),
        (["--sample", "v19[0]", "--picture", "x.jpg"], 2, "name it x.png"),
        (["--sample", "v19[0]", "--picture", "/proc/none/x.png"], 5, "Cannot write /proc/none"),
        (["--sample", "v19"], 2, "Did you mean"),
        (["--value", "odds"], 2, "'odds' is not one of"),
    ],
)
def test_wrong_options_get_a_sentence(
    run: Path, options: list[str], code: int, sentence: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Each with its exit code, and nothing on stdout."""
    assert exit_code_of(["explain", str(run), *options]) == code
    said = capfd.readouterr()
    assert sentence in said.err
    assert not said.out


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["single", "multi"])
def test_text_that_says_nothing_decides_nothing(kind: str, real_data: Path, tmp_path: Path) -> None:
    """RAVDESS's two sentences are spoken with every emotion: text adds about 0 to macro-F1 and decides no sample.

    Held: |Shapley value| up to 0.03 of a macro-F1 above 0.4, so a share up to 6 %; up to 2 % of the samples decided.
    """
    recipe = small(
        encoder={"name": "bilstm", "hidden_size": 32, "pooling": "max"},
        objective={"kind": kind, "distillation": 0.5},
        training={"epochs": 5, "batch_size": 32, "learning_rate": 1e-3},
    )
    start(recipe, real_data / "ravdess", tmp_path / "run")
    about = json.loads((tmp_path / "run" / EXPLANATION).read_text())
    assert about["macro_f1"]["complete"] > 0.4
    assert abs(about["macro_f1"]["shapley"]["text"]) <= 0.03
    assert about["macro_f1"]["share"]["text"] <= 0.06
    assert about["decided"]["text"] <= 0.02
    assert about["decided"]["audio"] + about["decided"]["visual"] >= 0.98
