"""A run of three modalities whose extractors need numpy alone: loudness, brightness and the length of words."""

from pathlib import Path

import numpy as np
from training import small, start

import emotiwave as ew
from emotiwave_core.extract.extractors import choose, open_extractor
from emotiwave_core.interfaces import Stream
from emotiwave_core.parts.registry import load_registry
from emotiwave_core.testing.recordings import MadeUpRecording

EXTRACTORS = '''
"""Extractors of a test."""
import numpy as np
from emotiwave_core import Extractor, Missing, Stream, hookimpl

RATE, STEP = 8000, 0.1

class LoudnessOfTest(Extractor):
    """Loudness of tenths of a second."""
    modality, needs, width, rate = "audio", frozenset({"sound"}), 2, 10.0
    def extract(self, recording):
        sound = np.concatenate([np.empty(0, np.float32), *recording.sound(RATE)])
        steps = sound[: len(sound) // 800 * 800].reshape(-1, 800)
        if not len(steps) or not np.abs(steps).max() > 1e-4:
            return Missing("the sound is silent")
        starts = np.arange(len(steps)) * STEP
        values = np.stack([np.abs(steps).mean(axis=1), steps.std(axis=1)], axis=1).astype(np.float32)
        return Stream(values, np.stack([starts, starts + STEP], axis=1))

class BrightnessOfTest(Extractor):
    """Brightness of the picture and of its middle."""
    modality, needs, width, rate = "visual", frozenset({"picture"}), 2, 5.0
    def extract(self, recording):
        frames = list(recording.frames(self.rate))
        if not frames or not any(frame.picture.any() for frame in frames):
            return Missing("the picture is black")
        values = [[frame.picture.mean() / 255, frame.picture[50:70, 60:100].mean() / 255] for frame in frames]
        return Stream(np.array(values, np.float32), np.array([frame[:2] for frame in frames]))

class LettersOfTest(Extractor):
    """Letters of each word."""
    modality, needs, width, rate = "text", frozenset({"words"}), 1, None
    def extract(self, recording):
        if not recording.words:
            return Missing("nobody speaks")
        values = np.array([[len(word.text)] for word in recording.words], np.float32)
        return Stream(values, np.array([word[1:] for word in recording.words]))

@hookimpl
def register_extractors(register):
    register("loudness", LoudnessOfTest)
    register("brightness", BrightnessOfTest)
    register("letters", LettersOfTest)
'''
NAMES = ("letters", "loudness", "brightness")
PER_CLASS = 6


def registry_of(folder: Path) -> Path:
    """A registry.toml in a folder that names the extractors; its path."""
    (folder / "senses.py").write_text(EXTRACTORS)
    path = folder / "registry.toml"
    path.write_text("[plugins]\n" + "".join(f'"extractor.{name}" = "senses.py"\n' for name in NAMES))
    return path


def train_run(folder: Path) -> ew.Run:
    """A run on made-up recordings of two lengths, which are its classes; `folder/data` is its data set."""
    registry = registry_of(folder)
    chosen = choose(list(NAMES), load_registry(registry), None)
    data = folder / "data"
    data.mkdir()
    recordings = {f"v{number:02}": MadeUpRecording(1.0 + number % 2 + 0.05 * number) for number in range(2 * PER_CLASS)}
    lines = ["[modalities]"]
    for modality, part in chosen.items():
        extractor = open_extractor(modality, part)
        streams = {name: extractor.extract(recording) for name, recording in recordings.items()}
        of_each = {name: stream for name, stream in streams.items() if isinstance(stream, Stream)}
        features = {name: stream.features for name, stream in of_each.items()}
        times = {name: stream.intervals for name, stream in of_each.items()}
        ew.write_csd(data / f"{modality}.csd", features, times, metadata={"extractor": extractor.identity})
        lines.append(f'{modality} = "{modality}.csd"')
    labels = {name: np.eye(2)[int(name[1:]) % 2][None] for name in recordings}
    whole = {name: np.array([[0.0, recording.facts["seconds"]]]) for name, recording in recordings.items()}
    ew.write_csd(data / "labels.csd", labels, whole, columns=["short", "long"])
    lines += ["[labels]", 'file = "labels.csd"', 'kind = "classes"']
    (data / "dataset.toml").write_text("\n".join(lines) + "\n")
    recipe = small(encoder={"name": "mean", "width": 4}, training={"epochs": 2}, data={"ratios": [0.5, 0.25, 0.25]})
    start(recipe, data, folder / "run")
    return ew.open_run(folder / "run", registry=registry)
