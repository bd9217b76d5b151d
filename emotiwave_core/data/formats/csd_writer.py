"""Writing a `.csd` file in the layout of the CMU-MultimodalSDK."""

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from emotiwave_core.data.formats.reader import Entry
from emotiwave_core.io.atomic import write_bytes

NARROW = 10  # columns: fewer are compressed


def write_csd(
    path: Path,
    root: str,
    entries: Iterable[tuple[str, Entry]],
    columns: Sequence[str] | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write a `.csd` file whole or not at all: `root/data/ID/{features, intervals}` and `root/metadata`.

    entries: pairs of an id and its Entry. `columns` names the feature columns ("dimension names"), which some real
    files lack. `metadata` is laid over the fields that the SDK asks for. Narrow files are compressed and wide ones are
    not: both kinds exist. The file is put together in memory. ResourceError where it cannot be written.
    """
    with h5py.File(path.name, "w", driver="core", backing_store=False, block_size=2**24) as file:
        for key, value in _metadata(root, columns, metadata or {}).items():
            text = np.array([json.dumps(value)], dtype=object)
            file.create_dataset(f"{root}/metadata/{key}", data=text, dtype=h5py.string_dtype())
        data = file.create_group(f"{root}/data")
        for key, entry in entries:
            compression = "gzip" if entry.features.shape[1] < NARROW else None
            group = data.create_group(key)
            group.create_dataset("features", data=entry.features, compression=compression)
            group.create_dataset("intervals", data=entry.intervals, compression=compression)
        file.flush()
        write_bytes(path, file.id.get_file_image())


def _metadata(root: str, columns: Sequence[str] | None, own: Mapping[str, Any]) -> dict[str, Any]:
    metadata = {
        "alignment compatible": "true",
        "computational sequence description": "",
        "computational sequence version": "1.0",
        "contact": "none",
        "creator": "emotiwave",
        "dataset bib citation": "",
        "dataset name": "",
        "dataset version": "1.0",
        "featureset bib citation": "",
        "md5": None,
        "root name": root,
        "uuid": str(uuid.uuid5(uuid.NAMESPACE_DNS, root)),
    }
    return {**metadata, **own, **({} if columns is None else {"dimension names": list(columns)})}
