"""Ids that are a path, an option, markup, a formula, a book or another id's twin: through a whole run."""

import csv
import json
import re
from functools import partial
from pathlib import Path

import h5py
import pytest
from csd_in_child import TOML
from datasets import write_csd, write_dataset
from forked import Ended, emotiwave, forked
from hostile_csd import FEATURES, INTERVALS

SHOWN = [
    "<script>alert(1)",
    '"><img src=x onerror=alert(1)>',
    "a\nb",
    "a\r\x1b[31mb\x07",
    "..",
    "x" * 10_000,
    "{{7*7}}",
]
OTHERS = ["-rf", "--help", "..\\..\\x", "=1+1", "$(touch x)", "`touch x`", "%s%n", "'&quot;", "\u202eabc", "a\u2028b"]
TWINS = ["\u00e9", "e\u0301", "trail", "trail ", " trail", "id[0]", "id[00]"]
IDS = [*OTHERS, *TWINS, *SHOWN]
SHORT = ["run", "--encoder", "mean", "--fusion", "mean", "--set", "training.epochs=1", "--device", "cpu"]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set with these ids, the shown ones in the test fold, and a run of one epoch on it."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "data").mkdir()
    data = write_dataset(folder / "data", videos=len(IDS), missing=False)
    names = json.loads((data / "folds.json").read_text())
    renamed = dict(zip([video for fold in names.values() for video in fold], IDS, strict=True))
    for path in data.glob("*.csd"):
        with h5py.File(path, "a") as file:
            for old, new in renamed.items():
                file["anything/data"].move(old, new)
    videos = [*dict.fromkeys("id" if name.startswith("id[") else name for name in IDS if name not in SHOWN)]
    folds = {"train": [*videos[:9], "../../x"], "valid": videos[9:], "test": SHOWN}
    (data / "folds.json").write_text(json.dumps(folds))
    ended = said_by(folder, *SHORT, "--data", data, "--out", folder / "run")
    assert ended.code == 0, ended.err
    return folder


def said_by(folder: Path, *arguments: object) -> Ended:
    """The output of the program, in which no control character may be."""
    work = partial(emotiwave, *arguments)
    ended = forked(work, folder=folder, environment={"EMOTIWAVE_CACHE": str(folder / "cache")})
    for text in (ended.out, ended.err):
        assert not [c for c in text if not c.isprintable() and c != "\n"], text
        assert "Traceback" not in text
        assert "Internal error" not in text
    return ended


def test_a_run_stays_in_its_folder(hostile: Path) -> None:
    """Nothing is written outside of the run's folder and the cache, and no file is named after an id."""
    assert {path.name for path in hostile.iterdir()} == {"data", "run", "cache"}
    assert len(list((hostile / "data").iterdir())) == 6
    assert {path.name for path in hostile.parent.iterdir() if path.name == "x"} == set()
    names = [path.name for path in (*hostile.glob("run/**/*"), *hostile.glob("cache/**/*"))]
    assert all(re.fullmatch(r"[\w.+-]+", name) for name in names), names


def test_predictions_hold_every_id_as_it_is(hostile: Path) -> None:
    """The table can be read again, and its ids are those of the data, to the last control character."""
    with (hostile / "run" / "predictions.csv").open(newline="", encoding="utf-8") as file:
        found = {row["id"] for row in csv.DictReader(file)}
    assert found == {f"{video}[{number}]" for video in SHOWN for number in (0, 1)}


def test_pages_hold_no_markup_of_an_id(hostile: Path) -> None:
    """HTML in an id stands escaped in the report, before and after `explain`."""
    assert said_by(hostile, "explain", hostile / "run").code == 0
    pages = list(hostile.glob("run/**/*.html"))
    assert pages
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert "<script>alert(1)" not in text
        assert not re.search(r"<img[^>]*onerror", text)


@pytest.mark.short_rows(2)
@pytest.mark.parametrize("video", SHOWN)
def test_each_sample_is_explained_by_its_id(hostile: Path, video: str) -> None:
    """`explain --sample` finds an id as it stands in predictions.csv, and says it without control characters."""
    ended = said_by(hostile, "explain", hostile / "run", "--sample", f"{video}[0]")
    assert ended.code == 0, ended.err
    assert {path.name for path in hostile.iterdir()} == {"data", "run", "cache"}


def test_an_id_both_whole_and_numbered_is_refused(tmp_path: Path) -> None:
    """`id` with two rows and `id[0]` would be one sample twice, and that is said."""
    keys = ["id", "id[0]"]
    write_csd(tmp_path / "audio.csd", dict.fromkeys(keys, (FEATURES, INTERVALS)))
    write_csd(tmp_path / "labels.csd", dict.fromkeys(keys, (FEATURES[:2], INTERVALS[:2])), ["x", "y", "z"])
    (tmp_path / "dataset.toml").write_text(TOML.format(words=""))
    ended = said_by(tmp_path, "data", "prepare", tmp_path)
    assert ended.code == 3
    assert "labels a segment twice" in ended.said


def test_an_id_with_a_slash_is_refused(tmp_path: Path) -> None:
    """HDF5 makes a group in a group of it: no id, and that is said of the file."""
    write_csd(tmp_path / "audio.csd", {"a/b": (FEATURES, INTERVALS), "v": (FEATURES, INTERVALS)})
    write_csd(tmp_path / "labels.csd", {"v": (FEATURES[:2], INTERVALS[:2])}, ["x", "y", "z"])
    (tmp_path / "dataset.toml").write_text(TOML.format(words=""))
    for command in ("inspect", "prepare"):
        ended = said_by(tmp_path, "data", command, tmp_path)
        assert ended.code == 3
        assert "audio.csd: 'a' has no 'features'" in ended.out + ended.err
