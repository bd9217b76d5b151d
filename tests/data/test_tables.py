"""Tables: which column is what, as their names tell; no cell is a silent NaN, and what is not clear is an error."""

from pathlib import Path

import numpy as np
import pytest
from file_damage import one_sentence, some_damage
from sound_tables import FUNCTIONALS, INDEX, LABELS, STEPS, TABLES, WHOLE

from emotiwave_core.data.formats.reader import Contents, Reader, Source, contents_of, open_reader
from emotiwave_core.errors import DataError


def opened(folder: Path, text: str | bytes, name: str = "t.csv", *, labels: bool = False, **source: object) -> Reader:
    """The reader of a table with this content."""
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return open_reader(Source(folder / name, is_labels=labels, **source))  # type: ignore[arg-type]


def test_a_label_table_tells_all_that_it_has(tmp_path: Path) -> None:
    """Rows by id with times, one column for each class, groups and folds; an empty cell is no class, and is counted."""
    file = opened(tmp_path, LABELS, labels=True)
    assert file.keys == ("v1", "v2", "v3")
    assert file.dimension_names == ["happy", "sad"]
    assert (file.label_kind, file.has_times) == ("classes", True)
    np.testing.assert_array_equal(file.features("v1"), [[1, 0], [0, 1]])
    np.testing.assert_array_equal(file.intervals("v1"), [[0, 1.5], [1.5, 3]])
    assert np.isnan(file.features("v3")).all()
    assert file.groups == {"v1": "ann", "v2": "bob", "v3": "cy"}
    assert file.folds == {"train": ("v1",), "valid": ("v2",), "test": ("v3",)}
    assert file.notes == (
        "t.csv: ids from 'id'; labels from 'emotion' (2 classes); times from 'start', 'end'; groups from 'speaker'; "
        "folds from 'split'; not read: 'text'.",
        "1 of 4 rows of t.csv hold no label.",
    )


def test_an_audformat_index_is_read(tmp_path: Path) -> None:
    """Media files lose folder and suffix where that is one to one, times are texts of days; NaT ends a whole file."""
    file = opened(tmp_path, INDEX)
    assert file.keys == ("a", "b")
    np.testing.assert_array_equal(file.intervals("b"), [[0, 2.25]])
    file = opened(tmp_path, INDEX.replace("audio/b.wav", "more/a.mpg"))
    assert file.keys == ("audio/a", "more/a")
    whole = INDEX.replace("0 days 00:00:01.500000", "NaT").replace("0 days 00:00:02.250000", "NaT")
    assert not opened(tmp_path, whole).has_times


def test_features_are_steps_by_a_column_of_times(tmp_path: Path) -> None:
    """A step lasts to the next one of its id, the last one as long as they usually do; an empty cell is counted NaN."""
    file = opened(tmp_path, STEPS)
    np.testing.assert_allclose(file.intervals("a"), [[0, 0.1], [0.1, 0.2], [0.2, 0.3]])
    np.testing.assert_array_equal(file.features("a"), [[100, 1], [np.nan, 2], [90, 3]])
    np.testing.assert_array_equal(file.features("a", slice(1, 2)), [[np.nan, 2]])
    assert file.notes[-1] == "1 of 4 rows of t.csv lack a number."


def test_functionals_are_one_step_of_a_whole_file(tmp_path: Path) -> None:
    """A table without times has entries whole."""
    file = opened(tmp_path, FUNCTIONALS, "t.tsv")
    assert (file.keys, file.has_times, file.width) == (("a", "b"), False, 2)


def test_one_table_can_hold_features_and_labels(tmp_path: Path) -> None:
    """A column called label is never among the features, and the table is a data set of its own."""
    features = opened(tmp_path, WHOLE)
    assert features.dimension_names == ["f1", "f2"]
    assert "not read: 'label'" in features.notes[0]
    labels = opened(tmp_path, WHOLE, labels=True)
    assert labels.dimension_names == ["label"]
    assert labels.folds == {"fold0": ("a",), "fold1": ("b",), "fold2": ("c",)}
    assert contents_of(tmp_path / "t.csv") == Contents("t", {"features": "features"}, "labels", None, True)
    (tmp_path / "t.csv").write_text(LABELS)
    assert contents_of(tmp_path / "t.csv") is None


