"""Streams: how long the answer to a window takes after its last sample, with the extractors of `light`.

The recording is made up. The baseline is `run.predict` of arrays of the same length: what the model alone takes.
"""

import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch

import emotiwave as ew
from emotiwave_core.errors import ModelNotHere, PackageNotHere
from emotiwave_core.extract.extractors import choose, open_extractor
from emotiwave_core.interfaces import Stream
from emotiwave_core.parts.registry import load_registry
from emotiwave_core.serve.stream import LiveStream
from emotiwave_core.testing.recordings import MadeUpRecording
from speed.table import Row

RATE, PICTURES = 16_000, 10  # a second
SECONDS, WARM = 30, 5
WINDOW, HOP = 4.0, 1.0
CLIPS = 12


def measure(device: torch.device) -> list[Row]:
    """Median and 99th percentile of an answer, from the push of the last sample to the prediction."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            run = trained_on_recordings(Path(folder), device)
        except (ModelNotHere, PackageNotHere) as error:
            return [Row("stream", "not measured", None, "", note=str(error), installed=False)]
        seconds = np.array(latencies(LiveStream(run, window=WINDOW, hop=HOP)))
        bare = np.array(latencies(LiveStream(run, window=WINDOW, hop=HOP, shares=False)))
        model = np.array(of_the_model(run))
    note = f"window {WINDOW:.0f} s, hop {HOP:.0f} s, light; run.predict of arrays, p50: {np.median(model) * 1e3:.1f} ms"
    rows = []
    for what, values in (("one answer", seconds), ("one answer without shares", bare)):
        for name, percent in (("p50", 50), ("p99", 99)):
            rows.append(Row("stream", f"{what}, {name}", float(np.percentile(values, percent) * 1e3), "ms", note=note))
    return rows


def trained_on_recordings(folder: Path, device: torch.device) -> ew.Run:
    """A run of one epoch on made-up recordings, whose features are those of `light`."""
    recordings = {f"v{number:02}": MadeUpRecording(1.0 + number % 2) for number in range(CLIPS)}
    lines = ["[modalities]"]
    (folder / "data").mkdir()
    for modality, part in choose(["light"], load_registry(), None).items():
        extractor = open_extractor(modality, part)
        answers = {name: extractor.extract(recording) for name, recording in recordings.items()}
        streams = {name: answer for name, answer in answers.items() if isinstance(answer, Stream)}
        ew.write_csd(
            folder / "data" / f"{modality}.csd",
            {name: stream.features for name, stream in streams.items()},
            {name: stream.intervals for name, stream in streams.items()},
            metadata={"extractor": extractor.identity},
        )
        lines.append(f'{modality} = "{modality}.csd"')
    labels = {name: np.eye(2)[int(name[1:]) % 2][None] for name in recordings}
    whole = {name: np.array([[0.0, float(one.facts["seconds"])]]) for name, one in recordings.items()}
    ew.write_csd(folder / "data" / "labels.csd", labels, whole, columns=["short", "long"])
    lines += ["[labels]", 'file = "labels.csd"', 'kind = "classes"']
    (folder / "data" / "dataset.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    settings = {"training": {"epochs": 1}, "data": {"ratios": [0.5, 0.25, 0.25]}}
    return ew.train(folder / "data", out=folder / "run", device=device, **settings)


def latencies(live: LiveStream) -> list[float]:
    """Seconds of each push that was answered, where pictures, words and sound come a tenth of a second at a time."""
    recording = MadeUpRecording(float(SECONDS))
    sound = np.concatenate(list(recording.sound(RATE)))
    pictures = [frame.picture for frame in recording.frames(PICTURES)]
    seconds: list[float] = []
    for tick in range(SECONDS * PICTURES):
        now, piece = tick / PICTURES, RATE // PICTURES
        said = [word for word in recording.words or () if now < word.end <= now + 1 / PICTURES]
        for push in (
            partial(live.push_words, said, until=now + 1 / PICTURES),
            partial(live.push_frame, pictures[tick], now),
            partial(live.push_sound, sound[tick * piece : (tick + 1) * piece], RATE),
        ):
            began = time.perf_counter()
            if push():
                seconds.append(time.perf_counter() - began)
    return seconds[WARM:]


def of_the_model(run: ew.Run) -> list[float]:
    """Seconds of `run.predict` of arrays, as long as a window has them."""
    random = np.random.default_rng(1)
    widths = run.predictor.model.features
    arrays = {name: random.normal(size=(int(WINDOW * 10), width)) for name, width in widths.items()}
    seconds = []
    for _ in range(SECONDS):
        began = time.perf_counter()
        run.predict(**arrays)
        seconds.append(time.perf_counter() - began)
    return seconds[WARM:]
