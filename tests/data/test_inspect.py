"""The data doctor: each fact against a data set whose faults are known."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from datasets import WIDTHS, write_csd, write_dataset

from emotiwave_core.cli import emotiwave
from emotiwave_core.data.inspect import inspect_file, inspect_folder
from emotiwave_core.errors import DataError

COLUMNS = ["sentiment", "happy", "sad"]


@pytest.fixture
def sick(tmp_path: Path) -> Path:
    """A data set of three videos with one fault of each kind."""
    nan, inf = math.nan, math.inf
    labels = {
        "a": ([[1, 2, 1], [0, 0, 0]], [[-0.5, 1], [0.5, 2]]),
        "b": ([[0, 1, 1], [nan, nan, 1]], [[3, 4], [0, 1]]),
        "d": ([[-1, 0, 3]], [[0, 1]]),
    }
    write_csd(tmp_path / "labels.csd", labels, COLUMNS)
    audio = {
        "a": ([[nan, 0], [nan, -inf], [1, 1]], [[0, 0.1], [0.1, 0.2], [0.2, 0.3]]),
        "b": ([[0, 0], [0, 0]], [[0.5, 0.6], [0.3, 0.3]]),
        "c": ([[1, inf], [1, 1]], [[0, 0.1], [nan, 0.3]]),
    }
    write_csd(tmp_path / "audio.csd", audio, ["pitch", "energy"], root="AU")
    write_csd(tmp_path / "words.csd", {"a": (np.array([[b"sp"], [b"so"], [b"sp"], [b"x"]]), np.zeros((4, 2)))})
    (tmp_path / "folds.json").write_text(json.dumps({"train": ["a"], "valid": ["x"], "test": ["b"]}))
    (tmp_path / "dataset.toml").write_text(
        'name = "Sick"\nsynthetic = true\n[modalities]\naudio = "audio.csd"\n[labels]\nfile = "labels.csd"\n'
        '[folds]\nfile = "folds.json"\n'
    )
    return tmp_path


def test_a_file_is_described(sick: Path) -> None:
    """Root, ids, width, steps, rate, NaN and infinities by column, and zero-only ids are as they were written."""
    facts = inspect_folder(sick)["files"]["audio.csd"]
    wanted = {
        "role": "audio",
        "bytes": (sick / "audio.csd").stat().st_size,
        "root": "AU",
        "ids": 3,
        "videos": 3,
        "width": 2,
        "kind": "numbers",
        "columns": ["pitch", "energy"],
        "steps": 7,
        "steps_of_an_id": {"shortest": 2, "median": 2.0, "longest": 3},
        "seconds_of_a_step": 0.1,
        "hertz": 10.0,
        "lowest_start": 0.0,
        "last_end": 0.6,
        "nan": {"pitch": 2},
        "inf": {"energy": 2},
        "zero_only_ids": 1,
    }
    assert {key: facts[key] for key in wanted} == wanted


def test_the_dirt_of_intervals_is_counted(sick: Path) -> None:
    """Starts below 0, instants, reversed and infinite intervals, disorder and overlaps are counted."""
    files = inspect_folder(sick)["files"]
    assert files["audio.csd"]["intervals"] == {
        "below 0": 0,
        "of zero length": 1,
        "reversed": 0,
        "not finite": 1,
        "ids out of order": 1,
        "ids with overlaps": 0,
    }
    found = files["labels.csd"]["intervals"]
    assert (found["below 0"], found["ids out of order"], found["ids with overlaps"]) == (1, 1, 1)
    assert files["words.csd"]["intervals"]["ids out of order"] == 0  # equal starts are in order
    path = write_csd(sick / "r.csd", {"v": ([[1.0], [1.0]], [[2, 1], [-math.inf, 1]])})
    facts = inspect_file(path, None, None)
    assert (facts["intervals"]["reversed"], facts["intervals"]["not finite"], facts["lowest_start"]) == (1, 1, None)


def test_the_balance_of_the_classes_is_told(sick: Path) -> None:
    """Columns, their source, rows, each target's count and its argmax share, and rows without any emotion."""
    assert inspect_folder(sick)["files"]["labels.csd"]["labels"] == {
        "columns": COLUMNS,
        "source": "the file's 'dimension names'",
        "notes": [],
        "targets": ["happy", "sad"],
        "kind": "intensities",
        "kind_source": "2 columns of numbers from 0 up",
        "rows": 4,
        "not_finite": 1,
        "present": {"happy": 2, "sad": 3},
        "mean": {"happy": 0.75, "sad": 1.25},
        "argmax": {"happy": 3, "sad": 1},
        "no_emotion": 1,
        "highest": 3.0,
        "lowest": 0.0,
    }


