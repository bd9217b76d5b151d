"""Small pickles as MMSA and MultiBench write them: three classes that each modality shows, with padding."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np

CLASSES = ("Negative", "Neutral", "Positive")
WIDTHS = {"text": 6, "audio": 5, "vision": 4}
STEPS = {"text": 8, "audio": 12, "vision": 10}
FOLDS = {"train": 24, "valid": 12, "test": 12}

Table = dict[str, Any]


def mmsa(sizes: dict[str, int] = FOLDS, seed: int = 0) -> dict[str, Table]:
    """The content of `unaligned_50.pkl`, with clips two by two of a video."""
    dice = np.random.default_rng(seed)
    shown = {name: dice.normal(size=(3, width)) for name, width in WIDTHS.items()}
    content, clip = {}, 0
    for fold, size in sizes.items():
        classes = np.arange(size) % 3
        table: Table = {
            "raw_text": np.array([f"clip {number} says so" for number in range(size)]),
            "id": [f"v{(clip + number) // 2}$_${(clip + number) % 2}" for number in range(size)],
            "annotations": np.array([CLASSES[number] for number in classes], dtype=object),
            "classification_labels": classes.astype(np.float64),
            "regression_labels": (classes - 1 + 0.1 * dice.normal(size=size)).astype(np.float32),
            "regression_labels_T": np.float64(0.5) * np.ones(size),
        }
        for name, steps in STEPS.items():
            values = shown[name][classes][:, None] + 0.3 * dice.normal(size=(size, steps, WIDTHS[name]))
            lengths = dice.integers(3, steps + 1, size=size)
            is_step = np.arange(steps) < lengths[:, None]
            table[name] = np.where(is_step[..., None], values, 0).astype(np.float32)
            if name == "text":
                table["text_bert"] = np.stack([is_step, is_step, 0 * is_step], axis=1).astype(np.float64)
            else:
                table[f"{name}_lengths"] = lengths.tolist()
        content[fold] = table
        clip += size
    return content


def multibench(sizes: dict[str, int] = FOLDS) -> dict[str, Table]:
    """The content of `mosei_senti_data.pkl`: padded in front, and ids of a video, a start and an end."""
    content = {}
    for fold, table in mmsa(sizes).items():
        fields = [key.split("$_$") for key in table["id"]]
        content[fold] = {
            **{name: table[name][:, ::-1] for name in WIDTHS},
            "labels": table["regression_labels"].reshape(-1, 1, 1),
            "id": np.array([[video, str(7.0 - 3 * int(k)), str(9.0 - 3 * int(k))] for video, k in fields]),
        }
    return content


def write_pickle(path: Path, content: Any, protocol: int = 4, numpy1: bool = False) -> Path:
    """Pickled as Python does it; with the names that NumPy 1 has for its modules where that is asked for."""
    written = pickle.dumps(content, protocol=protocol)
    if numpy1:
        written = renamed(written)
    path.write_bytes(written)
    return path


def renamed(written: bytes) -> bytes:
    """With `numpy.core` for `numpy._core`, in the short texts and the lines of protocol 2 to 5."""
    for module in (b"multiarray", b"numeric"):
        new, old = b"numpy._core." + module, b"numpy.core." + module
        written = written.replace(b"c" + new + b"\n", b"c" + old + b"\n")
        written = written.replace(b"\x8c" + bytes([len(new)]) + new, b"\x8c" + bytes([len(old)]) + old)
    return written
