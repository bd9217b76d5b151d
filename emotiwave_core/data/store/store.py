"""Stores: a data set cut into samples and packed once, as flat arrays with offsets, read by memory map.

A folder `FINGERPRINT/` in the user's cache with `arrays.safetensors` (for each stream `NAME.values` [steps, F] and
`NAME.offsets` [N + 1], `NAME.times` [steps, 2] seconds of the video, in an aligned store also `NAME.present` [steps];
of words, whose values are their numbers, `NAME.words`, the bytes of the distinct ones, and `NAME.word_offsets`;
`labels` [N, C]; `intervals` [N, 2]) and `store.json` (ids, counts, SHA-256 of the sources, of the arrays and of
itself). It is built beside and renamed, under a lock, so that two runs that start together build it once.

Opening trusts an arrays file of the size and time of change that it was given (the time of the newest source, so that a
store built again is the same to the byte): of it only the labels, the offsets and the intervals are hashed, and
a few blocks of each of the other arrays. Where size or time differ (copied, touched, written to), the whole file is
hashed. Of each source a few blocks are hashed too, for another file may have its size and time (a source of another
size or time has another store). So a value that changes while size and time stay, as on a failing disk, can pass
unnoticed. With EMOTIWAVE_VERIFY=1 both are hashed whole; a store whose sources have changed is built anew, and a run
that was trained on them is then refused.
"""

import contextlib
import hashlib
import json
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emotiwave_core.data.dataset import Dataset
from emotiwave_core.data.facts import StoreFacts
from emotiwave_core.data.prepare.options import Options
from emotiwave_core.data.prepare.packing import Packer
from emotiwave_core.data.prepare.store_key import fingerprint, paths_of
from emotiwave_core.data.prepare.words import unpacked
from emotiwave_core.data.store.arrays import map_arrays, sampled, write_arrays
from emotiwave_core.data.store.standardisation import SpeakerStandardisation
from emotiwave_core.errors import DataError, ResourceError, SettingsError
from emotiwave_core.io.atomic import (
    cache_folder,
    files_in,
    open_to_all,
    out_of_space,
    sample_of,
    sha256_of,
    sync_folder,
    write_json,
)
from emotiwave_core.io.locks import BusyError, locked, waiting_for
from emotiwave_core.io.untrusted import read_json, why
from emotiwave_core.modalities import by_modality, streams_of
from emotiwave_core.monitor import SILENT, Monitor

FORMAT = 4
_OF_WORDS = " (of words it is 1)"
ARRAYS = "arrays.safetensors"
DAMAGED = (DataError, OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError)
MOST_FACTS = 1 << 29  # bytes of store.json: some 40 for each sample


