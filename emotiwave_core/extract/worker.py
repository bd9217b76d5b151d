"""Extracts from clips, one after another, in a process of its own: what crashes in it costs one clip.

An executor starts this module as a program. The first line that it reads is the task, each further one a clip; it
answers each with a line. What extractors print is no answer.
"""

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from emotiwave_core.errors import EmotiwaveError, is_out_of_memory
from emotiwave_core.extract import steps
from emotiwave_core.extract.decoder import Decoder
from emotiwave_core.extract.extractors import OpenExtractor, open_extractor
from emotiwave_core.extract.kept import KeptStreams, key_of
from emotiwave_core.extract.recording import MediaFile
from emotiwave_core.extract.words import TimedWords, Transcript, timed_words
from emotiwave_core.interfaces import Missing, SpokenWord
from emotiwave_core.io.atomic import sha256_of
from emotiwave_core.parts.kinds import EXTRACTOR
from emotiwave_core.parts.registry import load_registry

Send = Callable[[dict[str, Any]], None]


class Worker:
    """The extractors of a task, and the streams that are finished."""

    def __init__(self, task: dict[str, Any]) -> None:
        self.registry = load_registry(Path(task["registry"]) if task["registry"] else None)
        self.kept = KeptStreams(Path(task["kept"]))
        steps.spill_folder = self.kept.folder
        self.asr, self.download = task["asr"], task["download"]
        self.decoder = Decoder()
        from emotiwave_core.config.recipe import as_part

        parts = {m: self.registry.resolve_part(EXTRACTOR, as_part(part)) for m, part in task["extractors"].items()}
        self.extractors = [open_extractor(modality, part, self.download) for modality, part in parts.items()]

    def clip(self, clip: dict[str, Any]) -> dict[str, Any]:
        """Extract from one clip: what came of it, or an `error`."""
        path, began = Path(clip["path"]), time.process_time()
        try:
            content = sha256_of(path)
            recording = MediaFile(path, self.decoder)
            words_key, words = self._words(recording, content, clip["transcript"])
            recording.words = words.words
            problems = list(words.problems)
            streams = {}
            for one in self.extractors:
                streams[one.modality], own = self._stream(one, recording, content, words)
                problems += [f"{one.modality}: {problem}" for problem in own]
            problems += [problem for problem in dict.fromkeys(recording.problems) if problem not in problems]
            return {
                "streams": streams,
                "words": {"key": words_key, "source": words.source, "known": words.words is not None},
                "facts": recording.facts,
                "sha256": content,
                "problems": problems,
                "seconds": round(time.process_time() - began, 3),
            }
        except EmotiwaveError as error:
            return {"error": str(error), "exit_code": error.exit_code}
        except OSError as error:
            return {"error": f"{path} cannot be read: {error.strerror or error}.", "exit_code": 3}
        except Exception as error:
            if is_out_of_memory(error):
                return {"error": f"There is not the memory for {path}.", "exit_code": 5}
            return {"error": f"{path}: {type(error).__name__}: {error}", "exit_code": 1}

    def _words(self, recording: MediaFile, content: str, transcript: Any) -> tuple[str, TimedWords]:
        key = key_of(clip=content, transcript=transcript, asr=self.asr, what="words")
        if (kept := self.kept.facts(key)) is not None:
            with contextlib.suppress(LookupError, TypeError):
                words = None if kept["words"] is None else tuple(SpokenWord(*word) for word in kept["words"])
                return key, TimedWords(words, kept["source"], tuple(kept["problems"]))
        given = None if transcript is None else Transcript.from_json(transcript)
        timed = timed_words(recording, given, self.asr, self.download)
        words_list = None if timed.words is None else [list(word) for word in timed.words]
        self.kept.put_table(key, {"words": words_list, "source": timed.source, "problems": list(timed.problems)})
        return key, timed

    def _stream(
        self, one: OpenExtractor, recording: MediaFile, content: str, words: TimedWords
    ) -> tuple[dict[str, Any], list[str]]:
        """The facts of a stream that is kept now, and problems."""
        said = [list(word) for word in words.words or ()] if "words" in one.extractor.needs else None
        known = words.words is not None if said is not None else None
        key = key_of(clip=content, identity=one.identity, words=said, known=known)
        facts = self.kept.facts(key)
        if facts is None:
            answer = one.extract(recording)
            if isinstance(answer, Missing) and said is not None and words.words is None:
                answer = Missing(words.source)
            self.kept.put(key, answer)
            facts = self.kept.facts(key) or {}
        return {"key": key, **{name: facts[name] for name in ("steps", "missing") if name in facts}}, list(
            facts.get("problems", ())
        )


@contextlib.contextmanager
def _answers() -> Iterator[Send]:
    """Send answers to what was stdout; what anything prints goes to stderr."""
    sys.stdout.flush()
    with os.fdopen(os.dup(1), "w") as stream:
        os.dup2(2, 1)

        def send(answer: dict[str, Any]) -> None:
            stream.write(json.dumps(answer) + "\n")
            stream.flush()

        yield send


def main() -> None:
    """Carry out a task and its clips until the input ends."""
    import torch

    torch.set_num_threads(1)
    with _answers() as send:
        try:
            worker = Worker(json.loads(sys.stdin.readline()))
        except EmotiwaveError as error:
            send({"failed": type(error).__name__, "sentence": str(error)})
            return
        send({"identities": {one.modality: one.identity for one in worker.extractors}})
        with worker.decoder:
            for line in sys.stdin:
                send(worker.clip(json.loads(line)))


if __name__ == "__main__":
    main()
