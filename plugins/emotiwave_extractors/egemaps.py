"""The extractor `egemaps`: the 88 measures of a voice that openSMILE takes."""

import importlib.metadata
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from emotiwave_core.config.options import one_of
from emotiwave_core.errors import SettingsError
from emotiwave_core.extract.steps import StreamBuilder
from emotiwave_core.extract.weights import needed
from emotiwave_core.extract.windows import Loudness, sound_windows
from emotiwave_core.hookspecs import hookimpl
from emotiwave_core.interfaces import Extractor, Missing, Need, Recording, Stream

Level = Literal["functionals", "lld"]
WIDTHS = {"functionals": 88, "lld": 25}
LEVELS = {"functionals": "Functionals", "lld": "LowLevelDescriptors"}
SHORTEST = 0.1  # seconds


class Egemaps(Extractor):
    """eGeMAPS v02 (Eyben et al. 2016) by openSMILE, whose licence is for research alone.

    level: "functionals", one row of 88 for each window, or "lld", 25 every 10 ms. rate: samples a second; at 16,000
    the functionals are 7 to 19 % off those at 48,000. window: seconds; a recording that is not longer is one window.
    """

    modality = "audio"
    needs: frozenset[Need] = frozenset({"sound"})

    def __init__(self, *, level: Level = "functionals", rate: int = 48_000, window: float = 30.0) -> None:
        super().__init__()
        one_of("egemaps", Level, level=level)
        if not 8000 <= rate <= 192_000:
            raise SettingsError(f"The option rate of egemaps must be from 8000 to 192000, not {rate}.")
        if not 1.0 <= window <= 600.0:
            raise SettingsError(f"The option window of egemaps must be from 1 to 600 seconds, not {window}.")
        self.level, self.samples, self.window = level, rate, window
        self.width = WIDTHS[level]
        self.rate = 100.0 if level == "lld" else 1 / window

    def open(self, download: bool = False) -> None:
        """Start openSMILE. PluginError where it is not installed."""
        opensmile = needed("opensmile", "opensmile")
        level = getattr(opensmile.FeatureLevel, LEVELS[self.level])
        self.smile = opensmile.Smile(feature_set=opensmile.FeatureSet.eGeMAPSv02, feature_level=level)

    def identity(self) -> dict[str, Any]:
        """The options, and openSMILE's version."""
        version = importlib.metadata.version("opensmile")
        return {"opensmile": version, "level": self.level, "rate": self.samples, "window": self.window}

    def extract(self, recording: Recording) -> Stream | Missing:
        """Measures [T, 88 or 25]."""
        steps, loudness = StreamBuilder(self.width), Loudness()
        for window in sound_windows(recording, self.samples, self.window):
            loudness.hear(window.samples)
            if len(window.samples) < SHORTEST * self.samples:
                continue  # the end of a recording, too short to be measured
            table = self.smile.process_signal(window.samples, self.samples)
            begin = window.first / self.samples
            starts = begin + table.index.get_level_values("start").total_seconds().to_numpy()
            ends = begin + table.index.get_level_values("end").total_seconds().to_numpy()
            if self.level == "functionals":
                ends = np.array([begin + len(window.samples) / self.samples])
            steps.add(table.to_numpy(), np.stack([starts, ends], axis=1))
        if loudness.is_silent:
            return Missing("the sound is silent")
        return steps.stream(f"the sound is shorter than {SHORTEST} s")


@hookimpl
def register_extractors(register: Callable[[str, type[Extractor]], None]) -> None:
    """Offer `egemaps`."""
    register("egemaps", Egemaps)
