"""Small `.csd` data sets, written with h5py alone."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from emotiwave_core.data.dataset import Dataset
from emotiwave_core.data.formats.csd import CsdFile

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


def write_two_streams(folder: Path) -> Path:
    """The data set of `write_dataset`, whose audio is two files: `frames`, and `clip` with one step a segment.

    In the test fold v20 lacks the clip, v21 the frames, v22 both.
    """
    write_dataset(folder)
    random, clips = np.random.default_rng(7), {}
    with h5py.File(folder / "labels.csd") as file:
        for video, entry in file["anything/data"].items():
            cue = entry["features"][:, 1:].argmax(axis=1)[:, None] == np.arange(6)
            clips[video] = (cue + 0.5 * random.normal(size=(2, 6)).astype(np.float32), entry["intervals"][:])
    write_csd(folder / "clip.csd", {video: clip for video, clip in clips.items() if video not in ("v20", "v22")})
    with h5py.File(folder / "audio.csd", "r+") as file:
        for video in ("v21", "v22"):
            del file[f"anything/data/{video}"]
    text = (folder / "dataset.toml").read_text()
    (folder / "dataset.toml").write_text(
        text.replace('audio = "audio.csd"', 'audio = {frames = "audio.csd", clip = "clip.csd"}')
    )
    return folder


SAID = ("glad joy smile", "tears alone grief", "rage shout damn", "wow sudden oh", "ugh foul sick", "help dark dread")


def write_words(folder: Path) -> Path:
    """The data set of `write_dataset`, whose text is words that tell the emotion, and pauses."""
    write_dataset(folder)
    random, entries = np.random.default_rng(5), {}
    with h5py.File(folder / "text.csd") as file:
        for video, entry in file["anything/data"].items():
            emotions = [2 * int(video[1:]) % 6, (2 * int(video[1:]) + 1) % 6]
            choices = [[*SAID[emotion].split(), "the", "sp"] for emotion in emotions]
            words = [random.choice(choices[int(start >= 2)]) for start, _ in entry["intervals"]]
            words[0], words[-1] = (SAID[emotion].split()[0] for emotion in emotions)
            entries[video] = (np.array([[word.encode()] for word in words]), entry["intervals"][:])
    write_csd(folder / "said.csd", entries)
    text = (folder / "dataset.toml").read_text()
    (folder / "dataset.toml").write_text(text.replace('text = "text.csd"', 'text = "said.csd"'))
    return folder


def write_spoken(folder: Path) -> Dataset:
    """Two modalities with dirt and gaps, and words with pauses; some videos lack one of them, some segments a word.

    One row of each video has no finite interval.
    """
    random = np.random.default_rng(1)
    labels: dict[str, Entry] = {}
    words: dict[str, Entry] = {}
    entries: dict[str, dict[str, Entry]] = {"fast": {}, "slow": {}}
    for number in range(8):
        video = f"v{number}"
        start = np.round(random.uniform(-1, 8, size=3), 1)
        labels[video] = (random.integers(0, 3, size=(3, 6)).astype(np.float32), np.stack([start, start + 2], axis=1))
        edges = np.sort(random.choice(np.arange(-10, 80), size=12, replace=False)) / 10
        spoken = random.permutation(np.stack([edges[:-1], edges[1:]], axis=1))
        if video != "v1":
            words[video] = (np.array([[b"sp" if n % 5 == 0 else b"word"] for n in range(11)]), spoken)
        for name, (rate, width) in {"fast": (10, 3), "slow": (0.7, 2)}.items():
            if video in {"fast": ("v2", "v4"), "slow": ("v3", "v4")}[name]:
                continue
            times = random.permutation(np.arange(-1, 8, 1 / rate))
            times = times[(times < 3) | (times > 4.5)] if name == "fast" else times
            features = random.normal(size=(len(times), width)).astype(np.float32)
            features[random.random(features.shape) < 0.1] = np.nan
            features[random.random(features.shape) < 0.05] = -np.inf
            spans = np.stack([times, times + 1.5 / rate], axis=1)
            spans[0, number % 2] = (-np.inf, np.inf)[number % 2]
            entries[name][video] = (features, spans)
    files = {name: write_csd(folder / f"{name}.csd", some) for name, some in entries.items()}
    labelled = write_csd(folder / "labels.csd", labels, EMOTIONS)
    return Dataset("Spoken", folder, files, labelled, words=write_csd(folder / "words.csd", words))


def read_all(path: Path) -> None:
    """Read everything that a `.csd` file holds, with the reader of the program."""
    with CsdFile(path) as file:
        assert isinstance(file.metadata, dict)
        for key in file.keys:
            assert len(file.read(key).intervals) == file.steps(key)


NUMBER_WEIGHTS = {"text": 0.7, "audio": 0.5, "visual": 0.35}  # of what each modality shows, in the number


def write_numbers(
    folder: Path, videos: int = 120, seed: int = 0, targets: tuple[str, ...] = ("sentiment",), noise: float = 0.2
) -> Path:
    """A data set of numbers: the weighted sum of what three modalities show, each one standard normal, and noise.

    The second target, where there is one, has the weights in reverse. Two segments a video; some lack a modality.
    """
    random = np.random.default_rng(seed)
    entries: dict[str, dict[str, Entry]] = {name: {} for name in [*WIDTHS, "labels"]}
    ids = [f"v{number:03d}" for number in range(videos)]
    weights = np.array(list(NUMBER_WEIGHTS.values()))
    shown_by = {name: random.normal(size=width) for name, width in WIDTHS.items()}
    for number, video in enumerate(ids):
        latent = random.normal(size=(2, 3))  # of each segment and modality
        each = [latent @ order + noise * random.normal(size=2) for order in (weights, weights[::-1])]
        labels = np.stack(each[: len(targets)], axis=1).astype(np.float32)
        entries["labels"][video] = (labels, [[0.0, 2.0], [2.0, 4.0]])
        for m, (name, width) in enumerate(WIDTHS.items()):
            if number % 12 == 5 and m == number // 12 % 3:
                continue
            start = np.arange(0, 4, 0.5)
            strength = latent[(start >= 2).astype(int), m]
            features = strength[:, None] * shown_by[name] + 0.1 * random.normal(size=(len(start), width))
            entries[name][video] = (features.astype(np.float32), np.stack([start, start + 0.5], axis=1))
    for name, some in entries.items():
        write_csd(folder / f"{name}.csd", some, list(targets) if name == "labels" else None)
    cut = videos * 3 // 5, videos * 4 // 5
    folds = {"train": ids[: cut[0]], "valid": ids[cut[0] : cut[1]], "test": ids[cut[1] :]}
    (folder / "folds.json").write_text(json.dumps(folds))
    files = "".join(f'{name} = "{name}.csd"\n' for name in WIDTHS)
    labels_file = f'file = "labels.csd"\ntargets = {json.dumps(list(targets))}\nkind = "regression"\n'
    text = f'name = "Numbers"\n[modalities]\n{files}[labels]\n{labels_file}[folds]\nfile = "folds.json"\n'
    (folder / "dataset.toml").write_text(text)
    return folder


def write_dialogue(folder: Path, videos: int = 40, seed: int = 0) -> Path:
    """A data set that is learnable from neighbours alone: a segment shows the emotion of the one after it.

    Of six segments a video, which the label file has in no order of time, the first has an emotion that nothing shows.
    The text of a segment is missing in every seventh.
    """
    random = np.random.default_rng(seed)
    shown = {name: 2.0 * random.normal(size=(2, width)) for name, width in WIDTHS.items()}
    entries: dict[str, dict[str, Entry]] = {name: {} for name in [*WIDTHS, "labels"]}
    ids = [f"v{number:02d}" for number in range(videos)]
    for video in ids:
        emotions = random.integers(0, 2, 7)
        labels = np.zeros((6, 7), dtype=np.float32)
        labels[np.arange(6), 1 + emotions[:6]] = 1.0
        starts, order = 2.0 * np.arange(6), random.permutation(6)
        entries["labels"][video] = (labels[order], np.stack([starts, starts + 2.0], axis=1)[order])
        for name, width in WIDTHS.items():
            start = np.arange(0, 12, 0.5)
            which = emotions[1 + (start // 2).astype(int)]
            features = shown[name][which] + 0.3 * random.normal(size=(len(start), width))
            kept = (start // 2 != 6) if name != "text" else (start // 2) != random.integers(0, 7)
            entries[name][video] = (
                features[kept].astype(np.float32),
                np.stack([start, start + 0.5], axis=1)[kept],
            )
    folder.mkdir(parents=True, exist_ok=True)
    for name, some in entries.items():
        write_csd(folder / f"{name}.csd", some, ["sentiment", *EMOTIONS] if name == "labels" else None)
    cut = videos * 3 // 5, videos * 4 // 5
    folds = {"train": ids[: cut[0]], "valid": ids[cut[0] : cut[1]], "test": ids[cut[1] :]}
    (folder / "folds.json").write_text(json.dumps(folds))
    files = "".join(f'{name} = "{name}.csd"\n' for name in WIDTHS)
    labels_file = 'file = "labels.csd"\ntargets = ["happy", "sad"]\n'
    text = f'name = "Dialogue"\n[modalities]\n{files}[labels]\n{labels_file}[folds]\nfile = "folds.json"\n'
    (folder / "dataset.toml").write_text(text)
    return folder
