"""Speech encoders of transformers over the waveform, the base of `hubert` and `wav2vec2`: states, 50 a second."""

from typing import Any

import numpy as np
import torch

from emotiwave_core.extract.states import states_of, width_of
from emotiwave_core.extract.steps import StreamBuilder
from emotiwave_core.extract.weights import ModelName, find_model, load_transformer
from emotiwave_core.extract.windows import Loudness, sound_windows
from emotiwave_core.interfaces import Extractor, Missing, Need, Recording, Stream

RATE = 16_000  # samples a second
STEP, FIELD = 320, 400  # samples from one state to the next, and that a state sees before attention
WINDOW, MARGIN = 20.0, 1.0  # seconds: memory grows with the square of a window, 120 s take 3 GB


class SpeechEncoder(Extractor):
    """A model that reads the waveform. One clip at a time: what a batch is padded with changes its states by half."""

    modality = "audio"
    needs: frozenset[Need] = frozenset({"sound"})
    rate = RATE / STEP

    def __init__(self, *, model: str, layers: list[int] | None = None, revision: str = "", sha256: str = "") -> None:
        super().__init__()
        self.name, self.layers = ModelName(model, revision, sha256), layers

    def open(self, download: bool = False) -> None:
        """Load the model. Errors as `find_model` and `load_transformer`."""
        self.found = find_model(self.name, download)
        self.normalises = bool(self.found.json("preprocessor_config.json").get("do_normalize", True))
        self.model = load_transformer(self.found)
        self.width = width_of(self.model, self.layers)

    def identity(self) -> dict[str, Any]:
        """The model, and how its sound is cut and scaled."""
        own = {"rate": RATE, "window": WINDOW, "margin": MARGIN, "normalises": self.normalises}
        return {**self.found.identity("config.json"), **own}

    @torch.inference_mode()
    def extract(self, recording: Recording) -> Stream | Missing:
        """States [T, F] of 20 ms each."""
        steps, loudness = StreamBuilder(self.width), Loudness()
        for window in sound_windows(recording, RATE, WINDOW, MARGIN):
            loudness.hear(window.samples)
            if len(window.samples) < FIELD:
                continue
            sound = torch.tensor(window.samples)
            if self.normalises:
                sound = (sound - sound.mean()) / torch.sqrt(sound.var(correction=0) + 1e-7)
            states = states_of(self.model, self.layers, input_values=sound[None])
            begin = window.begin // STEP
            end = len(states) if window.is_last else window.end // STEP
            starts = (window.first // STEP + np.arange(begin, end)) * STEP / RATE
            steps.add(states[begin:end].numpy(), np.stack([starts, starts + STEP / RATE], axis=1))
        if loudness.is_silent:
            return Missing("the sound is silent")
        return steps.stream(f"the sound is shorter than {1000 * FIELD // RATE} ms")
