"""The sources of a store (the files of a data set, and how it is cut), and a key of both."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import attrs

from emotiwave_core.data.dataset import Dataset
from emotiwave_core.data.formats.reader import Source
from emotiwave_core.data.prepare.align import words_source
from emotiwave_core.data.prepare.options import Options
from emotiwave_core.io.atomic import files_in


def fingerprint(dataset: Dataset, options: Options) -> str:
    """A key of the sources (name, size, time of change) and the options; cheap, for it is asked at every start."""
    files = {}
    for path in paths_of(dataset, options):
        for file in files_in(path):
            status = file.stat()
            files[str(file.resolve())] = [status.st_size, status.st_mtime_ns]
    content = [files, meaning(dataset, options), dataset.name, dataset.synthetic, attrs.asdict(options), 4]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


def meaning(dataset: Dataset, options: Options) -> dict[str, Any]:
    """All but the content of the files that gives features and labels their meaning, as JSON has it.

    Which file is which modality, in their order, and what the columns of the labels are.
    """
    roles = [[role, *_identity(source, dataset)] for role, source in sources_of(dataset, options).items()]
    labels = [dataset.targets, dataset.columns, dataset.kind, dataset.classes]
    groups = dataset.groups and [
        dataset.groups.source and _identity(dataset.groups.source, dataset),
        dataset.groups.separator,
        dataset.groups.field,
    ]
    value: dict[str, Any] = json.loads(json.dumps({"roles": roles, "labels": labels, "groups": groups}))
    return value


def _identity(source: Source, dataset: Dataset) -> list[Any]:
    return [os.path.relpath(source.path, dataset.base), source.part, source.rate, source.reader, source.columns]


def sources_of(dataset: Dataset, options: Options) -> dict[str, Source]:
    """The sources that a store is made from, by what they are for."""
    words = {" words": words_source(dataset)} if options.align == "words" else {}
    labels = {" labels": dataset.labels} if dataset.labels is not None else {}
    groups = {" groups": dataset.groups.source} if dataset.groups and dataset.groups.source else {}
    return {**dataset.modalities, **labels, **words, **groups}


def paths_of(dataset: Dataset, options: Options) -> list[Path]:
    """The files and folders that a store is made from, each once, in the order of their use."""
    return list(dict.fromkeys(source.path for source in sources_of(dataset, options).values()))
