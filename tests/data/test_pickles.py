"""Pickles of MMSA and MultiBench: read as pickle itself reads them, and a hostile one runs nothing."""

import os
import pickle
import random
import struct
import time
import tracemalloc
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pickled_data import CLASSES, WIDTHS, mmsa, multibench, renamed, write_pickle

from emotiwave_core.config.recipe import DataSettings
from emotiwave_core.data.corpus import open_corpus
from emotiwave_core.data.dataset import load_dataset
from emotiwave_core.data.formats.pickle_files import MOST_OPCODES, PickledArray, value_of_pickle
from emotiwave_core.data.formats.reader import Source, contents_of, open_reader
from emotiwave_core.errors import DataError
from emotiwave_core.predict.prediction_inputs import inputs_of

SMALL = {"train": 5, "valid": 3, "test": 3}


def reads(path: Path) -> bool:
    """True where all of it is read, False where it is refused by its name."""
    try:
        read_all(path)
        return True
    except DataError as error:
        if str(path) not in str(error):
            raise AssertionError(str(error)) from error
        return False


def read_all(path: Path) -> dict[str, Any]:
    """All that the readers give of a pickle."""
    contents = contents_of(path)
    assert contents is not None
    parts = [*contents.modalities.values(), *([contents.labels] if contents.labels else [])]
    found: dict[str, Any] = {}
    for part in parts:
        with open_reader(Source(path, part)) as file:
            unfit = file.unfit()
            for key in file.keys:
                if key not in unfit:
                    values = file.features(key)
                    assert values.shape == (file.steps(key), file.width)
                    assert len(file.intervals(key)) == len(values)
                    found[f"{part} {key}"] = values.tobytes()
            found[f"{part} columns"] = file.dimension_names
            found["folds"], found["groups"] = dict(file.folds), dict(file.groups)
    return found


@pytest.mark.short_rows(3)
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("numpy1", [False, True], ids=["numpy 2", "numpy 1"])
def test_what_is_read_is_what_pickle_reads(tmp_path: Path, protocol: int, numpy1: bool) -> None:
    """Of each protocol and each NumPy: features to the bit without their padding, ids, groups and folds."""
    content = mmsa({"train": 400, "valid": 3, "test": 3})  # arrays of 77 kB, which stay in the file, and small ones
    path = write_pickle(tmp_path / "unaligned_50.pkl", content, protocol, numpy1)
    assert (b"numpy._core" in path.read_bytes()) == (not numpy1)
    with path.open("rb") as file:
        root = value_of_pickle(file, path.stat().st_size)
        assert {type(root["train"][name]) for name in WIDTHS} == {PickledArray}
    for part in WIDTHS:
        with open_reader(Source(path, part)) as reader:
            for fold, table in content.items():
                for row, key in enumerate(table["id"]):
                    told = table["text_bert"][row, 1].sum() if part == "text" else table[f"{part}_lengths"][row]
                    length = int(told)
                    assert np.array_equal(reader.features(key), table[part][row, :length])
                    assert np.array_equal(reader.features(key, slice(1, 3)), table[part][row, 1 : min(3, length)])
                assert reader.folds[fold] == tuple(table["id"])
            assert reader.groups["v0$_$1"] == "v0"
            assert not reader.has_times


def test_labels_are_what_their_part_says(tmp_path: Path) -> None:
    """Sentiment as a number by default, and by name its classes, whose names the annotations tell."""
    content = mmsa(SMALL)
    path = write_pickle(tmp_path / "a.pkl", content)
    with open_reader(Source(path, "regression_labels")) as reader:
        assert (reader.dimension_names, reader.label_kind) == (["sentiment"], "regression")
        values = [float(reader.features(key)[0, 0]) for key in content["valid"]["id"]]
        assert values == [float(value) for value in content["valid"]["regression_labels"]]
    for part in ("annotations", "classification_labels"):
        with open_reader(Source(path, part)) as reader:
            assert (reader.dimension_names, reader.label_kind) == (list(CLASSES), "classes")
            rows = np.concatenate([reader.features(key) for key in content["train"]["id"]])
            assert [CLASSES[c] for c in rows.argmax(axis=1)] == list(content["train"]["annotations"])
            assert (rows.sum(axis=1) == 1).all()
    contents = contents_of(path)
    assert contents is not None
    assert contents.labels == "regression_labels"
    assert "annotations" in contents.notes[0]


def test_a_pickle_of_multibench_is_read(tmp_path: Path) -> None:
    """Padding in front is cut, clips are numbered by their start, and sentiment is one number for each."""
    content = multibench(SMALL)
    path = write_pickle(tmp_path / "mosei_senti_data.pkl", content)
    clips = {tuple(row[:2]): (fold, n) for fold, table in content.items() for n, row in enumerate(table["id"])}
    with open_reader(Source(path, "audio")) as reader, open_reader(Source(path, "labels")) as labels:
        for video in ("v0", "v1"):
            starts = sorted((float(start), start) for id_, start in clips if id_ == video)
            for number, (_, start) in enumerate(starts):
                fold, row = clips[video, start]
                whole = content[fold]["audio"][row]
                own = reader.features(f"{video}$_${number}")
                assert np.array_equal(own, whole[len(whole) - len(own) :])
                assert whole[: len(whole) - len(own)].any() is np.False_
                assert reader.intervals(f"{video}$_${number}")[-1, 1] == len(whole)  # as in every modality
                assert labels.features(f"{video}$_${number}")[0, 0] == content[fold]["labels"][row, 0, 0]


def test_arrays_of_their_own_lengths_and_missing_ones(tmp_path: Path) -> None:
    """Lists and object arrays of [T, F] are read; None is absent, and another width is unfit by name."""
    tables: dict[str, Any] = {}
    for fold in SMALL:
        arrays = [np.ones((length, 3)) for length in (2, 4, 1)]
        held = np.empty(3, dtype=object)
        held[:] = arrays
        odd = [arrays[0], None, np.ones((2, 7))] if fold == "test" else arrays
        tables[fold] = {"id": [f"{fold}{n}" for n in range(3)], "audio": held, "vision": odd, "text": arrays}
    path = write_pickle(tmp_path / "a.pkl", tables)
    with open_reader(Source(path, "vision")) as reader:
        assert "test1" not in reader.keys
        assert reader.unfit() == {"test2": "7 columns"}
        assert [reader.steps(f"train{n}") for n in range(3)] == [2, 4, 1]
        with pytest.raises(DataError, match="'vision' of 'test2' has 7 columns"):
            reader.features("test2")
    with open_reader(Source(path, "audio")) as reader:
        assert len(reader.keys) == 9


def test_a_pickle_is_a_data_set(tmp_path: Path) -> None:
    """It is packed and split as one; in a folder, dataset.toml names the part that is the labels."""
    content = mmsa()
    write_pickle(tmp_path / "a.pkl", content)
    assert list(load_dataset(tmp_path / "a.pkl").modalities) == ["text", "audio", "visual"]
    files = "".join(f'{name} = {{file = "a.pkl", part = "{name}"}}\n' for name in ("text", "audio"))
    labels = '[labels]\nfile = "a.pkl"\npart = "annotations"\n[folds]\nfile = "a.pkl"\npart = "annotations"\n'
    (tmp_path / "dataset.toml").write_text(f"[modalities]\n{files}{labels}")
    corpus = open_corpus(tmp_path, DataSettings())
    assert (len(corpus.store), corpus.store.targets) == (48, CLASSES)
    assert [len(corpus.rows(fold)) for fold in ("train", "valid", "test")] == [24, 12, 12]
    assert corpus.store.facts.groups is not None
    assert len(set(corpus.store.facts.groups)) == 24


class _Call:
    """An object that is pickled as a call."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.told = function, arguments

    def __reduce__(self) -> Any:
        return self.told


def test_a_command_takes_a_pickle_for_a_data_set_and_a_clip_for_a_recording(tmp_path: Path) -> None:
    """A file that holds all of a data set is told from a recording by its content."""
    clip = tmp_path / "clip.wav"
    clip.write_bytes(b"RIFF")
    given = inputs_of([write_pickle(tmp_path / "a.pkl", mmsa()), clip])
    assert [(one.is_recording, one.features) for one in given] == [(False, ()), (True, ())]


def _op(code: bytes, fuse: bytes) -> bytes:
    """A pickle of opcodes in which FUSE is a text."""
    return b"\x80\x04" + code.replace(b"FUSE", b"X" + struct.pack("<I", len(fuse)) + fuse) + b"."


NUMPY = b"cnumpy.core.multiarray\n_reconstruct\n"


def hostile(fuse: str) -> dict[str, bytes]:
    """Pickles that would make the file `fuse`, or take all of the memory, by all ways that there are."""
    touch = f"touch {fuse}".encode()
    global_, stacked = b"cos\nsystem\n", b"\x8c\x02os\x8c\x06system\x93"
    array = pickle.dumps(np.ones(3), protocol=4)
    return {
        "GLOBAL": _op(global_ + b"FUSE\x85R", touch),
        "STACK_GLOBAL": _op(stacked + b"FUSE\x85R", touch),
        "a GLOBAL that is not called": _op(global_, touch),
        "INST": _op(b"(FUSEios\nsystem\n", touch),
        "OBJ": _op(b"(" + global_ + b"FUSEo", touch),
        "NEWOBJ": _op(global_ + b"FUSE\x85\x81", touch),
        "NEWOBJ_EX": _op(global_ + b"FUSE\x85}\x92", touch),
        "EXT": _op(b"\x82\x01FUSE\x85R", touch),
        "PERSID": _op(b"Pabc\n", touch),
        "BINPERSID": _op(b"FUSEQ", touch),
        "BUILD of a list": _op(b"]}\x8c\x01aFUSEsb", touch),
        "a call by NumPy's own names": _op(
            b"cnumpy.core.multiarray\n_reconstruct\n" + global_ + b"FUSEFUSE\x87R", touch
        ),
        "numpy.load": _op(b"cnumpy\nload\nFUSE\x85R", touch),
        "getattr": _op(b"cbuiltins\ngetattr\nFUSE\x85R", touch),
        "eval": pickle.dumps(_Call(eval, f"__import__('pathlib').Path({fuse!r}).touch()")),
        "in a table that is one": pickle.dumps({**mmsa(SMALL), "x": _Call(os.system, touch.decode())}),
        "an OrderedDict": pickle.dumps(OrderedDict(mmsa(SMALL))),
        "an array of records": pickle.dumps(np.zeros(2, dtype=[("a", "f4"), ("b", "O")])),
        "a long number": _op(b"\x8b" + struct.pack("<i", 1 << 20) + bytes(1 << 20), touch),
        "a text of 4 GB": _op(b"\x8d" + struct.pack("<Q", 1 << 32), touch),
        "bytes of an exabyte": _op(b"\x8e" + struct.pack("<Q", 1 << 60), touch),
        "a frame of an exabyte": _op(b"\x95" + struct.pack("<Q", 1 << 60) + b"N", touch),
        "a place in the memory of 4 billion": _op(b"Nr" + struct.pack("<I", 0xFFFFFFFF), touch),
        "an array of another shape": array.replace(b"K\x03\x85", b"J" + struct.pack("<i", 1 << 30) + b"\x85"),
        "a set": pickle.dumps({1, 2}),
        "a list in itself": _op(b"]\x94h\x00a", touch),
        "a class": pickle.dumps(_Call),
        "out of band": pickle.dumps(pickle.PickleBuffer(bytearray(9)), protocol=5, buffer_callback=lambda _: None),
        "protocol 0": pickle.dumps(mmsa(SMALL), protocol=0),
        "nothing": b"",
        "only a protocol": b"\x80\x04",
    }


NAMES = list(hostile("fuse"))


@pytest.mark.parametrize("name", NAMES)
def test_a_hostile_pickle_runs_nothing_and_is_refused(tmp_path: Path, name: str) -> None:
    """One sentence that names the file; nothing is run, and neither time nor memory are taken."""
    fuse, path = tmp_path / "gone_off", tmp_path / "hostile.pkl"
    path.write_bytes(hostile(str(fuse))[name])
    tracemalloc.start()
    began = time.process_time()
    try:
        with pytest.raises(DataError) as refused:
            contents_of(path)
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert not fuse.exists()
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)
    assert peak < (16 << 20)
    assert time.process_time() - began < 10


def test_the_fuses_are_live(tmp_path: Path) -> None:
    """The battery could tell: pickle itself runs what is in these files."""
    fuse = tmp_path / "gone_off"
    for name in ("GLOBAL", "STACK_GLOBAL", "INST", "OBJ", "eval", "in a table that is one"):
        pickle.loads(hostile(str(fuse))[name])
        assert fuse.exists(), name
        fuse.unlink()


def test_lists_that_hold_each_other_are_walked_once(tmp_path: Path) -> None:
    """Thirty lists, each of the one before twice, would be a billion values; wherever one stands, it is refused."""
    bomb: list[Any] = ["x"]
    for _ in range(30):
        bomb = [bomb, bomb]
    labels = ("annotations", "classification_labels", "regression_labels")
    for part in ("id", *labels, "audio_lengths", "audio", "text_bert"):
        content = mmsa(SMALL)
        content["train"][part] = [bomb] * SMALL["train"]
        began = time.process_time()
        try:
            read_all(write_pickle(tmp_path / f"{part}.pkl", content))
            for label in labels:
                with open_reader(Source(tmp_path / f"{part}.pkl", label)):
                    pass
        except DataError:
            assert part != "text_bert"
        assert time.process_time() - began < 5


@pytest.mark.short_rows(1)
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_damage_is_refused_or_read(tmp_path: Path, protocol: int) -> None:
    """Cut at random places or with bytes changed: DataError or data of a right form, never another exception."""
    whole = renamed(pickle.dumps(mmsa(SMALL), protocol=protocol))
    dice, outcomes = random.Random(protocol), {"read": 0, "refused": 0}
    for number in range(100):
        content = bytearray(whole[: dice.randrange(len(whole))] if number % 5 == 0 else whole)
        for _ in range(number % 5):
            content[dice.randrange(len(content))] = dice.randrange(256)
        path = tmp_path / f"{number}.pkl"
        path.write_bytes(content)
        outcomes["read" if reads(path) else "refused"] += 1
    assert min(outcomes.values()) > 10, outcomes


@pytest.mark.stress
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_byte_of_the_structure_is_refused_or_read(tmp_path: Path, protocol: int) -> None:
    """Each byte of a small pickle turned and cut in turn."""
    whole = pickle.dumps(mmsa({"train": 2, "valid": 1, "test": 1}), protocol=protocol)
    for place in range(len(whole)):
        for content in (whole[:place], whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :]):
            path = tmp_path / f"{place} {len(content)}.pkl"
            path.write_bytes(content)
            reads(path)
            path.unlink()


def test_more_values_than_there_may_be_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of plain numbers there is a limit, which says what to do."""
    assert MOST_OPCODES * 64 <= 1 << 29  # bytes that as many lists take
    monkeypatch.setattr("emotiwave_core.data.formats.pickle_files.MOST_OPCODES", 1000)
    path = write_pickle(tmp_path / "a.pkl", {"train": {"audio": [[0.5] * 2000]}})
    with pytest.raises(DataError, match="more than 1000 values: save long lists of numbers as NumPy arrays"):
        contents_of(path)
