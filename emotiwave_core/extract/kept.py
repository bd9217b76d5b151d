"""Finished streams, kept in a folder under the hash of all that they come from, so that none is made twice."""

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from emotiwave_core.errors import DataError
from emotiwave_core.interfaces import Missing, Stream
from emotiwave_core.io.atomic import out_of_space, write_json
from emotiwave_core.io.untrusted import read_json

FOLDER = ".streams"


def key_of(**what: Any) -> str:
    """The name of a result: the hash of a clip's content, an extractor's identity, words, …"""
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:40]


class KeptStreams:
    """A folder of finished streams. The JSON of one is written last: where it is, the stream is whole."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, key: str, answer: Stream | Missing) -> None:
        """Keep an answer. ResourceError where it cannot be written."""
        if isinstance(answer, Missing):
            write_json(self._path(key, ".json"), {"missing": answer.reason})
            return
        self._write(self._path(key, ".npy"), answer.features)
        self._write(self._path(key, ".times.npy"), answer.intervals)
        write_json(self._path(key, ".json"), {"steps": len(answer.intervals), "problems": list(answer.problems)})

    def put_table(self, key: str, table: Mapping[str, Any]) -> None:
        """Keep something that JSON can hold."""
        write_json(self._path(key, ".json"), dict(table))

    def facts(self, key: str) -> dict[str, Any] | None:
        """`missing`, or `steps` and `problems`, of an answer that is kept; None where it is not, or is damaged."""
        try:
            table = read_json(self._path(key, ".json"))
        except (OSError, ValueError):
            return None
        return table if isinstance(table, dict) else None

    def stream(self, key: str) -> Stream:
        """A stream that is kept, whose features are read as they are needed. DataError where it is damaged."""
        table = self.facts(key) or {}
        try:
            features = np.load(self._path(key, ".npy"), mmap_mode="r", allow_pickle=False)
            intervals = np.load(self._path(key, ".times.npy"), allow_pickle=False)
            if not features.ndim == 2 or intervals.shape != (len(features), 2) or len(features) != table["steps"]:
                raise ValueError("its shape is wrong")
        except (OSError, ValueError, LookupError) as error:
            raise DataError(
                f"{self._path(key, '.npy')} is damaged ({error}): delete {self.folder} and go on."
            ) from error
        return Stream(features, intervals, tuple(table["problems"]))

    def _path(self, key: str, suffix: str) -> Path:
        return self.folder / f"{key}{suffix}"

    def _write(self, path: Path, array: Any) -> None:
        with out_of_space(path):
            handle, part = tempfile.mkstemp(prefix=".", suffix=".part", dir=self.folder)
            try:
                with os.fdopen(handle, "wb") as file:
                    np.save(file, array, allow_pickle=False)
                os.replace(part, path)  # noqa: PTH105
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(part)  # noqa: PTH108
                raise
