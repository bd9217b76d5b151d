"""The first dataset.toml of a folder: what its files tell is written, and what they do not tell is said."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from emotiwave_core.data.dataset import STANDARD_LABELS, Dataset, load_dataset
from emotiwave_core.data.formats.reader import Reader, Source, open_reader
from emotiwave_core.data.prepare.labels import label_columns
from emotiwave_core.data.recognise import DESCRIPTION, LABELS, WORDS, Recognition, known_reader, recognise
from emotiwave_core.errors import DataError, EmotiwaveError, SettingsError, printable
from emotiwave_core.io.atomic import write_text

LINE = 110  # characters of a comment


class Description(NamedTuple):
    """A written dataset.toml, and what it does not say because nothing told it."""

    path: Path
    unknown: list[str]


def write_description(folder: Path) -> Description:
    """Write the dataset.toml of a folder. SettingsError where there is one; DataError where nothing is recognised."""
    path = folder / DESCRIPTION
    if os.path.lexists(path):
        raise SettingsError(f"{path} is there already, and is not written over; `emotiwave data inspect` tells of it.")
    recognised = _recognised(folder)
    if not any(known_reader(entry) for entry in folder.iterdir()):
        raise DataError(f"{folder} holds no file of a known format, so there is nothing to describe.")
    unknown = [*recognised.doubts]
    lines = list(_lines(folder, recognised, unknown))
    told = [line for sentence in unknown for line in _comment(f"NOT KNOWN: {sentence}.")]
    write_text(path, "\n".join([*_comment(_HEAD), *told, "", *lines]) + "\n")
    if not unknown:
        try:
            load_dataset(folder)
        except EmotiwaveError as error:
            unknown.append(str(error))
    return Description(path, unknown)


_HEAD = "Written by `emotiwave data init`. The keys of a dataset.toml stand in docs/data.md; `emotiwave data inspect` "
_HEAD += "shows what it makes of the files."


def _recognised(folder: Path) -> Recognition:
    """The files of a folder; SettingsError where they need no description."""
    if any((folder / name).is_file() for name in STANDARD_LABELS):
        raise SettingsError(f"{folder} holds CMU-MOSEI's files under their usual names, which need no {DESCRIPTION}.")
    recognised = recognise(folder)
    if recognised.whole is not None:
        raise SettingsError(
            f"{recognised.whole} is a data set of its own, and needs no {DESCRIPTION}: give it, or {folder}, as --data."
        )
    return recognised


def _lines(folder: Path, recognised: Recognition, unknown: list[str]) -> Iterator[str]:
    yield f"name = {_text(folder.resolve().name)}"
    if recognised.words is not None:
        yield from _about(folder, WORDS, recognised.words, unknown)
        yield f"words = {_text(_name(folder, recognised.words))}"
    yield "\n[modalities]"
    for name, source in recognised.modalities.items():
        yield from _about(folder, name, source, unknown)
        yield f"{_key(name)} = {_text(_name(folder, source))}"
    if not recognised.modalities:
        yield '# audio = "FILE OR FOLDER"'
    yield from _label_lines(folder, recognised, unknown)
    yield from _fold_lines(folder, recognised)
    if recognised.notes[-1:] and "Not used" in recognised.notes[-1]:
        yield ""
        yield from _comment(recognised.notes[-1])


def _label_lines(folder: Path, recognised: Recognition, unknown: list[str]) -> Iterator[str]:
    if recognised.labels is None:
        if not any(doubt.startswith(f"'{LABELS}'") for doubt in recognised.doubts):
            unknown.append(
                "which file holds the labels; without [labels] the data can be predicted, but not trained on"
            )
        yield '\n# [labels]\n# file = "FILE"'
        return
    yield "\n[labels]"
    yield from _about(folder, LABELS, recognised.labels, unknown)
    yield f"file = {_text(_name(folder, recognised.labels))}"
    try:
        with open_reader(Source(recognised.labels.path, is_labels=True)) as file:
            yield from _meaning(folder, file)
            has_groups = bool(file.groups)
    except EmotiwaveError:
        return  # it is said above
    if not has_groups:
        yield from _comment(
            "[groups] says what must not be split between folds, such as speakers: a column `speaker` of the labels "
            'does, or `separator = "-"` and `field = 1` of the ids.'
        )


def _meaning(folder: Path, file: Reader) -> Iterator[str]:
    """The targets and the kind of a label file, as they will be taken, for the user to correct."""
    every = np.concatenate([file.features(key) for key in file.keys])
    columns = label_columns(Dataset(folder.name, folder, {}, file.path), file, every)
    if columns.numbers is None:
        yield f"targets = {json.dumps(list(columns.targets), ensure_ascii=False)}"
        yield f"kind = {_text(columns.kind)}  # {_plain(columns.kind_source)}"
        return
    yield f"kind = {_text(columns.kind)}  # {_plain(columns.kind_source)}"
    numbers = ", ".join(f"{number:g}" for number in columns.numbers)
    yield from _comment(f"classes = [...] gives names to the numbers {numbers}, from 0 on.")


def _fold_lines(folder: Path, recognised: Recognition) -> Iterator[str]:
    if recognised.folds is None:
        yield ""
        yield from _comment(
            '[folds] with file = "folds.json" gives train, valid and test; else they are drawn, 80/10/10.'
        )
    elif recognised.labels is None or recognised.folds.path != recognised.labels.path:
        yield f"\n[folds]\nfile = {_text(_name(folder, recognised.folds))}"
    else:
        yield ""
        yield from _comment("Folds are those of the column in the labels.")


def _about(folder: Path, role: str, source: Source, unknown: list[str]) -> Iterator[str]:
    """A comment on what a file is; what is wrong with it is unknown."""
    try:
        with open_reader(Source(source.path, is_labels=role == LABELS)) as file:
            form = f"{file.width} columns" if not file.is_words else "words"
            times = "" if file.has_times else ", no times"
            yield from _comment(f"{file.name}: {len(file.keys)} ids, {form}{times}")
            for note in file.notes:
                yield from _comment(note)
            if (
                not file.has_times
                and role not in (LABELS, WORDS)
                and any(file.steps(key) > 1 for key in file.keys[:50])
            ):
                yield from _comment(
                    f"`{role} = {{file = {_text(_name(folder, source))}, rate = 30}}` would say that there are 30 "
                    "steps a second."
                )
    except EmotiwaveError as error:
        sentence = str(error).rstrip(".")
        unknown.append(sentence)
        yield from _comment(f"NOT KNOWN: {sentence}.")


def _name(folder: Path, source: Source) -> str:
    return Path(os.path.relpath(source.path, folder)).as_posix()


def _text(text: str) -> str:
    """A text as TOML has it."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(name: str) -> str:
    return name if name.isascii() and name.replace("_", "").replace("-", "").isalnum() else _text(name)


def _plain(text: str) -> str:
    return " ".join(printable(text).split())


def _comment(text: str) -> Iterator[str]:
    """A sentence as lines of a comment."""
    line = "#"
    for word in _plain(text).split():
        if len(line) + len(word) > LINE:
            yield line
            line = "#"
        line += f" {word}"
    yield line
