"""Whole documents of each kind that a user writes or a run keeps, for tests that damage them."""

from training import REGISTRY

from emotiwave_core.config.recipe import Recipe
from emotiwave_core.evaluate.corruption import Manifest

GOOD = """
name = "Mine"
synthetic = true
words = "w.csd"
[modalities]
voice = "a.csd"
face = "sub/b.csd"
[labels]
file = "l.csd"
targets = ["happy", "sad"]
columns = ["sad", "happy"]
[folds]
file = "folds.json"
"""


SDK = """
import os
os.system("touch EXECUTED")
open("EXECUTED", "w").write("x")
standard_train_fold=['-a','b',
    'c']
standard_valid_fold=['d']
standard_test_fold=["e"]
other = standard_test_fold + os.listdir("/")
raise SystemExit(3)
"""


PARTS = {
    "encoder": {"text": {"name": "bilstm", "hidden_size": 4, "pooling": "mean"}, "*": "mean"},
    "fusion": {"name": "crossmodal", "width": 8, "heads": 2},
    "dropout": {"name": "mixed", "policies": [{"name": "uniform"}, {"name": "bernoulli", "p": 0.3}]},
}


GIVEN = Recipe.from_table({"objective": {"kind": "multi"}, **PARTS}, "The test's")
RECIPE = REGISTRY.resolve(GIVEN).completed().to_table()


TABLE = {
    "encoder": {"mine": "emotiwave-mine"},
    "recipe": {"small": {"encoder": "mean", "training": {"epochs": 3}}},
    "plugins": {"mine": "mine.py"},
    "disabled": ["encoder.mamba"],
}


LISTS = {"train": ["a", "b"], "valid": ["c"], "test": ["d"], "fold0": ["x"], "fold1": []}


MANIFEST = Manifest(
    format=1, protocol="frames", seed=3, levels=[0.0, 0.5], dataset="D", fold="test", modalities=["text"],
    samples=["v[0]", "w[0]"], steps={"text": [2, 1]}, since={"text": ["1-", "-"]},
)  # fmt: skip
