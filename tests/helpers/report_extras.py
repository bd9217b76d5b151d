"""Predictions, explanation and protocols as a run leaves them: the second half of `report_fixture.write_run`."""

import csv
import io
import json
import re
from collections.abc import Sequence
from itertools import combinations, pairwise, permutations
from pathlib import Path
from typing import Any

import numpy as np

from emotiwave_core.modalities import configurations, name_of

ABSENT = {2: "audio", 10: "text"}  # the place of a sample: what it lacks
STEPS = {"text": 5, "audio": 40, "visual": 90}


def write_predictions(run: Path, scores: dict[str, Any], ids: Sequence[str], random: Any) -> None:
    """`predictions.csv`: random probabilities, decided by the largest one or by the thresholds."""
    classes, kept, count = scores["classes"], configurations(scores["modalities"]), scores["samples"]
    multi = scores["objective"] == "multi"
    names = [*ids, *(f"video-{place:04d}[0]" for place in range(len(ids), count))][:count]
    shape = (len(kept), count, len(classes))
    probabilities = random.random(shape).round(6) if multi else random.dirichlet(np.ones(len(classes)), shape[:2])
    rates = np.array([scores["thresholds"][name] for name in classes]) if multi else None
    truth = random.random(shape[1:]) < 0.3 if multi else random.integers(0, len(classes), count)

    def words(value: Any) -> str:
        return "+".join(name for name, yes in zip(classes, value, strict=True) if yes) if multi else classes[int(value)]

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["id", "start", "end", "configuration", "truth", "predicted", *(f"p({c})" for c in classes)])
    for k, configuration in enumerate(kept):
        for place, name in enumerate(names):
            row = probabilities[k, place]
            decided = words(row >= rates if multi else row.argmax())
            about = [name, "0.000", "3.600", name_of(configuration), words(truth[place]), decided]
            writer.writerow([*about, *(f"{value:.6f}" for value in row)])
    whole = re.sub("[\ud800-\udfff]", "\ufffd", text.getvalue())  # lone surrogates have no UTF-8
    (run / "predictions.csv").write_bytes(whole.encode())


