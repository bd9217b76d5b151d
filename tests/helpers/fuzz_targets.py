"""Targets of the fuzzer: each reads bytes as one kind of file.

The law of all: it is read, or refused in one sentence of ours that names it; no other exception, no more than a second
or two. `fuzz.py` leads bytes along new ways through them, `test_fuzz.py` tries what is kept in tests/corpus.
"""

import contextlib
import io
import tomllib  # noqa: F401  (so that it is followed)
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from clips import faces, sound_of, write_clip, write_wav
from damaged_csd import whole_files
from datasets import write_dataset
from file_damage import one_sentence, to_json, to_toml
from pickled_data import mmsa, multibench, write_pickle
from report_fixture import write_run
from safetensors.torch import save
from sound_documents import GOOD, LISTS, MANIFEST, RECIPE, SDK, TABLE
from sound_tables import OF_TOOLS, TABLES, TRANSCRIPTS
from training import REGISTRY

from emotiwave_core.config.flags import override, parse_part, parse_value
from emotiwave_core.config.recipe import Recipe, read_recipe
from emotiwave_core.data.dataset import load_dataset
from emotiwave_core.data.folds import read_folds
from emotiwave_core.data.formats.reader import Source, contents_of, open_reader
from emotiwave_core.data.prepare.options import Options
from emotiwave_core.data.store import store
from emotiwave_core.evaluate.corruptions import find_corruption
from emotiwave_core.evaluate.manifest import parse_manifest
from emotiwave_core.extract.decoder import Decoder
from emotiwave_core.extract.recording import MediaFile
from emotiwave_core.io.atomic import write_json
from emotiwave_core.io.tensors import read_tensors
from emotiwave_core.io.untrusted import parse_json
from emotiwave_core.objectives.settle import make_objective
from emotiwave_core.parts.registry import load_registry
from emotiwave_core.runs.contents import read_run
from emotiwave_core.runs.history import read_history
from emotiwave_core.runs.model_file import ModelFile, check_fitted, check_model_file
from emotiwave_core.runs.schema import parse as parse_record

Target = Callable[[bytes], Any]
Made = tuple[Target, list[bytes]]  # what reads the bytes, and whole documents to begin with


def settings_of(path: Path) -> Any:
    """A recipe and all its parts."""
    return REGISTRY.resolve(Recipe.from_table(read_recipe(path), str(path))).completed()


def named_of(path: Path) -> Any:
    """A registry.toml and its recipes."""
    registry = load_registry(path)
    return [
        one_sentence(lambda name=name: Recipe.from_table(registry.recipe(name), "It"))
        for name in list(registry.recipes)
    ]


def written(path: Path, read: Callable[[Path], Any]) -> Target:
    """A target that reads a file."""

    def target(data: bytes) -> None:
        path.write_bytes(data)
        one_sentence(lambda: read(path))

    return target


def typed(data: bytes) -> None:
    """The flags of a command."""
    part, _, setting = data.decode("utf-8", "surrogateescape").partition("\n")
    one_sentence(lambda: parse_part(part))
    one_sentence(lambda: parse_value(setting))
    one_sentence(lambda: Recipe.from_table(override({}, (setting,), encoder=(part,), fusion=part, dropout=part), "It"))


def described(data: bytes) -> None:
    """The model.json of a run."""

    def read() -> None:
        model = parse_record(data, ModelFile, "It", exact=True)
        check_model_file(model, "It")
        recipe = REGISTRY.resolve(Recipe.from_table(model.recipe, "It")).completed()
        objective = make_objective(recipe.objective, tuple(model.targets))
        check_fitted(model, objective.kind, objective.classes, "It")

    one_sentence(read)


def in_room(name: str, read: Callable[[Path], Any], *seeds: bytes) -> Callable[[Path], Made]:
    """A target that reads one file in an empty folder."""

    def make(room: Path) -> Made:
        (room / "sub").mkdir()
        for file in ("a.csd", "sub/b.csd", "l.csd", "w.csd", "folds.json"):
            (room / file).touch()
        return written(room / name, read), list(seeds)

    return make


def in_run(*names: str) -> Callable[[Path], Made]:
    """A target that reads what a report shows of a run; the first byte says which of its files the others are."""

    def make(room: Path) -> Made:
        run = write_run(room / "run", modalities=("text",), classes=("happy", "sad"), each=1, epochs=1)
        whole = {name: (run / name).read_bytes() for name in names}

        def target(data: bytes) -> None:
            name = names[data[0] % len(names)] if data else names[0]
            (run / name).write_bytes(data[1:])
            one_sentence(lambda: (read_history(run), read_run(run)), run)
            (run / name).write_bytes(whole[name])

        return target, [bytes([number]) + whole[name] for number, name in enumerate(names)]

    return make


def everything(source: Source, *named: object) -> None:
    """All that a reader tells of a file, and all that it holds."""

    def read() -> None:
        with open_reader(source) as file:
            for key in file.keys:
                features, intervals = file.read(key)
                assert features.shape == (len(intervals), file.width)
                assert len(file.features(key, slice(1, 3))) == len(features[1:3])
            assert isinstance((file.notes, file.unfit(), file.groups, file.folds, file.metadata), tuple)

    one_sentence(read, *named)


def of_forms(forms: dict[str, bytes]) -> Callable[[Path], Made]:
    """A target that reads all of a transcript or a table; the first byte says of which name, and as what."""
    names = list(forms)

    def make(room: Path) -> Made:
        def target(data: bytes) -> None:
            number = data[0] if data else 0
            path = room / names[number // 2 % len(names)]
            path.write_bytes(data[1:])
            everything(Source(path, is_labels=bool(number % 2)), path.name)

        seeds = [
            bytes([2 * number + is_labels]) + forms[name] for number, name in enumerate(names) for is_labels in (0, 1)
        ]
        return target, seeds

    return make


def in_store(room: Path) -> Made:
    """A target that opens a store whose store.json is other, and signed."""
    (room / "data").mkdir()
    path = store.open_store(load_dataset(write_dataset(room / "data")), Options(), room / "stores").path
    whole = (path / "store.json").read_bytes()

    def target(data: bytes) -> None:
        try:
            facts = parse_json(data)
            if isinstance(facts, dict):
                facts.pop("facts_sha256", None)
                write_json(path / "store.json", facts | {"facts_sha256": store._sha256_of_json(facts)})
            one_sentence(lambda: store._open(path, path.name))
        except store.DAMAGED:
            return  # it is built anew

    return target, [whole]


def csd(room: Path) -> Made:
    """A target that reads all of a `.csd` file."""
    path = room / "features.csd"

    def target(data: bytes) -> None:
        path.write_bytes(data)
        everything(Source(path), path.name)

    return target, list(whole_files().values())


def arrays(room: Path) -> Made:
    """A target that reads an array of NumPy, or an archive of them."""

    def target(data: bytes) -> None:
        folder = room / "arrays"
        folder.mkdir(exist_ok=True)
        for suffix in (".npy", ".npz"):
            (folder / f"a{suffix}").unlink(missing_ok=True)
        path = folder / ("a.npz" if data.startswith(b"PK") else "a.npy")
        path.write_bytes(data)
        everything(Source(folder), path.name, folder.name)

    values = np.arange(12, dtype=np.float32).reshape(4, 3)
    seeds = []
    for write in (np.save, np.savez, np.savez_compressed):
        for array in (values, values.astype(">f8"), np.asfortranarray(values), values[:, 0].astype(np.int16)):
            file = io.BytesIO()
            write(file, array)
            seeds.append(file.getvalue())
    return target, seeds


def pickled(room: Path) -> Made:
    """A target that reads every part of a pickle."""
    path = room / "data.pkl"

    def target(data: bytes) -> None:
        path.write_bytes(data)
        contents = one_sentence(lambda: contents_of(path), path.name)
        if contents is None:
            everything(Source(path), path.name)
            return
        for part in (*contents.modalities.values(), contents.labels, contents.words):
            if part is not None:
                everything(Source(path, part), path.name)

    few = {"train": 3, "valid": 1, "test": 1}
    return target, [
        write_pickle(path, content, protocol).read_bytes()
        for content in (mmsa(few), multibench(few), {"train": [1.5, "a"]})
        for protocol in (2, 4)
    ]


def weights(room: Path) -> Made:
    """A target that reads weights."""
    tensors = {"a.weight": torch.ones(2, 3), "b": torch.zeros(0, dtype=torch.int64), "c": torch.ones(4).bfloat16()}
    path = room / "model.safetensors"

    def target(data: bytes) -> None:
        path.write_bytes(data)
        one_sentence(lambda: read_tensors(path), path.name)

    return target, [save(tensors), save(tensors, {"format": "pt"}), save({})]


def media(room: Path) -> Made:
    """A target that decodes a second of a recording in the process that is there for it; its end is a refusal too."""
    decoder = Decoder()
    path = room / "clip.mp4"

    def read() -> None:
        recording = MediaFile(path, decoder)
        for pieces in (
            recording.sound(16_000) if recording.facts["sound"] else (),
            recording.frames(5.0) if recording.facts["picture"] else (),
        ):
            with contextlib.closing(iter(pieces)) if not isinstance(pieces, tuple) else contextlib.nullcontext():
                for number, _ in enumerate(pieces):
                    if number > 3:
                        break

    def target(data: bytes) -> None:
        path.write_bytes(data)
        one_sentence(read, path.name)

    made = [
        write_wav(room / "a.wav", sound_of(0.1)),
        write_clip(room / "a.mp4", sound=sound_of(0.2), pictures=faces(0.2)),
        write_clip(room / "a.webm", sound=sound_of(0.2)),
    ]
    return target, [one.read_bytes() for one in made]


CORPUS = Path(__file__).parents[1] / "corpus"  # a folder for each target: small files that we made or the fuzzer found


def kept(target: str) -> list[bytes]:
    """The files of a target that are kept."""
    return [path.read_bytes() for path in sorted((CORPUS / target).glob("*"))]


TARGETS: dict[str, Callable[[Path], Made]] = {
    "recipe": in_room("recipe.toml", settings_of, to_toml(RECIPE), b"encoder = 'mean'\ndropout = {name = 'none'}"),
    "registry": in_room("extra.toml", named_of, to_toml(TABLE)),
    "dataset": in_room("dataset.toml", lambda path: load_dataset(path.parent), GOOD.encode()),
    "folds_json": in_room("f.json", lambda path: (one_sentence(lambda: read_folds(path)), read_folds(path, 0)),
                          to_json(LISTS)),
    "folds_py": in_room("f.py", read_folds, SDK.encode()),
    "flags": lambda _: (typed, [b"bilstm:hidden_size=3,x=[1, {a = 'b'}]\ntraining.epochs=5", b"text=mean\nseed=1"]),
    "model_json": lambda _: (described, [to_json({
        "format": 1, "recipe": RECIPE, "features": {"text": 3}, "steps": {"text": 9}, "targets": ["a", "b"],
        "thresholds": {"a": 0.5, "b": 0.1}, "emotiwave": "0.1.0", "plugins": [], "classes": ["a", "b"], "parameters": 9,
        "data": {"fingerprint": "3f", "sources": {}}, "best": {"epoch": 1, "select": "mean", "score": 0.5,
        "mean_macro_f1": 0.5, "complete_macro_f1": 0.5}})]),
    "store_json": in_store,
    "manifest": lambda _: (
        lambda data: one_sentence(lambda: parse_manifest(data, find_corruption("frames"), "It")),
        [MANIFEST.to_bytes()],
    ),
    "report_json": in_run("scores.json", "data.json", "explanation.json", "protocols/noise.json", "history.jsonl"),
    "predictions": in_run("predictions.csv"),
    "csd": csd,
    "arrays": arrays,
    "pickle": pickled,
    "safetensors": weights,
    "media": media,
    "transcripts": of_forms(TRANSCRIPTS),
    "tables": of_forms({name: text.encode() for name, text in {**TABLES, **OF_TOOLS}.items()}),
}  # fmt: skip
