"""The benchmarks that the documents quote still run, and train what they say."""

import tomllib
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from documents import ROOT, load_benchmark, text_of
from senses import train_run
from sklearn.metrics import f1_score
from training import REGISTRY

import emotiwave as ew
from emotiwave_core.compare.jobs import Runs
from emotiwave_core.compare.plan import run_folder
from emotiwave_core.config.flags import override
from emotiwave_core.config.recipe import DataSettings, Recipe
from emotiwave_core.errors import SettingsError
from emotiwave_core.evaluate.calibration import calibration
from emotiwave_core.parts.registry import load_registry
from emotiwave_core.predict.trained import open_trained_run
from emotiwave_core.runs.model_file import PairAgreement, read_model_file
from emotiwave_core.runs.scores import read_scores


def test_candidates_are_compared_by_validation_alone(tiny: Path, tmp_path: Path) -> None:
    """`choose` plans runs that end before their test, and says the validation scores of their best epoch."""
    choose = load_benchmark("choose")
    settings = ["training.epochs=2", "encoder.name=mean", "encoder.width=8"]
    table = {"base": settings, "candidate": {"a": [], "b": ["fusion=mean"]}}
    runs, setting = choose.runs_of(table, ["a", "b"], 2), Runs(tiny, tmp_path)
    assert len({run.folder for run in runs}) == len(runs) == 2 * 2 * len(choose.SPLITS)
    assert all("--no-test" in choose.job_of(run, setting).program.words for run in runs)
    folder = run_folder(tmp_path, runs[0])
    folder.parent.mkdir(parents=True)
    recipe = attrs.evolve(runs[0].recipe(), data=DataSettings())
    ew.train(tiny, recipe.to_table(), out=folder, device="cpu", test=False)
    with pytest.raises(SettingsError, match="another recipe"):
        choose.job_of(runs[0], setting)
    found = choose.validation(folder)
    row = choose.as_table({"mine": [found, found]}).splitlines()[-1]
    assert row.startswith(f"| mine | {found['mean_macro_f1']:.3f} ")
    assert found["mean_macro_f1"] == pytest.approx(np.mean(list(found["configurations"].values())))
    assert found["epoch"] <= found["epochs"] == 2


def test_every_candidate_is_a_recipe() -> None:
    """benchmarks/robust.toml holds settings that recipes take, and the winner is the recipe `robust`."""
    table = tomllib.loads((ROOT / "benchmarks" / "robust.toml").read_text())
    recipes = {
        name: Recipe.from_table(override({}, (*table["base"], *settings)), name)
        for name, settings in table["candidate"].items()
    }
    robust = Recipe.from_table(REGISTRY.recipe("robust") | {"name": "default"}, "robust")
    table_of_results = text_of("docs/results.md").partition("| candidate |")[2].splitlines()
    best = table_of_results[2].split("|")[1].strip()
    assert recipes[best] == robust


@pytest.mark.full
def test_trust_pools_the_samples_of_all_runs(tmp_path: Path) -> None:
    """The error of two runs together is that of all their samples; undone, it is that of the logits as they were."""
    trust = load_benchmark("trust")
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    runs = tuple(train_run(tmp_path / name).folder for name in ("a", "b"))
    for run in runs:
        model, scores = read_model_file(run), read_scores(run)
        for name, (_, after, _) in trust.pooled_errors((run,)).items():
            assert after == pytest.approx(scores[name].calibration.ece)
            assert model.calibration is None or name in scores
    opened = open_trained_run(runs[0], load_registry(tmp_path / "a" / "registry.toml"))
    opened.model.calibration = None
    plain = opened.predict(torch.device("cpu")).answers[-1]
    due = calibration(opened.objective.truth(opened.fold.targets), plain.argmax(axis=1), plain).ece
    assert trust.pooled_errors(runs[:1])["text+audio+visual"][0] == pytest.approx(due, abs=1e-6)
    for name, errors in trust.pooled_errors(runs).items():
        assert errors[:2] == pytest.approx(trust.pooled_errors(runs[:1])[name][:2])  # the same samples twice
    assert trust.without(runs[:1], "audio") == pytest.approx(read_scores(runs[0])["text+visual"].score)
    assert set(trust.mean_curves(runs[:1], "noise", "drop")) == set(trust.mean_curves(runs[:1], "noise", "ignore"))


@pytest.mark.full
def test_trust_knows_the_error_of_one_who_is_right() -> None:
    """Truths drawn by the probabilities show less error the more samples there are, and none where all are sure."""
    trust, random = load_benchmark("trust"), np.random.default_rng(1)
    chances = list(random.dirichlet(np.ones(4), size=4000))
    few, many = trust._by_chance(chances[:200]), trust._by_chance(chances)
    assert few > 2 * many > 0
    assert trust._by_chance(list(np.eye(4)[[0, 1, 2, 3] * 20])) == 0


@pytest.mark.full
def test_trust_averages_the_runs_of_a_fold(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One run, or the same one twice, has its own scores both by itself and together."""
    trust, run = load_benchmark("trust"), train_run(tmp_path).folder
    scores = read_scores(run)
    for runs in ((run,), (run, run)):
        trust.print_together.callback(runs)
        rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()]
        due = {name: f"{entry.score:.3f}" for name, entry in scores.configurations.items()}
        assert {name: (one, together) for name, one, together in rows[:-1]} == {n: (x, x) for n, x in due.items()}


@pytest.mark.full
def test_trust_swaps_one_of_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers, clean and swapped, are those of Bayes' rule, and last is the score of the one that stays."""
    trust, run = load_benchmark("trust"), train_run(tmp_path).folder
    model, scores = read_model_file(run), read_scores(run)
    even = [1 / len(model.classes)] * len(model.classes)
    known = attrs.evolve(model, agreement={"audio+visual": PairAgreement(40, even, -1.0, 0.5, 0.1)})
    monkeypatch.setattr(trust, "read_model_file", lambda _: known)
    alone, truth = trust.answers_alone(run), trust.truth_of(run)

    def due(audio: Any, visual: Any) -> Any:
        return pytest.approx(f1_score(truth, (audio * visual).argmax(axis=1), average="macro", labels=range(len(even))))

    for lies, modality in enumerate(("audio", "visual")):
        found, clean = trust.scores_of(run, "audio+visual", lies, 0), {m: alone[m] for m in ("audio", "visual")}
        moved = trust.swapped(alone[modality], trust.drawn(len(truth), 1.0, 0))
        assert not np.array_equal(moved, alone[modality])
        assert sorted(moved.tolist()) == sorted(alone[modality].tolist())
        assert (found[0], found[1]) == (due(**clean), due(**clean | {modality: moved}))
        assert found[-1] == pytest.approx(scores[("visual", "audio")[lies]].score)
