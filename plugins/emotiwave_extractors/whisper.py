"""The extractor `whisper`: states of Whisper's speech encoder, 50 a second."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from emotiwave_core.errors import SettingsError
from emotiwave_core.extract.ctranslate2 import read_ctranslate2, whisper_encoder_tensors
from emotiwave_core.extract.states import states_of, width_of
from emotiwave_core.extract.steps import StreamBuilder
from emotiwave_core.extract.weights import WEIGHTS, FoundModel, ModelName, find_model, load_transformer, needed
from emotiwave_core.extract.windows import Loudness, sound_windows
from emotiwave_core.hookspecs import hookimpl
from emotiwave_core.interfaces import Extractor, Missing, Need, Recording, Stream

RATE = 16_000  # samples a second, that Whisper was trained on
STEP = 320  # samples of a state
WINDOW, MARGIN = 30.0, 2.0  # seconds; shorter sound is filled up with silence, as in training
CTRANSLATE2 = "model.bin"


class Whisper(Extractor):
    """Whisper's encoder (Radford et al. 2022): what it was trained for, words, and how they are said.

    model: a Whisper model by its id on the hub, a folder, or `pip:PACKAGE`, in transformers' or CTranslate2's format.
    layers: whose states, side by side, from 1, or 0 for what the first one reads; without it the last, normalised.
    revision: of the hub. sha256: of the weights, if they must be certain ones.
    """

    modality = "audio"
    needs: frozenset[Need] = frozenset({"sound"})
    rate = RATE / STEP

    def __init__(
        self,
        *,
        model: str = "openai/whisper-base",
        layers: list[int] | None = None,
        revision: str = "",
        sha256: str = "",
    ) -> None:
        super().__init__()
        self.name, self.layers = ModelName(model, revision, sha256), layers

    def open(self, download: bool = False) -> None:
        """Load the encoder. Errors as `find_model` and `load_transformer`."""
        transformers = needed("transformers", "transformers")
        self.found = find_model(self.name, download, (WEIGHTS, CTRANSLATE2))
        is_ctranslate2 = self.found.weights.name == CTRANSLATE2
        self.encoder = _from_ctranslate2(self.found) if is_ctranslate2 else load_transformer(self.found).encoder
        config = self.encoder.config
        self.width = width_of(self.encoder, self.layers)
        self.spectrum = transformers.WhisperFeatureExtractor(feature_size=config.num_mel_bins)

    def identity(self) -> dict[str, Any]:
        """The model, and how its sound is cut."""
        return {**self.found.identity("config.json"), "rate": RATE, "window": WINDOW, "margin": MARGIN}

    @torch.inference_mode()
    def extract(self, recording: Recording) -> Stream | Missing:
        """States [T, F] of 20 ms each."""
        steps, loudness = StreamBuilder(self.width), Loudness()
        for window in sound_windows(recording, RATE, WINDOW, MARGIN):
            loudness.hear(window.samples)
            spectrum = self.spectrum(window.samples, sampling_rate=RATE, return_tensors="pt").input_features
            states = states_of(self.encoder, self.layers, input_features=spectrum)
            begin, end = window.begin // STEP, math.ceil(window.end / STEP)
            starts = (window.first // STEP + np.arange(begin, end)) * STEP / RATE
            steps.add(states[begin:end].numpy(), np.stack([starts, starts + STEP / RATE], axis=1))
        if loudness.is_silent:
            return Missing("the sound is silent" if len(steps) else "there is no sound")
        return steps.stream("there is no sound")


def _from_ctranslate2(found: FoundModel) -> Any:
    """The encoder with the weights of a CTranslate2 file, whose shapes say of what size it is."""
    transformers = needed("transformers", "transformers")
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    stored = read_ctranslate2(found.weights, "encoder/")
    try:
        tensors = whisper_encoder_tensors(stored)
        width, mels, _ = tensors["conv1.weight"].shape
        config = transformers.WhisperConfig(
            d_model=width,
            num_mel_bins=mels,
            encoder_layers=sum(name.endswith(".fc1.weight") for name in tensors),
            encoder_attention_heads=int(stored["num_heads"]),
            encoder_ffn_dim=tensors["layers.0.fc1.weight"].shape[0],
            max_source_positions=tensors["embed_positions.weight"].shape[0],
        )
        encoder = WhisperEncoder(config)
        encoder.load_state_dict(tensors)
    except (KeyError, RuntimeError, ValueError) as error:
        raise SettingsError(f"{found.weights} does not hold the encoder of a Whisper model: {error}.") from error
    encoder.requires_grad_(False).train(False)
    return encoder


@hookimpl
def register_extractors(register: Callable[[str, type[Extractor]], None]) -> None:
    """Offer `whisper`."""
    register("whisper", Whisper)
