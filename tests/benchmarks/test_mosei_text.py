"""The benchmark on CMU-MOSEI's text: its folds, its words, its numbers."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from datasets import write_csd
from documents import ROOT
from sklearn.metrics import f1_score
from training import REGISTRY

from emotiwave_core.config.flags import override
from emotiwave_core.config.recipe import Recipe
from emotiwave_core.evaluate.bootstrap import score_interval

COLUMNS = ["sentiment", "happy", "sad", "anger", "surprise", "disgust", "fear"]


@pytest.fixture
def mosei_text(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """benchmarks/mosei_text.py as a module, its neighbours beside it as when it is run."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    path = ROOT / "benchmarks" / "mosei_text.py"
    spec = importlib.util.spec_from_file_location("benchmark_mosei_text", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Sixty videos of two segments; the first word of each says its emotion."""
    folder = tmp_path / "mosei"
    folder.mkdir()
    random = np.random.default_rng(0)
    vectors, words, labels = {}, {}, {}
    for number in range(60):
        emotions = random.integers(0, 6, 2)
        said = np.array([f"mood{emotions[0]}", "and", f"mood{emotions[1]}", "so"])
        intervals = [[k, k + 1.0] for k in range(4)]
        words[f"v{number:02d}"] = (said.astype("S8")[:, None], intervals)
        vectors[f"v{number:02d}"] = (random.normal(size=(4, 3)).astype(np.float32), intervals)
        labels[f"v{number:02d}"] = (np.eye(7)[1 + emotions].astype(np.float32), [[0.0, 2.0], [2.0, 4.0]])
    write_csd(folder / "CMU_MOSEI_GloVe100.csd", vectors)
    write_csd(folder / "CMU_MOSEI_TimestampedWords.csd", words)
    write_csd(folder / "CMU_MOSEI_Labels.csd", labels, COLUMNS)
    ids = sorted(labels)
    folds = {"train": ids[:24], "valid": ids[24:30], "test": ids[30:]}
    (folder / "folds.json").write_text(json.dumps(folds))
    return folder


def test_no_choice_sees_a_test_video(mosei_text: ModuleType, data: Path, tmp_path: Path) -> None:
    """The official test fold is in every split as it was, the other videos take turns; five folds hold all, once."""
    mosei_text.lay_out(data, tmp_path / "own")
    given = json.loads((data / "folds.json").read_text())
    turns = []
    for k in range(5):
        lists = json.loads((tmp_path / "own" / f"official{k}.json").read_text())
        assert sorted(lists["test"]) == given["test"]
        assert sorted(lists["train"] + lists["valid"]) == sorted(given["train"] + given["valid"])
        turns += lists["valid"]
    assert sorted(turns) == sorted(given["train"] + given["valid"])
    parts = json.loads((tmp_path / "own" / "cv.json").read_text())
    assert sorted(video for part in parts.values() for video in part) == sorted(
        video for part in given.values() for video in part
    )
    assert {len(part) for part in parts.values()} == {12}


@pytest.mark.full
def test_the_regression_reads_the_words_of_its_segment(mosei_text: ModuleType, data: Path, tmp_path: Path) -> None:
    """Where a word says the emotion it finds every one, in both ways to split; each sample is asked about once."""
    mosei_text.lay_out(data, tmp_path / "own")
    told = mosei_text.regression(data, tmp_path / "own")
    assert [len(answers) for answers in told.values()] == [1, 1]
    assert {name: len(set(answers[0].videos)) for name, answers in told.items()} == {"official": 30, "five folds": 60}
    for answers in told.values():
        assert mosei_text.describe(answers)["macro_f1"] == pytest.approx(1.0)


def test_a_row_is_the_mean_of_its_models(mosei_text: ModuleType) -> None:
    """F1 is the mean of scikit-learn's over the models; of two alike, the interval is that of one."""
    random = np.random.default_rng(1)
    truth, first, second = random.integers(0, 2, (3, 80, 6))
    videos = [f"v{row // 4}" for row in range(80)]
    told = [mosei_text.Answers(videos, truth, one, random.random((80, 6))) for one in (first, second)]
    row = mosei_text.describe(told)
    for c, name in enumerate(COLUMNS[1:]):
        due = np.mean([f1_score(truth[:, c], one[:, c]) for one in (first, second)])
        assert row["classes"][name]["f1"] == pytest.approx(due)
        assert row["classes"][name]["interval"][0] < due < row["classes"][name]["interval"][1]
    alone = score_interval(truth, first, videos, 6)
    assert alone is not None
    assert mosei_text.describe([told[0], told[0]])["interval"] == pytest.approx(alone.tolist())


def test_every_candidate_is_a_multi_label_recipe(mosei_text: ModuleType) -> None:
    """All candidates differ, and learn each emotion by itself."""
    recipes = []
    for name, settings in mosei_text.CANDIDATES.items():
        table = override(REGISTRY.recipe("default"), (*mosei_text.ALL, *settings))
        recipes.append(Recipe.from_table(table, name))
    assert {recipe.objective.kind for recipe in recipes} == {"multi"}
    assert all(one != other for place, one in enumerate(recipes) for other in recipes[:place])
