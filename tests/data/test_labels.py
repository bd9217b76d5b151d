"""Columns of a label file by emotion."""

from pathlib import Path

import numpy as np
import pytest
from datasets import write_csd
from hypothesis import given, settings
from hypothesis import strategies as st

from emotiwave_core.data.dataset import EMOTIONS, Dataset
from emotiwave_core.data.formats.csd import CsdFile
from emotiwave_core.data.prepare.labels import MOSEI_COLUMNS, LabelColumns, label_columns
from emotiwave_core.data.prepare.segments import read_samples
from emotiwave_core.errors import DataError

SWAPPED = ("sentiment", "happy", "sad", "anger", "surprise", "fear", "disgust")


def columns_of(
    folder: Path,
    names: tuple[str, ...] | None,
    width: int = 7,
    targets: tuple[str, ...] | None = EMOTIONS,
    columns: tuple[str, ...] | None = None,
) -> LabelColumns:
    """The columns found in a label file that tells these names."""
    rows = np.arange(width, dtype=np.float32)[None] / 2
    path = write_csd(folder / "labels.csd", {"v": (rows, [[0, 1]])}, None if names is None else list(names))
    with CsdFile(path) as file:
        return label_columns(Dataset("d", folder, {}, path, targets, columns), file, rows)


@settings(deadline=None, max_examples=40)
@given(order=st.permutations(MOSEI_COLUMNS), targets=st.lists(st.sampled_from(EMOTIONS), min_size=1, unique=True))
def test_the_names_in_the_file_decide(
    tmp_path_factory: pytest.TempPathFactory, order: list[str], targets: list[str]
) -> None:
    """Whatever the order of the columns and of the targets, each target is the column of its name."""
    found = columns_of(tmp_path_factory.mktemp("labels"), tuple(order), targets=tuple(targets))
    assert [order[index] for index in found.indices] == targets == list(found.targets)
    assert found.names == tuple(order)
    assert found.source == "the file's 'dimension names'"


def test_the_published_order_is_not_remarked(tmp_path: Path) -> None:
    """Names that are as published give no note."""
    assert columns_of(tmp_path, MOSEI_COLUMNS).notes == ()


def test_another_order_is_said_aloud(tmp_path: Path) -> None:
    """The order with disgust and fear swapped is followed and remarked."""
    found = columns_of(tmp_path, SWAPPED)
    assert dict(zip(found.targets, found.indices, strict=True))["fear"] == 5
    assert len(found.notes) == 1
    assert "surprise, fear, disgust, not in CMU-MOSEI's published order: the file decides" in found.notes[0]


def test_a_description_against_the_file_is_said_aloud(tmp_path: Path) -> None:
    """The file decides where dataset.toml names the columns differently, and a note tells both."""
    found = columns_of(tmp_path, MOSEI_COLUMNS, columns=SWAPPED)
    assert dict(zip(found.targets, found.indices, strict=True))["fear"] == 6
    assert "fear, disgust, but the file says" in found.notes[0]
    assert columns_of(tmp_path, MOSEI_COLUMNS, columns=MOSEI_COLUMNS).notes == ()


def test_a_file_without_names_takes_those_of_the_description(tmp_path: Path) -> None:
    """Names in dataset.toml are used where the file has none, and are given as the source."""
    found = columns_of(tmp_path, None, columns=SWAPPED)
    assert dict(zip(found.targets, found.indices, strict=True))["fear"] == 5
    assert found.source == "'labels.columns' in dataset.toml"


def test_seven_columns_without_names_are_assumed_and_said(tmp_path: Path) -> None:
    """Seven nameless columns are taken in CMU-MOSEI's published order, with a note."""
    found = columns_of(tmp_path, None)
    assert found.names == MOSEI_COLUMNS
    assert "is assumed" in found.notes[0]
    assert "published order" in found.source


def test_without_targets_all_emotions_are_learned(tmp_path: Path) -> None:
    """Targets that dataset.toml does not give are all columns but the sentiment, in the file's order."""
    assert columns_of(tmp_path, SWAPPED, targets=None).targets == SWAPPED[1:]
    assert columns_of(tmp_path, ("Sentiment score", "joy", "fear"), 3, targets=None).targets == ("joy", "fear")


@pytest.mark.parametrize(
    ("names", "width", "targets", "columns", "reason"),
    [
        (None, 5, EMOTIONS, None, "5 label columns without names; give them"),
        (None, 6, EMOTIONS, MOSEI_COLUMNS, "6 label columns, but 'labels.columns' in dataset.toml names 7"),
        (("happy", "sad", "happy"), 3, ("sad",), None, "twice: happy, sad, happy"),
        (("happy", "sad"), 2, ("hapy",), None, "no label column 'hapy'. Did you mean 'happy'"),
    ],
)
def test_what_cannot_be_known_is_an_error(
    tmp_path: Path,
    names: tuple[str, ...] | None,
    width: int,
    targets: tuple[str, ...] | None,
    columns: tuple[str, ...] | None,
    reason: str,
) -> None:
    """Columns that nothing names, or targets that are not there, are refused."""
    with pytest.raises(DataError, match=reason):
        columns_of(tmp_path, names, width, targets, columns)


def test_words_are_not_labels(tmp_path: Path) -> None:
    """A file of words as the label file is refused."""
    path = write_csd(tmp_path / "words.csd", {"v": (np.array([[b"sp"]]), [[0, 1]])})
    with pytest.raises(DataError, match="holds words, not labels"):
        read_samples(Dataset("d", tmp_path, {}, path), "segment")