@attrs.frozen(eq=False)
class Store:
    """An open store of N samples. The tensors are views of the memory map: copy before changing one."""

    path: Path | None  # None: in memory alone
    fingerprint: str  # the key of its sources and options
    facts: StoreFacts
    labels: Tensor  # [N, C] float32 intensities
    intervals: Tensor  # [N, 2] float64 seconds
    values: dict[str, Tensor]  # {stream: [steps, F] float32}
    offsets: dict[str, NDArray[np.int64]]  # {stream: [N + 1]}
    step_times: dict[str, Tensor]  # {stream: [steps, 2] float32}
    step_present: dict[str, Tensor] | None  # {stream: [steps] bool}, of an aligned store
    words: dict[str, tuple[str, ...]] = attrs.Factory(dict)  # {stream: distinct words}; its values are 1 + their place
    speakers: SpeakerStandardisation | None = None  # applied to `values` wherever samples are read

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def ids(self) -> tuple[str, ...]:
        """The id of each sample."""
        return self.facts.ids

    @property
    def videos(self) -> tuple[str, ...]:
        """The video of each sample."""
        return self.facts.videos

    @property
    def groups(self) -> tuple[str, ...]:
        """The group of each sample, which is its video where nothing tells another."""
        return self.facts.groups or self.facts.videos

    @property
    def streams(self) -> tuple[str, ...]:
        """The names of the streams, in their fixed order: one or several for each modality."""
        return tuple(self.values)

    @property
    def modalities(self) -> tuple[str, ...]:
        """The names of the modalities, each of one or several streams."""
        return tuple(by_modality(self.values))

    @property
    def features(self) -> dict[str, int]:
        """The feature width of each stream."""
        return {name: values.shape[1] for name, values in self.values.items()}

    @property
    def targets(self) -> tuple[str, ...]:
        """The names of the label columns."""
        return self.facts.targets

    def with_streams(self, features: Mapping[str, int]) -> "Store":
        """The store with these streams alone, {name: width}: one that it lacks is absent in every sample.

        DataError where a width is another, or where the store has none of them.
        """
        if any(features.get(name, width) != width for name, width in self.features.items()) or not (
            set(features) & set(self.features)
        ):
            raise DataError(
                f"The model reads features {dict(features)}, but {self.facts.dataset} has {self.features}: use a data "
                f"set with the same widths{_OF_WORDS if 1 in {*features.values(), *self.features.values()} else ''}."
            )
        absent = {name: torch.empty(0, width) for name, width in features.items() if name not in self.values}
        offsets = dict.fromkeys(absent, np.zeros(len(self) + 1, dtype=np.int64))
        times = dict.fromkeys(absent, torch.empty(0, 2))
        present = dict.fromkeys(absent, torch.empty(0, dtype=torch.bool))
        return attrs.evolve(
            self,
            values={name: (self.values | absent)[name] for name in features},
            offsets={name: (self.offsets | offsets)[name] for name in features},
            step_times={name: (self.step_times | times)[name] for name in features},
            step_present=self.step_present and {name: (self.step_present | present)[name] for name in features},
            words={name: words for name, words in self.words.items() if name in features},
        )

    def with_tokens(self, tokens: Mapping[str, Callable[[Sequence[str]], Tensor]]) -> "Store":
        """The store with words as the numbers [steps, K] by which a model's encoders know them, in float32.

        tokens: {stream: words -> [W, K]} of the streams whose encoders read words. SettingsError for words whose
        encoder reads features, and the reverse.
        """
        values = dict(self.values)
        for stream in self.words:
            if stream not in tokens:
                raise SettingsError(
                    f"{self._named(stream)} holds words, and its encoder reads features: take one that reads words "
                    f"(--encoder {stream}=hashed), or name a file of word vectors under [modalities]."
                )
        for stream, number in tokens.items():
            if stream not in self.words and len(self.values[stream]):
                raise SettingsError(
                    f"{self._named(stream)} holds features, and its encoder reads words: take another one "
                    f"(--encoder {stream}=bilstm), or name a file of words under [modalities]."
                )
            table = number(self.words.get(stream, ())).float()
            table = torch.cat([table.new_zeros(1, table.shape[1]), table])  # no word is number 0
            values[stream] = table[self.values[stream][:, 0].long()]
        return attrs.evolve(self, values=values, words={})

    def _named(self, stream: str) -> str:
        facts = self.facts.modalities.get(stream)
        return f"The modality '{stream}'" + ("" if facts is None else f" ({facts.file})")

    def lengths(self, stream: str) -> NDArray[np.int64]:
        """The steps of every sample in a stream, [N]; 0 where it is missing.

        In an aligned store they are as many in every stream, and `present` says in which of them there is something.
        """
        return np.diff(self.offsets[stream])

    def has(self, name: str) -> NDArray[np.bool_]:
        """True for each sample that has something of a stream, or of any stream of a modality, [N]."""
        return np.asarray(np.any([self._has(stream) for stream in streams_of(name, self.streams)], axis=0))

    def _has(self, stream: str) -> NDArray[np.bool_]:
        if self.step_present is None:
            return self.lengths(stream) > 0
        before = np.concatenate([[0], np.cumsum(self.step_present[stream].numpy())])
        return np.diff(before[self.offsets[stream]]) > 0

    def sequence(self, stream: str, sample: int) -> Tensor:
        """One sample's steps in a stream, [T, F]; zeros where it is not present."""
        x = self.values[stream][self._steps(stream, sample)]
        return x if self.speakers is None else self.speakers.apply(stream, sample, x)

    def times(self, stream: str, sample: int) -> Tensor:
        """The start and the end of one sample's steps in a stream, [T, 2] float32, in seconds of the video."""
        return self.step_times[stream][self._steps(stream, sample)]

    def present(self, stream: str, sample: int) -> Tensor:
        """True for each step of a sample in which a stream has something, [T]: in all, but in an aligned store."""
        steps = self._steps(stream, sample)
        if self.step_present is None:
            return torch.ones(steps.stop - steps.start, dtype=torch.bool)
        return self.step_present[stream][steps]

    def _steps(self, stream: str, sample: int) -> slice:
        start, end = self.offsets[stream][sample : sample + 2].tolist()
        return slice(start, end)