def test_milliseconds_are_told_by_the_name(tmp_path: Path) -> None:
    """A column `start_ms` is in milliseconds, and that is said."""
    file = opened(tmp_path, "id,start_ms,end_ms,happy,sad\na,0,1500,1,0\n")
    np.testing.assert_array_equal(file.intervals("a"), [[0, 1.5]])
    assert "in milliseconds" in file.notes[0]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_what_spreadsheets_write_is_read(tmp_path: Path, mark: bytes, end: str) -> None:
    """Semicolons, decimal commas, a mark before the text and any line ends; commas are said."""
    text = "id;start;end;valence;arousal\nä;0;1,5;0,25;1\nb;0,5;2;-0,5;2\n".replace("\n", end)
    file = opened(tmp_path, mark + text.encode())
    assert file.keys == ("ä", "b")
    np.testing.assert_array_equal(file.read("b").features, [[-0.5, 2]])
    np.testing.assert_array_equal(file.intervals("ä"), [[0, 1.5]])
    assert "t.csv has decimal commas, which are read as points ('valence')." in file.notes


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("id,f1\na,1\nb,2\nc,x\n", r"line 4, column 'f1': 'x' is not a number, and most cells"),
        ("id,f1\na,1\nb,2_0\nc,3\n", r"line 3, column 'f1': '2_0' is not a number"),
        ("id;f1\na;1,000\nb;2,500\n", r"column 'f1': '1,000' could be a thousand or a decimal comma"),
        ("id,f1,f2\na,1\n", r"line 2 has 2 cells, and the header names 3 columns"),
        ("id,f1,f1\na,1,2\n", r"names the column 'f1' twice"),
        ("1,2,3\n4,5,6\n", r"does not name its columns"),
        ("a;b,c\n1;2,3\n", r"has as many ',' as ';'"),
        ("id,f1\n", r"the columns \['id', 'f1'\] and no row"),
        ("", r"is no table"),
        ("f1,f2\n1,2\n", r"no column of ids .its columns: 'f1', 'f2'.; call the one that holds them `id`"),
        ("file,name,f1\na,b,2\n", r"the ids could be in 'file' or 'name'"),
        ('id,f1\n"a,1\n', r"line 2 is damaged"),
        ("id,f1\n,1\n", r"row 1, column 'id': there is no id"),
        ("id,start,end,f1\na,x,1,1\n", r"row 1, column 'start': 'x' is no time"),
        ("id,end,f1\na,1,1\n", r"none for the start"),
        ("id,start_ms,end_s,f1\na,1,1,1\n", r"of several units"),
        ("id,f1\na,\0\n", r"not text"),
    ],
)
def test_each_fault_is_named(tmp_path: Path, text: str, reason: str) -> None:
    """What cannot be read is refused with the file, the line and the column."""
    with pytest.raises(DataError, match=rf"t\.csv.*{reason}"):
        opened(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("id,emotion,label\na,happy,yes\n", r"could be in 'emotion', 'label'; rename columns, or say"),
        ("id,happy,sad,f1\na,1,0,3\n", r"could be in 'happy', 'sad', 'f1'"),
        ("id,mood,weather\na,good,bad\n", r"could be in 'mood', 'weather'"),
        ("id,emotion\na,happy\na,sad\n", r"labels 'a' in 2 rows and has no times"),
        ("id,split,emotion\na,left,happy\n", r"column 'split': 'left' is no fold"),
        ("id,speaker\na,b\n", r"no column of labels"),
    ],
)
def test_unclear_labels_are_an_error_with_the_way_out(tmp_path: Path, text: str, reason: str) -> None:
    """Where several columns could be the labels nothing is guessed, and the columns are named."""
    with pytest.raises(DataError, match=reason):
        assert opened(tmp_path, text, labels=True).folds


