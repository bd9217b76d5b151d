"""The benchmarks that the documents quote still run, and train what they say."""

import tomllib
from pathlib import Path

import click
import numpy as np
import pytest
from documents import ROOT, load_benchmark, text_of
from training import REGISTRY

from emotiwave_core.config.flags import override
from emotiwave_core.config.recipe import Recipe
from emotiwave_core.data.corpus import Corpus, Fold
from emotiwave_core.objectives import Objective


def test_candidates_are_compared_by_validation_alone(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`choose` says the validation scores of the best epoch, and never looks up the test fold."""
    looked_up, plain = set(), Corpus.fold

    def fold(corpus: Corpus, name: str, objective: Objective) -> Fold:
        looked_up.add(name)
        return plain(corpus, name, objective)

    monkeypatch.setattr(Corpus, "fold", fold)
    choose = load_benchmark("choose")
    settings = ("training.epochs=2", "encoder.name=mean", "encoder.width=8")
    run = choose.carry_out(choose.Job("mine", settings, test=False), tiny, tmp_path)
    assert choose.carry_out(choose.Job("mine", settings, test=False), tiny, tmp_path) == run
    found = choose.validation(run)
    assert looked_up == {"train", "valid"}
    assert (
        choose.as_table({"mine": [found, found]}).splitlines()[-1].startswith(f"| mine | {found['mean_macro_f1']:.3f} ")
    )
    with pytest.raises(click.ClickException, match="other settings"):
        choose.carry_out(choose.Job("mine", settings, 1, test=False), tiny, tmp_path)
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