def open_store(dataset: Dataset, options: Options, folder: Path | None = None, monitor: Monitor = SILENT) -> Store:
    """The store of a data set with these options: opened where it is whole, else built.

    Raises DataError for a bad source, ResourceError where the cache folder cannot be written.
    """
    key = fingerprint(dataset, options)
    folder = folder or cache_folder() / "stores"
    path = folder / key
    if (store := _whole(dataset, options, path, SILENT)) is not None:  # without a lock: the cache may be read-only
        return store
    with out_of_space(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with out_of_space(folder), waiting_for(folder / f"{key}.lock", "packs this data set", monitor):
        if (store := _whole(dataset, options, path, monitor)) is not None:  # another process has built it meanwhile
            return store
        _clear(path)
        _build(dataset, options, path, key, monitor)
        return _open(path, key)


def _whole(dataset: Dataset, options: Options, path: Path, monitor: Monitor) -> Store | None:
    """The store in a folder; None, and a sentence why, where it is damaged or of other sources."""
    try:
        store = _open(path, path.name)
        changed = _changed(dataset, options, store)
    except FileNotFoundError:
        return None
    except DAMAGED as error:
        monitor.say(f"The store {path} is damaged ({why(error)}) and is built anew.")
        return None
    if changed:
        monitor.say(
            f"Since the store {path} was built, {', '.join(changed)} changed, though size and time did not: "
            "it is built anew."
        )
        return None
    return store


def _open(path: Path, key: str) -> Store:
    """Open, and verify what must be: FileNotFoundError where there is none, DataError where it is not what it says."""
    table = read_json(path / "store.json", MOST_FACTS)
    if table.pop("facts_sha256") != _sha256_of_json(table):
        raise DataError("its store.json is not the one that was written")
    if table["format"] != FORMAT or table["fingerprint"] != key:
        raise DataError("it is of another format or another data set")
    is_trusted = _as_written(path / ARRAYS, table)
    if not is_trusted and sha256_of(path / ARRAYS) != table["sha256"]:
        raise DataError("its arrays are not the ones that were written")
    tensors = map_arrays(path / ARRAYS)
    if sampled(tensors) != table["sampled_sha256"]:
        raise DataError("its arrays are not the ones that were written")
    if not is_trusted:  # a copy: it is known from now on
        with contextlib.suppress(OSError):
            os.utime(path / ARRAYS, ns=(time.time_ns(), table["modified_ns"]))
    facts = StoreFacts.from_dict(table)
    streams, aligned = facts.modalities, facts.options.align != "none"
    return Store(
        path=path,
        fingerprint=key,
        facts=facts,
        labels=tensors["labels"],
        intervals=tensors["intervals"],
        values={name: tensors[f"{name}.values"] for name in streams},
        offsets={name: tensors[f"{name}.offsets"].numpy() for name in streams},
        step_times={name: tensors[f"{name}.times"] for name in streams},
        step_present={name: tensors[f"{name}.present"] for name in streams} if aligned else None,
        words={
            name: unpacked(tensors[f"{name}.words"].numpy(), tensors[f"{name}.word_offsets"].numpy())
            for name, modality in streams.items()
            if modality.words is not None
        },
    )


def _as_written(arrays: Path, table: dict[str, Any]) -> bool:
    """True where the arrays file has the size and the time that store.json gives it, and so needs no reading."""
    status = arrays.stat()
    if not stat.S_ISREG(status.st_mode):
        raise DataError("its arrays are not a file")
    is_same = (status.st_size, status.st_mtime_ns) == (table["size"], table["modified_ns"])
    return is_same and not _verifies()


def _verifies() -> bool:
    return os.environ.get("EMOTIWAVE_VERIFY", "0") not in ("", "0")


def _changed(dataset: Dataset, options: Options, store: Store) -> list[str]:
    """The sources that are not what a store was built from: by a few of their blocks, or all where that is asked."""
    now = {os.path.relpath(path, dataset.base): path for path in paths_of(dataset, options)}
    facts = store.facts
    changed = [name for name, path in now.items() if sample_of(path) != facts.samples_of_sources.get(name)]
    if _verifies():
        changed += [name for name, path in now.items() if sha256_of(path) != facts.sources.get(name)]
    return list(dict.fromkeys(changed))


def _build(dataset: Dataset, options: Options, path: Path, key: str, monitor: Monitor) -> None:
    sources = _identities(dataset, options)
    packer = Packer(dataset, options, monitor)
    with out_of_space(path):
        building = Path(tempfile.mkdtemp(prefix=f"{key}.building-", dir=path.parent))
    try:
        digest = write_arrays(building / ARRAYS, packer)
        if any(packer.filler.values()):
            packer = Packer(dataset, options, monitor, packer.filler)
            digest = write_arrays(building / ARRAYS, packer)
        with contextlib.suppress(PermissionError):  # the time that it has then stands in store.json all the same
            os.utime(building / ARRAYS, ns=(time.time_ns(), packer.newest))
        status = (building / ARRAYS).stat()  # a file system may round the time
        table = packer.facts().to_dict() | {
            "format": FORMAT,
            "fingerprint": key,
            "size": status.st_size,
            "modified_ns": status.st_mtime_ns,
            "sha256": digest,
            "sampled_sha256": sampled(map_arrays(building / ARRAYS)),
        }
        if _identities(dataset, options) != sources or fingerprint(dataset, options) != key:
            raise DataError(f"A file of {dataset.base} was replaced or written to while it was packed; start again.")
        write_json(building / "store.json", table | {"facts_sha256": _sha256_of_json(table)})
        with out_of_space(path):
            open_to_all(building, 0o755)
            building.replace(path)
            sync_folder(path.parent)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _identities(dataset: Dataset, options: Options) -> dict[str, tuple[int, ...]]:
    """Tell each source file from another of its name, size and time: what is hashed must be what was read."""
    files = (file for path in paths_of(dataset, options) for file in files_in(path))
    return {
        str(file): (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        for file, status in ((file, file.stat()) for file in files)
    }


def _sha256_of_json(table: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()


def _clear(path: Path) -> None:
    """Remove a damaged store, and what killed builds have left, of this store or another that nobody is building."""
    for leftover in [path, *path.parent.glob("*.building-*")]:
        with contextlib.suppress(BusyError), contextlib.ExitStack() as held:
            if not leftover.name.startswith(path.name):  # whose lock is held
                held.enter_context(locked(path.parent / f"{leftover.name.partition('.')[0]}.lock"))
            shutil.rmtree(leftover, ignore_errors=True)
    if path.exists():
        raise ResourceError(f"The damaged store {path} cannot be removed; remove it by hand or set EMOTIWAVE_CACHE.")
