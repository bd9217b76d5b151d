"""The synthetic sample as a data set on disk: real `.csd` files, folds, and what was planted (truth.json)."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from emotiwave_core.data.formats.csd_writer import write_csd
from emotiwave_core.data.formats.reader import Entry
from emotiwave_core.data.synthetic import streams
from emotiwave_core.data.synthetic.planted import CLASSES, MODALITIES, Video, plan_videos, truth_of
from emotiwave_core.errors import DataError, SettingsError, choices
from emotiwave_core.io.atomic import cache_folder, out_of_space, write_json, write_text
from emotiwave_core.io.locks import waiting_for
from emotiwave_core.monitor import SILENT, Monitor
from emotiwave_core.version import __version__

EDITION = 2  # of the files that are written: a cached sample of another edition is not taken
FEWEST_VIDEOS = 15  # five in a fold, of two segments or more: every class is there
METADATA = {
    "computational sequence description": "Generated, with planted emotions: no person stands behind it",
    "dataset name": "Synthetic sample",
}

DATASET_TOML = """\
name = "Synthetic sample (planted emotions)"
synthetic = true
words = "SYNTHETIC_Words.csd"
[modalities]
text = "SYNTHETIC_{text}.csd"
audio = "SYNTHETIC_Audio74.csd"
visual = "SYNTHETIC_Visual713.csd"
[labels]
file = "SYNTHETIC_Labels.csd"
targets = ["happy", "sad", "anger", "surprise", "disgust", "fear"]
[folds]
file = "folds.json"
"""


def write_sample(folder: Path, *, videos: int = 112, seed: int = 0, words: bool = False) -> None:
    """Write the sample data set: `.csd` files, folds.json, truth.json, and dataset.toml when all the rest is there.

    With `words` the text is the words themselves, else their vectors; both files are there. The same arguments give
    the same bytes. About 1.1 MB a video. SettingsError for fewer than 15 videos or a
    negative seed, DataError for a folder that holds anything else, ResourceError when it cannot be written.
    """
    if videos < FEWEST_VIDEOS or seed < 0:
        raise SettingsError(f"The sample needs {FEWEST_VIDEOS} videos or more and a seed from 0; got {videos}, {seed}.")
    _claim(folder)
    plan = plan_videos(videos, seed)
    write_json(folder / "truth.json", truth_of(plan, seed))
    write_json(folder / "folds.json", {f: [v.id for v in plan if v.fold == f] for f in ("train", "valid", "test")})
    _write_streams(folder, plan, seed)
    write_text(folder / "dataset.toml", DATASET_TOML.format(text="Words" if words else "WordVectors"))


def cached_sample(monitor: Monitor = SILENT) -> Path:
    """The folder of the sample in the user's cache, written there on first use. ResourceError where it cannot be."""
    folder = cache_folder() / f"sample-{__version__}-{EDITION}"
    if (folder / "dataset.toml").exists():  # the last of its files
        return folder
    with out_of_space(folder.parent):
        folder.parent.mkdir(parents=True, exist_ok=True)
    with out_of_space(folder), waiting_for(folder.with_suffix(".lock"), "writes the sample data set", monitor):
        if not (folder / "dataset.toml").exists():
            monitor.say("Writing the synthetic sample data set…")
            write_sample(folder)
    return folder


def best_reachable(folder: Path, fold: str) -> dict[str, float]:
    """Macro-F1 of the Bayes rule on the cues of a fold, for each configuration; from the sample's truth.json.

    The rule names the most probable class, which is the most accurate guess. With one modality the two classes of a cue
    look alike and it always names the more frequent one; a guess that spreads over both is less accurate, yet its
    macro-F1 can be higher. Segments without an emotion do not count. DataError where the folder is no sample.
    """
    try:
        scores = json.loads((folder / "truth.json").read_text(encoding="utf-8"))["best_reachable"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder} is not a sample data set: its truth.json cannot be read ({error}).") from error
    if fold not in scores:
        raise SettingsError(f"The sample has no fold '{fold}'.{choices(fold, scores)}")
    return dict(scores[fold])


def _claim(folder: Path) -> None:
    """Take a folder that is absent, empty or a sample (also an unfinished one), and unmark it until it is complete."""
    with out_of_space(folder):
        folder.mkdir(parents=True, exist_ok=True)
        others = any(not entry.name.startswith(".") for entry in folder.iterdir())
        if others and not (folder / "truth.json").exists():  # the first file of a sample, and of nothing else
            raise DataError(f"{folder} holds other files; choose an empty folder for the sample.")
        (folder / "dataset.toml").unlink(missing_ok=True)


def _write_streams(folder: Path, plan: list[Video], seed: int) -> None:
    """Write the five `.csd` files, video by video. Each video has a generator of its own for each modality."""
    rng = np.random.default_rng
    text, audio, visual = ([(i, v) for i, v in enumerate(plan) if m in v.present] for m in MODALITIES)
    vectors = streams.draw_vectors(rng([seed, 1]))
    voice, face = streams.draw_columns(rng([seed, 2]), 74), streams.draw_columns(rng([seed, 3]), 713)
    words = [streams.draw_words(rng([seed, 4, i]), v.duration, v.unshared, v.cues[:, 0]) for i, v in enumerate(plan)]
    files: dict[str, tuple[Sequence[str] | None, Iterator[tuple[str, Entry]]]] = {
        "Words": (None, ((v.id, Entry(streams.word_bytes(words[i][0]), words[i][1])) for i, v in text)),
        "WordVectors": (
            [f"glove_{column}" for column in range(300)],
            ((v.id, Entry(vectors[words[i][0]], words[i][1])) for i, v in text),
        ),
        "Audio74": (
            streams.AUDIO_NAMES,
            (
                (v.id, streams.draw_audio(rng([seed, 5, i]), voice, *words[i], v.unshared, v.cues[:, 1]))
                for i, v in audio
            ),
        ),
        "Visual713": (
            streams.VISUAL_NAMES,
            (
                (v.id, streams.draw_visual(rng([seed, 6, i]), face, v.duration, v.unshared, v.cues[:, 2]))
                for i, v in visual
            ),
        ),
        "Labels": (
            ("sentiment", *CLASSES),
            ((v.id, Entry(streams.draw_labels(rng([seed, 7, i]), v.emotions), v.spans)) for i, v in enumerate(plan)),
        ),
    }
    for name, (columns, entries) in files.items():
        write_csd(folder / f"SYNTHETIC_{name}.csd", name, entries, columns, METADATA)