def test_words_are_counted_with_their_pauses(sick: Path) -> None:
    """A file of words has no NaN but pauses, and one that the data set does not name has no role."""
    facts = inspect_folder(sick)["files"]["words.csd"]
    assert (facts["kind"], facts["pauses"], facts["role"], facts["steps"]) == ("words", 2, None, 4)
    assert "nan" not in facts
    described = (sick / "dataset.toml").read_text()
    (sick / "dataset.toml").write_text(f'words = "words.csd"\n{described}')
    assert inspect_folder(sick)["files"]["words.csd"]["role"] == "words"


def test_ids_are_compared_between_the_files(sick: Path) -> None:
    """The counts of videos in any and in all files, of those that each lacks, and examples are told."""
    assert inspect_folder(sick)["ids"] == {
        "any_file": 4,
        "all_files": 1,
        "missing_from": {"audio.csd": 1, "labels.csd": 1, "words.csd": 3},
        "examples_missing": {"audio.csd": ["d"], "labels.csd": ["c"], "words.csd": ["b", "c", "d"]},
    }


def test_folds_are_held_against_the_labels(sick: Path) -> None:
    """Videos and rows of each fold, ids without labels, and videos in no fold."""
    assert inspect_folder(sick)["folds"] == {
        "file": "folds.json",
        "in_two_folds": [],
        "videos": {"train": 1, "valid": 1, "test": 1},
        "rows": {"train": 2, "valid": 0, "test": 2},
        "ids_without_labels": {"train": [], "valid": ["x"], "test": []},
        "videos_in_no_fold": 1,
        "rows_in_no_fold": 1,
    }


def test_folds_to_rotate_are_no_fault(sick: Path) -> None:
    """A file of fold0, fold1, … is told by its first rotation."""
    (sick / "folds.json").write_text(json.dumps({"fold0": ["a"], "fold1": ["b"], "fold2": ["d"]}))
    folds = inspect_folder(sick)["folds"]
    assert (folds["rotation"], folds["rows"]) == (0, {"train": 1, "valid": 2, "test": 2})
    result = CliRunner().invoke(emotiwave, ["data", "inspect", str(sick)])
    assert "folds, from folds.json, rotation 0" in result.stdout
    assert result.exit_code == 0


def test_folds_that_overlap_are_a_fault(sick: Path) -> None:
    """All videos in two folds are told, the first in a sentence, and the command leaves with 3."""
    (sick / "folds.json").write_text(json.dumps({"train": ["a", "d"], "valid": ["b", "a"], "test": ["d"]}))
    folds = inspect_folder(sick)["folds"]
    assert folds["in_two_folds"] == ["a", "d"]
    assert "'a' in both 'train' and 'valid'" in folds["error"]
    assert CliRunner().invoke(emotiwave, ["data", "inspect", str(sick)]).exit_code == 3


def test_a_broken_file_is_a_fact(sick: Path) -> None:
    """A file that cannot be read is told beside the others, and the command leaves with 3."""
    (sick / "audio.csd").write_bytes(b"<html>")
    facts = inspect_folder(sick)
    assert "not an HDF5 file" in facts["files"]["audio.csd"]["error"]
    assert facts["files"]["labels.csd"]["steps"] == 5
    assert "audio.csd" not in facts["ids"]["missing_from"]
    result = CliRunner().invoke(emotiwave, ["data", "inspect", str(sick)])
    assert result.exit_code == 3
    assert "! " in result.stdout


@pytest.mark.full
def test_a_file_that_no_run_takes_is_a_fault(sick: Path) -> None:
    """Where more entries than a tenth are of another form, the command says what a run says, and leaves with 3."""
    numbers = {key: np.ones((2, 3 if key else 2), dtype=np.float32) for key in range(3)}
    write_csd(sick / "audio.csd", {f"v{key}": (own, np.array([[0, 1], [1, 2]])) for key, own in numbers.items()})
    assert "1 of 3 entries" in inspect_folder(sick)["files"]["audio.csd"]["refused"]
    result = CliRunner().invoke(emotiwave, ["data", "inspect", str(sick)])
    assert result.exit_code == 3
    assert "  ! audio.csd: 1 of 3 entries are of another form than the rest, which is more than 10%" in result.stdout


def test_a_broken_description_is_a_fact(sick: Path) -> None:
    """Without a valid dataset.toml the files are still told, and what is wrong with it."""
    (sick / "dataset.toml").write_text("x = 1")
    facts = inspect_folder(sick)
    assert "unknown key 'x'" in facts["problem"]
    assert (facts["dataset"], facts["folds"], facts["files"]["audio.csd"]["role"]) == (None, None, None)


@pytest.mark.parametrize("described", [True, False])
def test_a_folder_that_is_no_data_set_is_a_fault(sick: Path, described: bool) -> None:
    """Files of which nothing says what they are for are told, and the command leaves with 3, in text and in JSON."""
    (sick / "dataset.toml").write_text("x = 1") if described else (sick / "dataset.toml").unlink()
    (sick / "labels.csd").rename(sick / "mine.csd")
    (sick / "audio.csd").rename(sick / "yours.csd")
    for arguments in ([], ["--json"]):
        result = CliRunner().invoke(emotiwave, ["data", "inspect", str(sick), *arguments])
        assert result.exit_code == 3
        assert "yours.csd" in result.stdout


