"""Folds: the videos for training, validation and test. No video is ever in two."""

import ast
import hashlib
import json
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from emotiwave_core.errors import DataError, SettingsError, short
from emotiwave_core.io.untrusted import read_json, read_text, why

if TYPE_CHECKING:  # the command line lists the folds, and needs no reader for it
    from emotiwave_core.data.formats.reader import Source

FOLDS = ("train", "valid", "test")
SPLIT_SEED = 42
MOST_PYTHON = 1 << 20  # bytes; a tree of Python is some 300 times as large as its text


@attrs.frozen
class Folds:
    """The video ids of each fold and where they come from."""

    train: tuple[str, ...]
    valid: tuple[str, ...]
    test: tuple[str, ...]
    source: str

    def __attrs_post_init__(self) -> None:
        seen: dict[str, str] = {}
        for fold in FOLDS:
            for video in self[fold]:
                if video in seen:
                    where = f"twice in '{fold}'" if seen[video] == fold else f"in both '{seen[video]}' and '{fold}'"
                    raise DataError(
                        f"{self.source} has the video {short(video)} {where}; each must be in one fold, once."
                    )
                seen[video] = fold

    def __getitem__(self, fold: str) -> tuple[str, ...]:
        if fold not in FOLDS:
            raise KeyError(fold)
        return {"train": self.train, "valid": self.valid, "test": self.test}[fold]

    @property
    def sha256(self) -> str:
        """A digest of the three lists, to notice that they have changed between training and scoring."""
        lists = [sorted(self[fold]) for fold in FOLDS]
        return hashlib.sha256(json.dumps(lists).encode()).hexdigest()


NO_FOLDS = Folds((), (), (), source="no folds")


def read_folds(source: "Source | Path", rotation: int | None = None) -> Folds:
    """Folds from a JSON file, the CMU SDK's `cmu_mosei_std_folds.py` (read, never executed), or a table that has them.

    A file with `train`, `valid` and `test` is taken as it is. One with `fold0`, `fold1`, … needs a rotation r: test is
    fold r, valid the one after it, train all others.
    """
    path, lists = source if isinstance(source, Path) else source.path, read_lists(source)
    if set(FOLDS) <= set(lists):
        if rotation is not None:
            raise SettingsError(
                f"data.rotation is {rotation}, but {path} has fixed folds (train, valid, test); leave it out."
            )
        return Folds(lists["train"], lists["valid"], lists["test"], source=str(path))
    numbered = [lists[f"fold{number}"] for number in range(len(lists)) if f"fold{number}" in lists]
    if len(numbered) != len(lists) or len(numbered) < 3:
        raise DataError(
            f"{path} has the lists {_names(lists)}; needed are train, valid and test, or fold0, fold1, fold2, …"
        )
    if rotation is None or not 0 <= rotation < len(numbered):
        raise SettingsError(
            f"{path} has {len(numbered)} folds to rotate: set data.rotation to 0 … {len(numbered) - 1}, not {rotation}."
        )
    valid = (rotation + 1) % len(numbered)
    train = [video for number, videos in enumerate(numbered) if number not in (rotation, valid) for video in videos]
    return Folds(tuple(train), numbered[valid], numbered[rotation], source=f"{path}, rotation {rotation}")


def read_lists(source: "Source | Path") -> dict[str, tuple[str, ...]]:
    """The lists of a folds file, by name, as they stand."""
    from emotiwave_core.data.formats.reader import open_reader

    path = source if isinstance(source, Path) else source.path
    if path.suffix == ".py":
        return _sdk_lists(path)
    if path.suffix == ".json" and (isinstance(source, Path) or source.reader is None):
        return _json_lists(path)
    with open_reader(source) as file:
        lists = dict(file.folds)
    if not lists:
        raise DataError(f"{path} tells no folds: name a JSON with train, valid and test under [folds].")
    return lists


def in_two(lists: Iterable[Sequence[str]]) -> list[str]:
    """The videos that are in two lists, or twice in one."""
    counts = Counter(video for videos in lists for video in videos)
    return sorted(video for video, count in counts.items() if count > 1)


def random_folds(
    videos: Sequence[str],
    ratios: tuple[float, float, float],
    seed: int = SPLIT_SEED,
    groups: Mapping[str, str] | None = None,
) -> Folds:
    """A random split by video, or by group {video: group}: two nested scikit-learn `train_test_split` calls.

    They draw from the sorted names.
    """
    from sklearn.model_selection import train_test_split

    of = groups or {video: video for video in videos}
    names, unit = sorted(set(of.values())), "group" if groups else "video"
    source = f"random by {unit}, {'/'.join(f'{ratio:g}' for ratio in ratios)}, seed {seed}"
    try:
        train, rest = train_test_split(names, test_size=round(1 - ratios[0], 9), random_state=seed)
        valid, test = train_test_split(rest, test_size=round(ratios[2] / (ratios[1] + ratios[2]), 9), random_state=seed)
    except ValueError as error:
        raise DataError(
            f"{len(names)} {unit}s cannot be split {source}, for a fold would be empty: name the folds under [folds] "
            "in dataset.toml, or set data.ratios to others."
        ) from error
    members: dict[str, list[str]] = {name: [] for name in names}
    for video in sorted(set(videos)):
        members[of[video]].append(video)
    split = [tuple(video for name in own for video in members[name]) for own in (train, valid, test)]
    return Folds(split[0], split[1], split[2], source)


def _json_lists(path: Path) -> dict[str, tuple[str, ...]]:
    try:
        table = read_json(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not readable JSON: {why(error)}.") from error
    if not isinstance(table, dict):
        raise DataError(f'{path} must be a JSON object of lists of video ids, such as {{"train": [...]}}.')
    return {name: _ids(path, name, value) for name, value in table.items()}


def _sdk_lists(path: Path) -> dict[str, tuple[str, ...]]:
    """`standard_train_fold = ['id', …]` and its sisters, as literals."""
    try:
        text = read_text(path, MOST_PYTHON)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Python, about what it would do if it were run
            tree = ast.parse(text)
    except (OSError, ValueError, SyntaxError, RecursionError, MemoryError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError | MemoryError) else why(error)
        raise DataError(f"{path} is not readable Python: {reason}.") from error
    lists = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            for fold in FOLDS:
                if node.targets[0].id == f"standard_{fold}_fold":
                    try:
                        lists[fold] = _ids(path, fold, ast.literal_eval(node.value))
                    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError) as error:
                        raise DataError(f"{path}: standard_{fold}_fold is not a plain list of ids.") from error
    return lists


def _ids(path: Path, name: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(video, str) for video in value):
        raise DataError(f"{path}: '{name}' is not a list of video ids.")
    return tuple(value)


def _names(lists: Iterable[str]) -> str:
    """The names of some lists, of which a file may have very many."""
    names = sorted(lists)
    return ", ".join(names[:20]) + (", …" if len(names) > 20 else "") or "none"
