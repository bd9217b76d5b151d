"""A fold of the data and a model that has learned nothing, which takes as long as one that has."""

from pathlib import Path
from typing import Any

import torch

from emotiwave_core.compute.device import seed_everything
from emotiwave_core.config.recipe import Recipe
from emotiwave_core.data.corpus import open_corpus
from emotiwave_core.objectives.settle import make_objective
from emotiwave_core.parts.registry import load_registry
from emotiwave_core.predict.trained import TrainedRun
from emotiwave_core.runs.data_file import write_data_folder
from emotiwave_core.train.loop import fit_statistics
from emotiwave_core.train.run import build


def untrained(table: dict[str, Any], folder: Path, run: Path, device: torch.device, fold: str = "test") -> TrainedRun:
    """As if a run of this recipe had ended with its first weights, on one fold of the data."""
    recipe = Recipe.from_table(table, "The benchmark")
    corpus = open_corpus(folder, recipe.data)
    objective = make_objective(recipe.objective, corpus.store.targets)
    seed_everything(recipe.seed)
    model = build(load_registry().resolve(recipe), corpus, objective)
    fit_statistics(model, corpus, corpus.fold("train", objective))
    write_data_folder(run, str(folder.resolve()))
    samples, modalities = corpus.fold(fold, objective), model.modalities
    return TrainedRun(run, model.to(device).eval(), objective.to(device), recipe, corpus, samples, None, modalities, [])
