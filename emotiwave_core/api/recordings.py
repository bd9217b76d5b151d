"""Data sets of recordings, by extractors."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from emotiwave_core.api.arguments import FilePath, open_registry
from emotiwave_core.monitor import Monitor, monitor_for_here


@attrs.frozen
class Extraction:
    """A data set that was made of recordings."""

    folder: Path  # of the data set: give it to `train` or to a run's `predict`
    failed: dict[str, str]  # {id: why}, of the recordings that gave nothing
    missing: dict[str, int]  # {modality: number}, of the recordings that lack one
    labelled: bool  # a table of labels was there
    identities: dict[str, dict[str, Any]]  # {modality: all that decides on its numbers}


def extract(
    recordings: "FilePath | Sequence[FilePath]",
    /,
    extractors: "str | Sequence[str | Mapping[str, Any]]" = "light",
    *,
    out: FilePath,
    labels: FilePath | None = None,
    words: FilePath | None = None,
    asr: str | bool = False,
    face: str | None = None,
    download: bool = False,
    workers: int | None = None,
    executor: str = "local",
    address: str | None = None,
    slurm: Mapping[str, str] | None = None,
    registry: FilePath | None = None,
    monitor: Monitor | None = None,
) -> Extraction:
    """Make a data set of recordings: features by extractors, words, labels and a dataset.toml, in the folder `out`.

    recordings: folders or files of sound or video. extractors: a set such as "light" or "paper", `"NAME:option=value"`,
    `"MODALITY=NAME"`, several of these, or tables {modality: part}.
    labels: a table (docs/recordings.md); else the `labels.csv` in the first folder. words: a folder of transcripts;
    else those beside the recordings. asr: True, or a model of Whisper, to hear what is said where there is none.
    face: the person to follow: largest, first, centre, or a number from the left.
    download: fetch models that are not on this machine. workers: processes; else one for each processor that there is
    memory for. executor, address, slurm: where they are, as in `compare`.

    Stopped, it goes on where it was when it is called again. One recording that cannot be used costs itself: `failed`
    and extraction.json say why. DataError where none can, SettingsError for a name or model that is not there,
    PluginError where a package is not installed.
    """
    from emotiwave_core.execute.executor import Execution
    from emotiwave_core.extract import clips, dataset_files, extraction
    from emotiwave_core.extract import extractors as chosen

    here, known = monitor or monitor_for_here(), open_registry(registry)
    paths = [Path(recordings)] if isinstance(recordings, str | os.PathLike) else [Path(path) for path in recordings]
    found = clips.find_clips(paths, *(None if path is None else Path(path) for path in (labels, words)))
    for note in found.notes:
        here.say(f"Note: {note}")
    request = extraction.Request(
        extractors=chosen.choose([extractors] if isinstance(extractors, str) else extractors, known, face),
        out=Path(out),
        registry_file=None if registry is None else Path(registry),
        asr=extraction.ASR if asr is True else asr or None,
        download=download,
        execution=Execution(executor, workers, "cpu", address, dict(slurm or {})).checked(),
    )
    extracted, identities = extraction.extract_clips(found.clips, request, here)
    extraction.write_report(request.out, extracted, identities)
    extraction.check_usable(extracted)
    dataset_files.write_dataset(request.out, extracted, identities, found.labels)
    return Extraction(
        folder=request.out,
        failed={one.clip.id: one.failure for one in extracted if one.failure is not None},
        missing=dict(extraction.missing_counts(extracted)),
        labelled=found.labels is not None,
        identities=identities,
    )