def write_explanation(run: Path, scores: dict[str, Any], words: Sequence[str]) -> None:
    """`explanation.json`: exact Shapley values of macro-F1, and three kinds of chosen samples."""
    modalities, classes = scores["modalities"], scores["classes"]
    worth = {frozenset(name.split("+")): one["macro_f1"] for name, one in scores["configurations"].items()}
    if any("+" in name for name in modalities):  # a hostile name: any numbers do
        worth = {frozenset(kept): 0.5 for kept in configurations(modalities)}
    with (run / "predictions.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))[: scores["samples"]]
    whys = ("right", "wrong", "changed")
    chosen = [_chosen(rows[i % len(rows)], whys[i // 3], modalities, classes, words, i) for i in range(9)]
    lacking = {place: name for place, name in ABSENT.items() if name in modalities and modalities[1:]}
    absent = {rows[place]["id"]: [name] for place, name in lacking.items() if place < len(rows)}
    for one in chosen:
        one["present"] = [name for name in modalities if name not in absent.get(one["id"], ())]
        one["moments"] = {name: some if name in one["present"] else [] for name, some in one["moments"].items()}
    phi = _shapley(worth | {frozenset(): 0.05}, modalities)
    pairs = {name_of(pair): 0.01 * place - 0.01 for place, pair in enumerate(combinations(modalities, 2))}
    groups = {name_of(kept): 0.03 - 0.02 * place for place, kept in enumerate(configurations(modalities)) if kept[1:]}
    total = sum(map(abs, phi.values()))
    even = dict.fromkeys(modalities, 1 / len(modalities))
    by_class = {
        name: {
            "samples": 40 + place,
            "shapley": {m: 0.2 * (i + 1) / len(modalities) - 0.05 * (place % 3) for i, m in enumerate(modalities)},
        }
        for place, name in enumerate(classes)
    }
    explanation = {
        "format": 1, "fold": "test", "value": "probability", "empty": "prior", "modalities": modalities,
        "classes": classes, "samples": scores["samples"],
        "macro_f1": {
            "empty": 0.05, "complete": scores["complete"]["macro_f1"], "shapley": phi,
            "share": {name: abs(value) / total for name, value in phi.items()},
            "interaction": pairs, "cooperation": groups,
        },
        "decided": even, "share": even, "by_class": by_class, "chosen": chosen, "absent": absent,
    }  # fmt: skip
    (run / "explanation.json").write_text(json.dumps(explanation), encoding="utf-8")


def _shapley(worth: dict[frozenset[str], float], modalities: Sequence[str]) -> dict[str, float]:
    """The mean of what each adds over all orders."""
    orders = list(permutations(modalities))
    found = dict.fromkeys(modalities, 0.0)
    for order in orders:
        for place, name in enumerate(order):
            before = frozenset(order[:place])
            found[name] += (worth[before | {name}] - worth[before]) / len(orders)
    return found


def _chosen(
    row: dict[str, str], why: str, modalities: Sequence[str], classes: Sequence[str], words: Sequence[str], place: int
) -> dict[str, Any]:
    wave = np.random.default_rng(place)
    moments = {}
    for index, name in enumerate(modalities):
        edges = np.linspace(12.0, 15.6, STEPS.get(name, 20) + 1)
        moments[name] = [
            {
                "start": float(start), "end": float(end), "occlusion": float(wave.normal(0.01, 0.02 * (index + 1))),
                "attention": float(wave.random() / len(edges)) if name != "text" else None,
                "word": words[step] if not index and step < len(words) else None,
            }
            for step, (start, end) in enumerate(pairwise(edges))
        ]  # fmt: skip
    phi = {name: 0.25 * (-1) ** (index + place) / (index + 1) for index, name in enumerate(modalities)}
    return {
        "id": row["id"], "start": 12.0, "end": 15.6, "why": why,
        "changed_by": modalities[0] if why == "changed" else None, "truth": row["truth"],
        "predicted": row["predicted"], "class": classes[place % len(classes)], "empty": 0.4,
        "complete": 0.4 + sum(phi.values()), "shapley": phi,
        "interaction": {name_of(pair): -0.02 for pair in combinations(modalities, 2)}, "moments": moments,
    }  # fmt: skip


def write_protocol(run: Path, scores: dict[str, Any], name: str, curves: Sequence[str]) -> None:
    """`protocols/NAME.json`: macro-F1 that falls, with intervals, against another run."""
    levels = [step / 10 for step in range(8)]
    drawn = {}
    for place, curve in enumerate(curves):
        macro = [max(scores["complete"]["macro_f1"] * (1 - level * (0.4 + 0.3 * place)), 0.0) for level in levels]
        drawn[curve] = {
            "levels": levels, "reached": [level * 0.99 for level in levels], "macro_f1": macro, "accuracy": macro,
            "intervals": [[max(value - 0.05, 0.0), min(value + 0.05, 1.0)] for value in macro],
            "auilc": sum(macro) / len(macro), "relative_robustness": -0.3, "effective_robustness": None,
        }  # fmt: skip
    against = {"run": "other-1", "curves": {curves[0]: {"macro_f1": [0.3] * len(levels)}}}
    protocol = {
        "format": 1, "protocol": name, "unit": "standard deviation of the noise, in those of the feature",
        "dataset": scores["dataset"], "synthetic": scores["synthetic"], "fold": "test", "samples": scores["samples"],
        "seed": 0, "manifest": f"{name}.manifest.json", "manifest_sha256": "ab" * 32, "curves": drawn,
        "against": against,
    }  # fmt: skip
    (run / "protocols" / f"{name}.json").write_text(json.dumps(protocol), encoding="utf-8")
