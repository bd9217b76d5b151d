"""The sources of a store (the files of a data set, and how it is cut), and a key of both."""

import hashlib
import json
from pathlib import Path

import attrs

from emotiwave_core.data.dataset import Dataset
from emotiwave_core.data.formats.reader import Reader
from emotiwave_core.data.prepare.align import words_source
from emotiwave_core.data.prepare.options import Options
from emotiwave_core.errors import DataError


def fingerprint(dataset: Dataset, options: Options) -> str:
    """A key of the sources (name, size, time of change) and the options; cheap, for it is asked at every start."""
    sources = []
    for role, path in sources_of(dataset, options).items():  # their order is the store's
        status = path.stat()
        sources.append([role, str(path.resolve()), status.st_size, status.st_mtime_ns])
    content = [sources, dataset.name, dataset.synthetic, dataset.targets, dataset.columns, attrs.asdict(options), 3]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


def check_features(name: str, file: Reader) -> None:
    """DataError where a modality's file cannot be used as features."""
    if file.is_words:
        raise DataError(
            f"{file.path} holds words, and the modality '{name}' needs numbers: use the data set's word vectors "
            "(CMU-MOSEI: CMU_MOSEI_TimestampedWordVectors.csd), or make a .csd of the same layout with one vector "
            "a word (GloVe, BERT), and name it under [modalities] in dataset.toml."
        )


def sources_of(dataset: Dataset, options: Options) -> dict[str, Path]:
    """The files that a store is made from, by what they are for."""
    words = {" words": words_source(dataset)} if options.align == "words" else {}
    labels = {" labels": dataset.labels} if dataset.labels is not None else {}
    return {**dataset.modalities, **labels, **words}
