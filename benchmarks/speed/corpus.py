"""Data of the size of CMU-MOSEI, without its content: the same files, widths, rates and lengths, random numbers."""

import errno
import json
import shutil
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

FULL = 3292  # videos of CMU-MOSEI: about 26 GB
WIDTHS = {"text": 300, "audio": 74, "visual": 713}
RATES = {"text": 2.2, "audio": 100.0, "visual": 30.0}  # steps a second
FILES = {
    "text": "CMU_MOSEI_TimestampedWordVectors.csd",
    "audio": "CMU_MOSEI_COVAREP.csd",
    "visual": "CMU_MOSEI_VisualOpenFace2.csd",
}
LABELS = "CMU_MOSEI_Labels.csd"
COLUMNS = ["sentiment", "happy", "sad", "anger", "surprise", "disgust", "fear"]
SECONDS = 68.0  # of a video, on average
SEGMENTS = 7  # of a video


def bytes_of(videos: int, seconds: float = SECONDS) -> int:
    """Size of the files, nearly: float32 features and float64 intervals."""
    return int(videos * seconds * sum(RATES[m] * (4 * width + 16) for m, width in WIDTHS.items()))


def write_corpus(folder: Path, videos: int, seconds: float = SECONDS, seed: int = 0) -> Path:
    """The folder of so many videos. It is written where it is not there yet, and is there only when it is whole."""
    if folder.is_dir():
        return folder
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)  # of one that was killed
    part.mkdir(parents=True)
    try:
        _write(part, videos, seconds, seed)
    except RuntimeError as error:  # h5py's own, where the disk is full
        shutil.rmtree(part, ignore_errors=True)
        raise OSError(errno.ENOSPC, "the disk is full, or a file may not be as large") from error
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return part.rename(folder)


def _write(part: Path, videos: int, seconds: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    lengths = rng.gamma(6.0, seconds / 6.0, videos).clip(seconds / 8.5, seconds * 6.0)
    ids = [f"video{number:05d}" for number in range(videos)]
    for modality, name in FILES.items():
        rate, width = RATES[modality], WIDTHS[modality]
        noise = rng.standard_normal((int(1.5 * lengths.max() * rate) + 2, width), dtype=np.float32)
        with h5py.File(part / name, "w") as file:
            data = file.create_group(f"{name}/data")
            for video, length in zip(ids, lengths, strict=True):
                steps = max(int(length * rate), 1)
                start = int(rng.integers(0, len(noise) - steps))
                _entry(data, video, noise[start : start + steps], np.arange(steps + 1) / rate)
    with h5py.File(part / LABELS, "w") as file:
        data = file.create_group(f"{LABELS}/data")
        names = np.array([json.dumps(COLUMNS).encode()])
        file[LABELS].create_group("metadata").create_dataset("dimension names", data=names)
        for video, length in zip(ids, lengths, strict=True):
            labels = rng.random((SEGMENTS, len(COLUMNS)), dtype=np.float32) * 3
            _entry(data, video, labels, np.linspace(0.0, length, SEGMENTS + 1))
    tenth = max(videos // 10, 1)
    folds = {"train": ids[2 * tenth :], "valid": ids[:tenth], "test": ids[tenth : 2 * tenth]}
    (part / "folds.json").write_text(json.dumps(folds))


def _entry(data: h5py.Group, video: str, features: NDArray[np.float32], bounds: NDArray[np.float64]) -> None:
    """One video: features [T, F], and the T + 1 bounds of its steps in seconds."""
    group = data.create_group(video)
    group.create_dataset("features", data=features)
    group.create_dataset("intervals", data=np.stack([bounds[:-1], bounds[1:]], axis=1))
