"""A folder as a run leaves it, for tests of what reads one: plausible numbers that agree with each other."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from report_extras import write_explanation, write_predictions, write_protocol

from emotiwave_core.modalities import configurations, name_of

EMOTIONS = ("happy", "sad", "anger", "surprise", "disgust", "fear")
THREE = ("text", "audio", "visual")


def write_run(
    run: Path,
    *,
    objective: str = "single",
    modalities: Sequence[str] = THREE,
    classes: Sequence[str] = EMOTIONS,
    dataset: str = "RAVDESS",
    synthetic: bool = False,
    epochs: int = 24,
    notes: Sequence[str] = (),
    each: int = 48,
    ids: Sequence[str] = (),
    words: Sequence[str] = ("you", "never", "told", "me", "that"),
) -> Path:
    """Write all files of a run into a new folder; the first configuration of a single-label run has collapsed.

    There are `each` samples of every class; the first ones get the `ids` given.
    """
    run.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(7)
    scored = {
        name_of(kept): (_single if objective == "single" else _multi)(classes, kept, modalities, random, each)
        for kept in configurations(modalities)
    }
    complete = list(scored)[-1]
    for one in scored.values():
        one |= _more(one, random)
        one["absolute_drop"] = scored[complete]["macro_f1"] - one["macro_f1"]
        one["relative_drop"] = one["absolute_drop"] / scored[complete]["macro_f1"]
    worst = min(scored, key=lambda name: scored[name]["macro_f1"])
    thresholds = None if objective == "single" else {name: 0.3 + 0.02 * i for i, name in enumerate(classes)}
    scores = {
        "dataset": dataset, "synthetic": synthetic, "fold": "test", "samples": each * len(classes),
        "objective": objective, "no_emotion": "drop", "classes": list(classes), "modalities": list(modalities),
        "configurations": scored, "mean_macro_f1": float(np.mean([one["macro_f1"] for one in scored.values()])),
        "complete": {"configuration": complete, "macro_f1": scored[complete]["macro_f1"]},
        "worst": {"configuration": worst, "macro_f1": scored[worst]["macro_f1"]},
        "thresholds": thresholds, "notes": list(notes),
        "interval": {"level": 0.95, "resamples": 1000, "unit": "video", "videos": 24, "seed": 0},
    }  # fmt: skip
    scores["mean_macro_f1_interval"] = _around(scores["mean_macro_f1"])
    scores["constant"] = _constant(scored[complete]["classes"], scores["samples"], objective)
    scores |= _certain(scores, modalities, ids)
    _write(run / "scores.json", scores)
    write_predictions(run, scores, ids, random)
    write_explanation(run, scores, words)
    (run / "protocols").mkdir(exist_ok=True)
    write_protocol(run, scores, "noise", modalities[:2])
    write_protocol(run, scores, "random", ["any"])
    _write(run / "model.json", _model(modalities, classes, thresholds, min(17, epochs)))
    _write(run / "data.json", _data(modalities, classes, dataset, synthetic))
    (run / "recipe.toml").write_text(RECIPE, encoding="utf-8")
    lines = [json.dumps(_epoch(number, epochs)) for number in range(1, epochs + 1)]
    (run / "history.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return run


RECIPE = """\
seed = 42
fusion = "crossmodal"
dropout = { name = "uniform", p = 0.5 }

[encoder]
name = "bilstm"
width = 128