def test_columns_can_be_named(tmp_path: Path) -> None:
    """Those that are asked for are read and no others; a name that is not there is answered with those that are."""
    text = "id,happy,sad,mood,f1\na,1,0,good,3\nb,0,1,bad,4\n"
    assert opened(tmp_path, text, labels=True, columns=("sad", "happy")).dimension_names == ["sad", "happy"]
    assert opened(tmp_path, text, labels=True, columns=("mood",)).dimension_names == ["bad", "good"]
    with pytest.raises(DataError, match=r"no column 'sat'. Did you mean 'sad'"):
        opened(tmp_path, text, columns=("sat",))
    with pytest.raises(DataError, match="'mood' holds texts, and is one of several"):
        opened(tmp_path, text, columns=("mood", "f1"))


@pytest.mark.short_rows(2)
@pytest.mark.parametrize("name", TABLES)
def test_a_damaged_table_is_refused_or_read(tmp_path: Path, name: str) -> None:
    """Flipped and cut bytes end in one sentence that names the file, or in rows of the declared width."""

    def read(data: bytes) -> None:
        for labels in (False, True):
            with opened(tmp_path, data, name, labels=labels) as file:
                for key in file.keys:
                    features, intervals = file.read(key)
                    assert features.shape == (len(intervals), file.width)
                assert all(map(len, (file.notes, file.keys)))
                assert len(file.groups) + len(file.folds) >= 0

    for data in some_damage(TABLES[name].encode(), 60):
        one_sentence(lambda data=data: read(data), name)  # type: ignore[misc]


def test_parquet_tells_what_the_csv_tells(tmp_path: Path) -> None:
    """The same table as Parquet gives the same entries, with durations for times and whole numbers for ids."""
    arrow = pytest.importorskip("pyarrow", reason="pyarrow, of the extra `tables`, is not installed")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = {
        "file": ["a.wav", "b.wav"],
        "start": arrow.array([0, 500_000_000], arrow.duration("ns")),
        "end": arrow.array([1_500_000_000, None], arrow.duration("ns")),
        "speaker": [7, 8],
        "emotion": arrow.array(["joy", "anger"]).dictionary_encode(),
    }
    parquet.write_table(arrow.table(table), tmp_path / "t.parquet")
    file = open_reader(Source(tmp_path / "t.parquet", is_labels=True))
    assert (file.keys, file.dimension_names) == (("a", "b"), ["anger", "joy"])
    np.testing.assert_array_equal(file.intervals("a"), [[0, 1.5]])
    np.testing.assert_array_equal(file.intervals("b"), [[0.5, np.nan]])
    assert file.groups == {"a": "7", "b": "8"}
    features = {"id": [1, 1, 2], "time": [0.0, 0.5, 0.0], "f": [1, 2, None], "g": [True, False, True]}
    parquet.write_table(arrow.table(features), tmp_path / "f.parquet")
    file = open_reader(tmp_path / "f.parquet")
    np.testing.assert_array_equal(file.features("2"), [[np.nan, 1]])
    np.testing.assert_array_equal(file.intervals("1"), [[0, 0.5], [0.5, 1]])


def test_a_damaged_parquet_is_refused_or_read(tmp_path: Path) -> None:
    """As for the text: one sentence, or rows of the declared width."""
    arrow = pytest.importorskip("pyarrow", reason="pyarrow, of the extra `tables`, is not installed")
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = {"id": ["a", "b", "b"], "time": [0.0, 0.0, 1.0], "f": [1.5, 2.5, 3.5]}
    parquet.write_table(arrow.table(columns), tmp_path / "t.parquet")
    whole = (tmp_path / "t.parquet").read_bytes()

    def read(data: bytes) -> None:
        with opened(tmp_path, data, "t.parquet") as file:
            assert all(file.features(key).shape[1] == file.width for key in file.keys)

    for data in some_damage(whole, 60):
        one_sentence(lambda data=data: read(data))  # type: ignore[misc]


def test_parquet_without_pyarrow_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The way out is the name of the extra."""
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(Exception, match=r"needs pyarrow: pip install 'emotiwave\[tables\]'"):
        opened(tmp_path, b"PAR1", "t.parquet")
