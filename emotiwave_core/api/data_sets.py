"""Data sets of the Python face: opened from files, and made of arrays."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emotiwave_core.api.arguments import FilePath
from emotiwave_core.monitor import Monitor, monitor_for_here

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from emotiwave_core.data.dataset import Dataset


def load_dataset(folder: FilePath) -> "Dataset":
    """Open a data set: a folder with a `dataset.toml` or with files that explain themselves, or a file with all of it.

    docs/data.md shows every form. The files are read when a run needs them. DataError where it is not a data set.
    """
    from emotiwave_core.data import dataset

    return dataset.load_dataset(Path(folder), labelled=False)


def load_sample(monitor: Monitor | None = None) -> "Dataset":
    """Open the synthetic sample, which is written into the user's cache on first use; its scores say nothing of people.

    ResourceError where the cache cannot be written.
    """
    from emotiwave_core.data.synthetic.sample import cached_sample

    return load_dataset(cached_sample(monitor or monitor_for_here()))


def dataset(
    features: "Mapping[str, Sequence[ArrayLike | None]] | Any",
    *,
    labels: "Sequence[str | float] | ArrayLike | Mapping[str, ArrayLike] | None" = None,
    targets: Sequence[str] | None = None,
    ids: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
    times: "Mapping[str, Sequence[ArrayLike]] | None" = None,
    folds: "Sequence[str] | Mapping[str, Sequence[str]] | None" = None,
    name: str = "arrays",
) -> "Dataset":
    """Make a data set of arrays: N samples, for each modality N arrays [T, F] or [F], None where a sample lacks it.

    For a modality of words they are N lists of words.

    It is written into the user's cache, once for the same arrays, and is then like any other: to train on, score,
    predict and resume.

    labels: N names of classes, N numbers (whole ones from 0 up are classes, others a scale), or [N, C] intensities, 0
    and 1, or scales with `targets`, the names of the columns; also {target: N numbers}, or a DataFrame of them. None:
    it can only be predicted. targets: with numbers of classes, the names of 0, 1, ….
    ids: N different texts; `video[0]`, `video[1]`, … are segments of a video. groups: N speakers, actors or dialogues.
    times: {modality: N arrays [T, 2] seconds}. folds: N times train, valid or test, or {fold: ids}.
    features may be a pandas DataFrame with all of this, a row for each sample: columns id, group or speaker, fold or
    split, `label` or a `label_NAME` for each target, and arrays in the cells of all modalities.

    DataError for what does not fit together, ResourceError where the cache cannot be written.
    """
    from emotiwave_core.data.arrays import ArrayDataset, from_frame

    given: dict[str, Any] = {"labels": labels, "targets": targets, "ids": ids, "groups": groups, "folds": folds}
    told: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    of_features = {"features": features} if isinstance(features, Mapping) else from_frame(features)
    return ArrayDataset(**{**of_features, **told}, times=times, name=name).load()


def write_csd(
    path: FilePath,
    features: "Mapping[str, ArrayLike]",
    intervals: "Mapping[str, ArrayLike]",
    *,
    columns: Sequence[str] | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Path:
    """Write a `.csd` file, whole or not at all, and return its path; docs/csd.md says what is in one.

    features: {id: [T, F] numbers, or T words}. intervals: {id: [T, 2] seconds}. columns: names of the F columns.
    metadata: texts or tables by name. DataError for arrays that do not fit, ResourceError where it cannot be written.
    """
    from emotiwave_core.data.formats.csd_writer import checked_entries
    from emotiwave_core.data.formats.csd_writer import write_csd as write

    target = Path(path)
    write(target, target.stem, checked_entries(features, intervals, columns), columns, metadata)
    return target
