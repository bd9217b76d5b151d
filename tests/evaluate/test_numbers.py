"""Extreme numbers: a run of any data set ends with finite scores, or is refused in one sentence. Never a NaN score."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from extreme_numbers import CASES, LABELS, TEST, VALID, check_run, dataset, in_fold
from torch import Tensor
from training import resume, small, start

from emotiwave_core.errors import DataError, DivergedError, PluginError, SettingsError
from emotiwave_core.interfaces import Output
from emotiwave_core.objectives.single import SingleLabel

WAYS: dict[str, dict[str, Any]] = {
    "default": {},
    "notebook": {
        "encoder": {"name": "bilstm", "hidden_size": 4, "pooling": "last"},
        "dropout": {"name": "bernoulli", "p": 0.3, "per": "batch", "allow_empty": True},
        "model": {"standardise": False, "absent": "zeros"},
    },
    "crossmodal": {"fusion": {"name": "crossmodal", "width": 8, "heads": 2, "layers": 1}},
    "raw mean": {"encoder": {"name": "mean", "width": 4}, "model": {"standardise": False}},
    "bf16": {"training": {"precision": "bf16"}},
    "raw bf16": {
        "encoder": {"name": "mean", "width": 4},
        "model": {"standardise": False},
        "training": {"precision": "bf16"},
    },
}
OBJECTIVES = {
    "single": {"kind": "single"},
    "multi": {"kind": "multi"},
    "all losses": {"kind": "multi", "complete": 0.5, "distillation": 0.5, "unimodal": 0.5, "logit_adjustment": 1.0},
    "class": {"kind": "single", "no_emotion": "class", "unimodal": 0.5, "logit_adjustment": 1.0},
    "asymmetric": {"kind": "multi", "asymmetric": {}},
}
# What is refused, and the words of the refusal: (case, objective) -> sentence. All else must end.
REFUSED = {
    ("no positive in train", "single"): "The fold 'train' of Tiny has 12 samples, and none has an emotion above 0",
    ("no positive in valid", "single"): "The fold 'valid' of Tiny has",
    ("no positive in test", "single"): "The fold 'test' of Tiny has",
    ("no positive", "single"): "The fold 'train' of Tiny has",
    ("negative", ""): 'the labels are of the kind "regression"',
    ("NaN in train", ""): "The fold 'train' of Tiny",
    ("all NaN labels", ""): "holds no label row",
    ("all inf labels", ""): "holds no label row",
    **{
        (case, ""): "No labelled segment of Tiny has data in any modality"
        for case in ("all NaN", "all inf", "all -inf", "zeros", "beyond float32")
    },
    **{
        (case, ""): "The modality 'audio' (audio.csd) has nothing for any of the 24 samples"
        for case in ("no audio anywhere", "audio without rows")
    },
    ("test is NaN", ""): "The fold 'test' of Tiny (",
    ("times at 1e300", ""): "24 label rows have times beyond 1e+09 s and are left out",
}
HUGE = ("1e38", "one at 1e38", "constant 1e30")  # not standardised, sums of these are more than a float32 holds
QUICK = {
    ("90 % NaN", "notebook", "single"),
    ("1e38", "raw mean", "multi"),
    ("one class in train", "bf16", "single"),
    ("no positive", "default", "all losses"),
    ("times at 1e300", "default", "single"),
    ("no positive in valid", "default", "single"),
    ("all inf labels", "default", "multi"),
    ("only valid is huge", "raw mean", "single"),
}


def _cases() -> list[Any]:
    """Every data set with two objectives and the plain recipe, the features also with the other recipes."""
    found = [(case, "default", kind) for case in CASES for kind in ("single", "multi")]
    found += [(case, way, kind) for case in CASES for way in WAYS for kind in ("single", "multi") if way != "default"]
    found += [(case, "default", kind) for case in LABELS for kind in OBJECTIVES if kind not in ("single", "multi")]
    return [pytest.param(*one, marks=[] if one in QUICK else pytest.mark.stress) for one in found]


@pytest.mark.short_rows(3)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(("case", "way", "objective"), _cases())
def test_a_run_ends_with_finite_numbers_or_a_sentence(tmp_path: Path, case: str, way: str, objective: str) -> None:
    """Every number in every file is finite and probabilities are such; or one sentence says what is wrong."""
    data, out = dataset(tmp_path / "data", CASES[case]), tmp_path / "run"
    tables = {key: dict(value) for key, value in WAYS[way].items()}
    tables["training"] = {"epochs": 2, **tables.get("training", {})}
    sentence = REFUSED.get((case, objective)) or REFUSED.get((case, ""))
    if sentence:
        with pytest.raises((DataError, SettingsError)) as caught:
            start(small(objective=OBJECTIVES[objective], **tables), data, out)
        assert sentence in str(caught.value)
        return
    if case in HUGE and way.startswith("raw"):
        with pytest.raises(DivergedError, match="In epoch 1 the loss is"):
            start(small(objective=OBJECTIVES[objective], **tables), data, out)
        assert not list(out.iterdir())
        return
    start(small(objective=OBJECTIVES[objective], **tables), data, out)
    check_run(out, OBJECTIVES[objective]["kind"] == "multi")


@pytest.mark.short_rows(1)
@pytest.mark.parametrize("fold", [VALID, TEST])
def test_a_fold_that_overflows_the_model_is_refused(tmp_path: Path, fold: str) -> None:
    """Features whose sums are infinite: no validation score (6) and no test score (4) is made of what is not finite."""
    data = dataset(tmp_path / "data", in_fold(fold, lambda old: np.full_like(old, 3e38)))
    recipe = small(encoder={"name": "mean", "width": 4}, model={"standardise": False}, training={"epochs": 1})
    with pytest.raises(DivergedError if fold == VALID else PluginError, match=r"[Tt]he model says NaN"):
        start(recipe, data, tmp_path / "run")
    assert not (tmp_path / "run" / "scores.json").exists()


@pytest.mark.parametrize("precision", ["fp32", pytest.param("bf16", marks=pytest.mark.stress)])
def test_a_training_that_diverges_keeps_the_last_good_epoch(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    """NaN in the third epoch: DivergedError, and the same again on resuming; two whole epochs stay as they are."""
    steps: list[int] = []

    def losses(self: SingleLabel, output: Output, targets: Tensor, mixture: None) -> tuple[Tensor, Tensor]:
        steps.extend([len(targets)] * output.logits.requires_grad)  # validation has a loss too
        loss, each = kept(self, output, targets, mixture)
        return (loss * torch.nan if len(steps) > bad else loss), each

    kept, bad = SingleLabel._losses, 7  # three batches an epoch
    monkeypatch.setattr(SingleLabel, "_losses", losses)
    recipe = small(training={"epochs": 4, "precision": precision})
    with pytest.raises(DivergedError, match="In epoch 3 the loss is nan") as first:
        start(recipe, tiny, tmp_path / "run")
    files = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    assert files["history.jsonl"].count(b"\n") == 2
    steps[:], bad = [], 1
    with pytest.raises(DivergedError) as again:
        resume(tmp_path / "run")
    assert str(again.value) == str(first.value)
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == files
    bad = 10**6
    resume(tmp_path / "run")
    check_run(tmp_path / "run", multi=False)


@pytest.mark.parametrize("rate", [1e4, pytest.param(1e30, marks=pytest.mark.stress)])
@pytest.mark.parametrize("precision", [pytest.param("fp32", marks=pytest.mark.stress), "bf16"])
def test_a_learning_rate_that_is_absurd(tiny: Path, tmp_path: Path, rate: float, precision: str) -> None:
    """Weights that explode: finite scores or DivergedError, whose way out is true: with a lower rate it ends."""
    training = {"epochs": 4, "learning_rate": rate, "precision": precision, "weight_decay": 0.0}
    recipe = small(encoder={"name": "mean", "width": 4}, training=training)
    said = None
    try:
        start(recipe, tiny, tmp_path / "run")
    except DivergedError as error:
        said = str(error)
    if said is None:
        check_run(tmp_path / "run", multi=False)
        return
    assert "Lower training.learning_rate" in said
    start(small(training=training | {"learning_rate": 1e-3}), tiny, tmp_path / "lower")
    check_run(tmp_path / "lower", multi=False)