def test_a_data_set_without_labels_is_told(tmp_path: Path) -> None:
    """Its files have their roles, and the text says that training needs labels and predicting does not."""
    write_csd(tmp_path / "a.csd", {"v": ([[1.0]], [[0, 1]])})
    (tmp_path / "dataset.toml").write_text('[modalities]\nvoice = "a.csd"\n[folds]\nfile = "folds.json"\n')
    (tmp_path / "folds.json").write_text(json.dumps({"train": ["v"], "valid": ["w"], "test": ["x"]}))
    facts = inspect_folder(tmp_path)
    assert (facts["files"]["a.csd"]["role"], facts["folds"]["rows"]["train"]) == ("voice", 0)
    result = CliRunner().invoke(emotiwave, ["data", "inspect", str(tmp_path)])
    assert result.exit_code == 0
    assert "predicting needs none" in result.stdout


def test_files_of_one_name_in_two_folders_are_told_apart(tmp_path: Path) -> None:
    """Files are named by their place in the folder, so that equal names do not hide each other."""
    for name in ("voice", "face"):
        (tmp_path / name).mkdir()
        write_csd(tmp_path / name / "data.csd", {name: ([[1.0]], [[0, 1]])})
    write_csd(tmp_path / "labels.csd", {"v": ([[1.0]], [[0, 1]])}, ["happy"])
    (tmp_path / "dataset.toml").write_text(
        '[modalities]\nvoice = "voice/data.csd"\nface = "face/data.csd"\n[labels]\nfile = "labels.csd"\n'
    )
    files = inspect_folder(tmp_path)["files"]
    assert {name: file["role"] for name, file in files.items()} == {
        "labels.csd": "labels",
        "voice/data.csd": "voice",
        "face/data.csd": "face",
    }


def test_a_folder_without_data_is_refused(tmp_path: Path) -> None:
    """A folder that holds no file of a known form, or is none, is an error."""
    with pytest.raises(DataError, match=r"holds no file of a known form"):
        inspect_folder(tmp_path)
    with pytest.raises(DataError, match="no such file or folder"):
        inspect_folder(tmp_path / "none")


def test_json_and_text_tell_the_same(sick: Path) -> None:
    """`--json` is exactly the facts, as strict JSON, and every count of it stands in the text too."""
    facts = inspect_folder(sick)
    result = CliRunner().invoke(emotiwave, ["data", "inspect", str(sick), "--json"])
    assert result.exit_code == 0

    def refuse(name: str) -> Any:
        raise AssertionError(name)

    assert json.loads(result.stdout, parse_constant=refuse) == facts
    text = CliRunner().invoke(emotiwave, ["data", "inspect", str(sick)]).stdout
    for line in (
        "Sick (synthetic) in",
        "audio.csd  audio,",
        "words.csd  not used by the data set",
        "root 'AU', 3 ids of 3 videos, 2 columns of numbers",
        "7 steps; of an id 2 to 3, median 2, 0.1 s each (10 Hz)",
        "NaN 2 in 1 columns (pitch 2); infinite 2 in 1 columns (energy 2); ids of zeros only: 1",
        "2 pauses 'sp' (50.0%)",
        "columns sentiment, happy, sad, from the file's 'dimension names'",
        "4 rows, 1 without any emotion, 1 not finite",
        "4 videos, 1 of them in all files",
        "3 missing from words.csd, such as b, c, d",
        "valid 1 videos, 0 rows; 1 without labels (x)",
        "in none: 1 videos, 1 rows; no video is in two folds",
    ):
        assert line in text


def test_what_files_say_cannot_steer_a_terminal(tmp_path: Path) -> None:
    """Escape sequences in ids, roots and column names are printed as text, and `--json` stays valid."""
    columns = ["happy\x1b[31m", "sad\u202e"]
    write_csd(tmp_path / "CMU_MOSEI_Labels.csd", {"\x1b]0;x\x07": ([[1, 0]], [[0, 1]])}, columns, root="\x1b[2J")
    write_csd(tmp_path / "b.csd", {"v": ([[1, 0]], [[0, 1]])}, columns)
    for arguments in ([], ["--json"]):
        result = CliRunner().invoke(emotiwave, ["data", "inspect", str(tmp_path), *arguments])
        assert "\x1b" not in result.stdout
        assert result.stdout
    json.loads(result.stdout)


def test_the_tiny_data_set_is_healthy(tmp_path: Path) -> None:
    """The data set that other tests train on has no fault but the ids it is meant to lack."""
    facts = inspect_folder(write_dataset(tmp_path))
    assert facts["problem"] is None
    assert facts["ids"]["missing_from"] == {**{f"{name}.csd": 1 for name in WIDTHS}, "labels.csd": 0}
    assert all(not file["nan"] and not file["inf"] for file in facts["files"].values())
    assert facts["folds"]["videos_in_no_fold"] == 0
