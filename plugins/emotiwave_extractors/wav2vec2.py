"""The extractor `wav2vec2`."""

from collections.abc import Callable

from emotiwave_core.hookspecs import hookimpl
from emotiwave_core.interfaces import Extractor
from emotiwave_extractors.speech_encoder import SpeechEncoder


class Wav2vec2(SpeechEncoder):
    """wav2vec 2.0 (Baevski et al. 2020): states of layers, 768 each of the base model.

    model: one of this kind by its id on the hub, or a folder. layers: whose states, side by side, from 1, or 0 for
    what the first one reads; without it the last. revision: of the hub. sha256: of the weights, if they must be certain
    ones.
    """

    def __init__(
        self,
        *,
        model: str = "facebook/wav2vec2-base",
        layers: list[int] | None = None,
        revision: str = "",
        sha256: str = "",
    ) -> None:
        super().__init__(model=model, layers=layers, revision=revision, sha256=sha256)


@hookimpl
def register_extractors(register: Callable[[str, type[Extractor]], None]) -> None:
    """Offer `wav2vec2`."""
    register("wav2vec2", Wav2vec2)