[training]
epochs = 24
batch_size = 64
learning_rate = 1e-3
"""


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")


def _quality(kept: Sequence[str], modalities: Sequence[str]) -> float:
    """The chance to be right: more modalities help, and later ones more than earlier ones."""
    return 0.15 + 0.62 * sum(modalities.index(name) + 1 for name in kept) / sum(range(1, len(modalities) + 1))


def _counts(tp: int, fp: int, fn: int, tn: int) -> dict[str, Any]:
    precision, recall = tp / max(tp + fp, 1), tp / max(tp + fn, 1)
    return {
        "precision": precision, "recall": recall, "f1": 2 * tp / max(2 * tp + fp + fn, 1), "support": tp + fn,
        "predicted": tp + fp, "weighted_accuracy": (recall + tn / max(tn + fp, 1)) / 2 if tp + fn else None,
    }  # fmt: skip


def _certain(scores: dict[str, Any], modalities: Sequence[str], ids: Sequence[str]) -> dict[str, Any]:
    """Alarms of all modalities but the first and of the first two together, and what is decided at two risks."""
    count, dropped = scores["samples"], {name: one["macro_f1"] for name, one in scores["configurations"].items()}
    names = [*ids, *(f"video-{place:04d}[0]" for place in range(len(ids), count))][:count]
    highest = {name: 9.5 - place for place, name in enumerate(dict.fromkeys(names[:3]))}
    of_each = {m: {"samples": count, "raised": len(highest), "highest": highest} for m in modalities[1:]}
    fit = {"fit": 0.04, "fit_interval": [-0.11, 0.19]}
    pairs = {"+".join(modalities[:2]): {"samples": count, "raised": len(highest), "highest": highest, **fit}}
    pairs = pairs if len(modalities) > 2 and scores["objective"] != "regression" else {}
    alarms = {"on_alarm": "warn", "modalities": of_each, "dropped": dropped, "pairs": pairs} if of_each else {}
    kept = [{"max_risk": most, "decided": int(count * most), "wrong": 1} for most in (0.1, 0.3)]
    return ({"alarms": alarms} if alarms else {}) | (
        {"abstention": kept} if scores["objective"] == "single" and count > 9 else {}
    )


def _around(value: float) -> list[float]:
    return [max(value - 0.05, 0.0), min(value + 0.04, 1.0)]


def _more(one: dict[str, Any], random: Any) -> dict[str, Any]:
    """What every configuration has beside its F1."""
    for entry in one["classes"].values():
        entry |= {"f1_interval": _around(entry["f1"]), "weighted_f1": (entry["f1"] + 0.9) / 2}
        entry["average_precision"] = entry["precision"] if entry["support"] else None
    middles = [(i + 0.5) / 15 for i in range(3, 15)]
    bins = [{"confidence": m, "frequency": m**1.4, "count": int(random.integers(5, 60))} for m in middles]
    total = sum(b["count"] for b in bins)
    ece = sum(abs(b["confidence"] - b["frequency"]) * b["count"] for b in bins) / total
    risks = [0.3 * k / 20 for k in range(1, 21)]
    return {
        "macro_f1_interval": _around(one["macro_f1"]), "micro_f1": one["macro_f1"] + 0.01,
        "weighted_f1": one["macro_f1"] + 0.02, "average_precision": one["macro_f1"] + 0.03,
        "aurc": 0.21,
        "calibration": {"ece": ece, "bins": bins, "risks": risks}, "collapsed": one.get("collapsed"), "extra": {},
    }  # fmt: skip


def _constant(each: dict[str, Any], samples: int, objective: str) -> dict[str, Any]:
    best = {name: 2 * one["support"] / (samples + one["support"]) for name, one in each.items()}
    macro = sum(best.values()) / len(best) if objective == "multi" else max(best.values()) / len(best)
    classes = {
        name: {"f1": value, "weighted_f1": 0.7, "weighted_accuracy": 0.5, "average_precision": None}
        for name, value in best.items()
    }
    return {
        "macro_f1": macro, "micro_f1": 0.31, "weighted_f1": 0.32, "weighted_accuracy": 0.5, "accuracy": 0.33,
        "average_precision": None, "aurc": 0.67, "classes": classes,
        "drawn_macro_f1": 1 / len(best) if objective == "single" else None,
    }  # fmt: skip


def _single(
    classes: Sequence[str], kept: Sequence[str], modalities: Sequence[str], random: Any, number: int
) -> dict[str, Any]:
    size, right = len(classes), _quality(kept, modalities)
    collapsed = kept == (modalities[0],) and len(modalities) > 1
    rows = []
    for true in range(size):
        chance = np.full(size, (1 - right) / max(size - 1, 1))
        chance[true] = right if size > 1 else 1.0
        drawn = random.multinomial(number, chance / chance.sum()).tolist()
        rows.append([number] + [0] * (size - 1) if collapsed else drawn)
    confusion = np.array(rows)
    each = {
        name: _counts(
            int(confusion[i, i]),
            int(confusion[:, i].sum() - confusion[i, i]),
            int(confusion[i].sum() - confusion[i, i]),
            int(confusion.sum() - confusion[i].sum() - confusion[:, i].sum() + confusion[i, i]),
        )
        for i, name in enumerate(classes)
    }
    return {
        "macro_f1": float(np.mean([one["f1"] for one in each.values()])),
        "accuracy": float(np.trace(confusion) / confusion.sum()),
        "weighted_accuracy": float(np.mean([one["recall"] for one in each.values()])),
        "classes": each, "confusion": rows,
        "collapsed": f"only '{classes[0]}' is ever predicted" if collapsed else None,
    }  # fmt: skip


def _multi(
    classes: Sequence[str], kept: Sequence[str], modalities: Sequence[str], random: Any, number: int
) -> dict[str, Any]:
    right, total = _quality(kept, modalities), number * len(classes)
    each, confusion = {}, {}
    for i, name in enumerate(classes):
        positive = max(total // (i + 2), 1)
        tp = int(random.binomial(positive, right))
        fp = int(random.binomial(total - positive, (1 - right) / 2))
        each[name] = _counts(tp, fp, positive - tp, total - positive - fp)
        confusion[name] = [[total - positive - fp, fp], [positive - tp, tp]]
    return {
        "macro_f1": float(np.mean([one["f1"] for one in each.values()])),
        "weighted_accuracy": float(np.mean([one["weighted_accuracy"] or 0.0 for one in each.values()])),
        "classes": each, "confusion": confusion, "collapsed": None,
    }  # fmt: skip


def _model(
    modalities: Sequence[str], classes: Sequence[str], thresholds: dict[str, float] | None, best: int
) -> dict[str, Any]:
    def plugin(kind: str, name: str, modality: str | None = None) -> dict[str, Any]:
        return {"kind": kind, "name": name, "modality": modality, "distribution": "emotiwave", "version": "0.1.0"}

    chosen = {"epoch": best, "mean_macro_f1": 0.51, "complete_macro_f1": 0.6, "select": "mean", "score": 0.51}
    return {
        "format": 1, "emotiwave": "0.1.0", "recipe": {"seed": 42, "fusion": "crossmodal"},
        "plugins": [
            *(plugin("encoder", "bilstm", name) for name in modalities),
            plugin("fusion", "crossmodal"),
            plugin("dropout", "uniform"),
        ],
        "features": dict.fromkeys(modalities, 74), "steps": dict.fromkeys(modalities, 300),
        "targets": list(classes), "classes": list(classes), "thresholds": thresholds,
        "data": {"fingerprint": "3f" * 32, "sources": {"labels.csd": "ab" * 32}},
        "best": chosen, "parameters": 1_234_567,
    }  # fmt: skip


def _data(modalities: Sequence[str], classes: Sequence[str], dataset: str, synthetic: bool) -> dict[str, Any]:
    def fold(share: int) -> dict[str, Any]:
        counts = {name: share * (90 - 8 * (i % 6)) // 10 for i, name in enumerate(classes)}
        used = sum(counts.values())
        return {"samples": used + share * 3, "videos": used + share * 3, "used": used, "classes": counts,
                "no_emotion": share * 3}  # fmt: skip

    folds = {"train": fold(12), "valid": fold(4), "test": fold(4)}
    samples = sum(one["samples"] for one in folds.values())
    return {
        "dataset": dataset, "synthetic": synthetic, "folder": "/data/ravdess", "fingerprint": "3f" * 32,
        "unit": "segment", "samples": samples, "videos": samples, "label_source": "the file's 'dimension names'",
        "targets": list(classes), "sources": {"labels.csd": "ab" * 32}, "fold_source": "/data/ravdess/folds.json",
        "folds_sha256": "cd" * 32,
        "left_out": {"no data in any modality": 3, "too short": 0},
        "modalities": {
            name: {"file": f"{dataset}_{name.title()}.csd", "features": 74, "median_steps": 96.5, "longest_steps": 300,
                   "missing": 12 * i, "absent_steps": 0, "nan": 0, "inf": 3, "truncated": 40, "unread_rows": 0}
            for i, name in enumerate(modalities)
        },
        "folds": folds, "notes": ["2 ids of the folds file have no data"], "trained": True,
    }  # fmt: skip


def _epoch(number: int, epochs: int) -> dict[str, Any]:
    gain = 1 - float(np.exp(-number / 6))
    wave = 0.02 * float(np.sin(number * 2.3))
    return {
        "epoch": number, "train_loss": 1.8 - 1.2 * gain + wave, "seconds": 3.2, "learning_rate": 1e-3,
        "valid": {"loss": 1.85 - 0.9 * gain - wave + 0.006 * number, "mean_macro_f1": 0.16 + 0.36 * gain + wave,
                  "complete_macro_f1": 0.2 + 0.5 * gain + wave, "worst_macro_f1": 0.1 + 0.12 * gain + wave,
                  "configurations": {"text": 0.2}},
    }  # fmt: skip
