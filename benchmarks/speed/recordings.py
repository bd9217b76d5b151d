"""Recordings to features: CPU seconds for a second of media, stage by stage, of the sets `light` and `paper`.

The models of `paper` have their real size and random weights, which take as long as trained ones. Those of `light` are
the real ones, where their packages are installed. Clips are those that EMOTIWAVE_MEDIA names (its folders cremad and
talking), else one that is made up.
"""

import json
import os
import resource
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from emotiwave_core.config.recipe import Part
from emotiwave_core.errors import ModelNotHere, PackageNotHere
from emotiwave_core.extract.decoder import Decoder
from emotiwave_core.extract.extractors import choose, one_thread, open_extractor
from emotiwave_core.extract.recording import MediaFile
from emotiwave_core.extract.words import Phrase, TimedWords, Transcript, timed_words
from emotiwave_core.interfaces import Recording, SpokenWord
from emotiwave_core.parts.registry import Registry, load_registry
from emotiwave_core.testing.recordings import MadeUpRecording
from speed.table import Row

MADE_UP = 20.0  # seconds
SAID = "do not forget the jacket that you were given by the door today"
PATTERNS = ("cremad/*.flv", "talking/grid_*.mpg")
GOAL = "<= 1.1"  # of the paper's stack


def measure(data: Path) -> list[Row]:
    """Rows of decoding, alignment, and every extractor of both sets."""
    folder = data / "models"
    rows: list[Row] = []
    with Decoder() as decoder:
        recordings, what = list(_recordings(decoder)), _named()
        seconds = sum(float(recording.facts["seconds"]) for recording in recordings)

        def row(stage: str, work: Callable[[Recording], Any], goal: str = "") -> Row:
            with one_thread():
                spent = cpu_seconds(work, recordings)
            return Row("recordings", stage, spent / seconds, "s/s", goal=goal, note=what)

        rows.append(row("decoding the sound", lambda one: _drain(one.sound(16_000))))
        rows.append(row("decoding 5 pictures a second", lambda one: _drain(one.frames(5))))
        if what != "made up":
            rows.append(row("alignment of the words", lambda one: _aligned(one)))
        try:
            for name in ("light", "paper"):
                total, lacking = 0.0, list[str]()
                for part in _parts(name, load_registry(), folder):
                    try:
                        extractor = open_extractor("any", load_registry().resolve_part("extractor", part))
                    except (ModelNotHere, PackageNotHere) as error:
                        lacking.append(part.name)
                        rows.append(_not_here(f"{name}: {part.name}", str(error)))
                        continue
                    extractor.extract(MadeUpRecording(1.0))  # kernels and caches
                    rows.append(row(f"{name}: {part.name}", extractor.extract))
                    total += rows[-1].value or 0.0
                if lacking:
                    rows.append(_not_here(f"{name}: all of it", f"without {', '.join(lacking)} it is not all"))
                else:
                    rows.append(Row("recordings", f"{name}: all of it", total, "s/s", goal=GOAL, note=what))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return rows


def _not_here(what: str, why: str) -> Row:
    return Row("recordings", what, None, "", note=why, installed=False)


def cpu_seconds(work: Callable[[Recording], Any], recordings: Iterable[Recording]) -> float:
    """CPU seconds of some work over all recordings."""
    before = _spent()
    for recording in recordings:
        work(recording)
    return _spent() - before


def _spent() -> float:
    """CPU seconds of this process, and of those that decode for it."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    started = children.read_text().split() if children.is_file() else []
    return own.ru_utime + own.ru_stime + sum(_with_forks(pid) for pid in started)


def _with_forks(pid: str) -> float:
    """CPU seconds of a process and of its forks that have ended, as Linux counts them."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def _recordings(decoder: Decoder) -> Iterator[Recording]:
    root = os.environ.get("EMOTIWAVE_MEDIA")
    if root is None:
        yield MadeUpRecording(MADE_UP)
        return
    for pattern in PATTERNS:
        for path in sorted(Path(root).glob(pattern)):
            recording = MediaFile(path, decoder)
            times = np.linspace(0.2, float(recording.facts["seconds"]) - 0.2, len(SAID.split()) + 1)
            words = zip(SAID.split(), times, times[1:], strict=False)
            recording.words = tuple(SpokenWord(word, float(a), float(b)) for word, a, b in words)
            yield recording


def _named() -> str:
    return "made up" if "EMOTIWAVE_MEDIA" not in os.environ else "CREMA-D and GRID"


def _drain(pieces: Iterable[Any]) -> None:
    for _ in pieces:
        pass


def _aligned(recording: Recording) -> TimedWords:
    return timed_words(recording, Transcript((Phrase(SAID),), "none"), None, False)


def _parts(name: str, registry: Registry, folder: Path) -> list[Part]:
    """The extractors of a set; those of `paper` with models of their real size, saved into a folder."""
    parts = [part.settings for part in choose([name], registry, None).values()]
    if name == "light":
        return parts
    return [
        Part(part.name, {**part.options, "model": str(saved(part.name, folder / part.name)), **_detector(part)})
        for part in parts
    ]


def _detector(part: Part) -> dict[str, str]:
    return {"weights": "pip:yuface"} if "weights" in part.options else {}


def saved(kind: str, folder: Path) -> Path:
    """A model of the real size with random weights."""
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers

    transformers.utils.logging.disable_progress_bar()  # of a save that takes no time
    makers = {
        "bert": lambda: transformers.BertModel(transformers.BertConfig()),
        "hubert": lambda: transformers.HubertModel(transformers.HubertConfig()),
        "resnet50": lambda: transformers.ResNetModel(transformers.ResNetConfig()),
    }
    makers[kind]().save_pretrained(folder)
    if kind == "bert":
        letters = {"[UNK]": 0, **{letter: n + 1 for n, letter in enumerate("abcdefghijklmnopqrstuvwxyz")}}
        letters |= {f"##{letter}": n + 30 for n, letter in enumerate("abcdefghijklmnopqrstuvwxyz")}
        tokenizer = Tokenizer(models.WordPiece(letters, unk_token="[UNK]"))
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.save(str(folder / "tokenizer.json"))
        settings = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "[UNK]"}
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder
