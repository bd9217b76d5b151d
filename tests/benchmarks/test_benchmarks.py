"""The benchmarks that the documents quote still run, and train what they say."""

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
from documents import ROOT, load_benchmark, text_of
from training import REGISTRY, small, start

from emotiwave_core.config.flags import override
from emotiwave_core.config.recipe import Recipe
from emotiwave_core.data.corpus import Corpus, Fold
from emotiwave_core.model.objective import Objective

NAMES = ["text", "audio", "visual", "text+audio", "text+visual", "audio+visual", "text+audio+visual"]


@pytest.fixture
def rotated(tiny: Path) -> Path:
    """The tiny data set with five folds to rotate."""
    lists = json.loads((tiny / "folds.json").read_text())
    ids = [video for fold in lists.values() for video in fold]
    (tiny / "cv.json").write_text(json.dumps({f"fold{number}": ids[number::5] for number in range(5)}))
    return tiny


def test_a_specialist_sees_one_configuration_alone() -> None:
    """It keeps nothing else in training, is chosen by that configuration, and learns from no complete sample."""
    catalogue = load_benchmark("catalogue")
    for kept in NAMES:
        table = override(REGISTRY.recipe("robust"), catalogue.specialist(kept))
        recipe = Recipe.from_table(table, "A specialist")
        assert recipe.dropout.options == {"weights": {kept: 1.0}, "other": 0.0}
        assert recipe.training.select == kept
        assert (recipe.objective.complete, recipe.objective.distillation) == (0.0, 0.0)
        assert recipe.fusion == Recipe.from_table(REGISTRY.recipe("robust"), "robust").fusion


def test_the_catalogue_trains_every_recipe_on_every_rotation() -> None:
    """Each recipe of registry.toml and seven specialists, five rotations each."""
    catalogue = load_benchmark("catalogue")
    jobs = list(catalogue.jobs(list(REGISTRY.recipes), ("text", "audio", "visual")))
    rows = {job.row for job in jobs}
    assert rows == set(REGISTRY.recipes) | {f"only {name}" for name in NAMES}
    assert len(jobs) == 5 * len(rows)
    assert all(catalogue.asked(job)["data"]["rotation"] == job.rotation for job in jobs[::5])
    assert {job.rotation for job in jobs if job.row == "robust"} == set(range(5))


def test_the_table_is_of_what_the_runs_scored(rotated: Path, tmp_path: Path) -> None:
    """A row holds the means over the rotations of the runs' own scores; specialists each score their configuration."""
    catalogue = load_benchmark("catalogue")
    runs = []
    for rotation in range(2):
        data = {"folds": "cv.json", "rotation": rotation}
        start(small(data=data, training={"epochs": 1}), rotated, tmp_path / str(rotation))
        runs.append(catalogue.read(tmp_path / str(rotation)))
    scores = [json.loads((tmp_path / str(rotation) / "scores.json").read_text()) for rotation in range(2)]
    cells = catalogue.table({"mine": runs}, NAMES).splitlines()[-1].split(" | ")
    audio = np.mean([score["configurations"]["audio"]["macro_f1"] for score in scores])
    assert cells[4 + NAMES.index("audio")] == f"{audio:.3f}"
    assert cells[-2].startswith(f"{np.mean([score['mean_macro_f1'] for score in scores]):.3f} ± ")

    rows = {f"only {name}": [{**runs[0], name: 0.1 * place}] * 5 for place, name in enumerate(NAMES)}
    assert catalogue.gather_specialists(rows, NAMES)[0]["mean"] == pytest.approx(0.3)


def test_candidates_are_compared_by_validation_alone(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`choose` says the validation scores of the best epoch, and never looks up the test fold."""
    looked_up, plain = set(), Corpus.fold

    def fold(corpus: Corpus, name: str, objective: Objective) -> Fold:
        looked_up.add(name)
        return plain(corpus, name, objective)

    monkeypatch.setattr(Corpus, "fold", fold)
    found = load_benchmark("choose").measure(["training.epochs=2", "encoder.name=mean", "encoder.width=8"], 0, tiny)
    assert looked_up == {"train", "valid"}
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
