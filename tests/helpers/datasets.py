"""Small `.csd` data sets, written with h5py alone, for tests."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

EMOTIONS = ["happy", "sad", "anger", "surprise", "disgust", "fear"]
WIDTHS = {"text": 5, "audio": 4, "visual": 3}

Entry = tuple[Any, Any]  # features [T, F], intervals [T, 2]


def write_csd(
    path: Path, entries: Mapping[str, Entry], columns: list[str] | None = None, root: str = "anything"
) -> Path:
    """A `.csd` file as the CMU-MultimodalSDK writes it."""
    with h5py.File(path, "w") as file:
        metadata = file.create_group(f"{root}/metadata")
        if columns is not None:
            metadata.create_dataset(
                "dimension names",
                data=np.array([json.dumps(columns).encode()], dtype=object),
                dtype=h5py.string_dtype("ascii"),
            )
        data = file.create_group(f"{root}/data")
        for key, (features, intervals) in entries.items():
            group = data.create_group(key)
            group.create_dataset("features", data=np.asarray(features))
            group.create_dataset("intervals", data=np.asarray(intervals, dtype=np.float64))
    return path


def write_dataset(folder: Path, videos: int = 24, seed: int = 0, missing: bool = True, dense: int = 1) -> Path:
    """A learnable data set: two segments a video, six emotions, each modality shows the emotion with noise.

    A segment has 4, 10 and 6 steps, times `dense`.
    """
    random = np.random.default_rng(seed)
    shown = {name: random.normal(size=(6, width)) for name, width in WIDTHS.items()}
    entries: dict[str, dict[str, Entry]] = {name: {} for name in [*WIDTHS, "labels"]}
    ids = [f"v{number:02d}" for number in range(videos)]
    for number, video in enumerate(ids):
        emotions = [(2 * number) % 6, (2 * number + 1) % 6]
        labels = np.zeros((2, 7), dtype=np.float32)
        labels[[0, 1], [1 + emotions[0], 1 + emotions[1]]] = [1.0, 2.0]
        entries["labels"][video] = (labels, [[0.0, 2.0], [2.0, 4.0]])
        for rate, (name, width) in zip((2 * dense, 5 * dense, 3 * dense), WIDTHS.items(), strict=True):
            if missing and number % 8 == 3 and name == list(WIDTHS)[number // 8 % 3]:
                continue
            start = np.arange(0, 4, 1 / rate)
            which = np.array(emotions)[(start >= 2).astype(int)]
            features = shown[name][which] + 0.3 * random.normal(size=(len(start), width))
            entries[name][video] = (features.astype(np.float32), np.stack([start, start + 1 / rate], axis=1))
    for name, some in entries.items():
        write_csd(folder / f"{name}.csd", some, ["sentiment", *EMOTIONS] if name == "labels" else None)
    folds = {"train": ids[: videos // 2], "valid": ids[videos // 2 : videos * 3 // 4], "test": ids[videos * 3 // 4 :]}
    (folder / "folds.json").write_text(json.dumps(folds))
    files = "".join(f'{name} = "{name}.csd"\n' for name in WIDTHS)
    labels = f'file = "labels.csd"\ntargets = {json.dumps(EMOTIONS)}\n'
    text = f'name = "Tiny"\n[modalities]\n{files}[labels]\n{labels}[folds]\nfile = "folds.json"\n'
    (folder / "dataset.toml").write_text(text)
    return folder
