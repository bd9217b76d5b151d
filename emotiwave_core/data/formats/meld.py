"""MELD's label files, `train_sent_emo.csv`, `dev_sent_emo.csv` and `test_sent_emo.csv` (Poria et al. 2019).

An utterance is the clip `diaD_uttU`. Each file counts its dialogues from 0, so of a folder of them the ids are
`train/dia0_utt0`, `dev/dia0_utt0`, …
"""

from collections.abc import Sequence
from pathlib import Path

import attrs

from emotiwave_core.data.formats.delimited import TableColumns, read_delimited, read_header
from emotiwave_core.data.formats.table import TableFile
from emotiwave_core.errors import DataError
from emotiwave_core.io.untrusted import is_file

COLUMNS = ("Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID")
SPLITS = {split: f"{split}_sent_emo.csv" for split in ("train", "dev", "test")}


class MeldFile(TableFile):
    """A label file of MELD, or a folder of all of them; `columns = ["Sentiment"]` reads the sentiment instead."""

    name = "meld"
    usual_role = "labels"
    is_general = False

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """By the columns; a folder by the names of its files."""
        if path.is_dir():
            return all(is_file(path / name) for name in SPLITS.values())
        return super().recognises(path) and set(COLUMNS) <= set(read_header(path))

    @classmethod
    def _header(cls, path: Path) -> Sequence[str]:
        return ("id", "group", "split") if path.is_dir() else ("id", "group")

    @classmethod
    def _load(cls, path: Path) -> TableColumns:
        if not path.is_dir():
            return _labels(path, "")
        parts = {split: _labels(path / name, f"{split}/") for split, name in SPLITS.items()}
        texts = {name: [cell for part in parts.values() for cell in part.texts[name]] for name in parts["train"].texts}
        split = [split for split, part in parts.items() for _ in range(part.rows)]
        notes = tuple(note for part in parts.values() for note in part.notes)
        return TableColumns((*texts, "split"), {}, texts | {"split": split}, len(split), notes)


def _labels(path: Path, before: str) -> TableColumns:
    columns = read_delimited(path, is_text=lambda _: True)
    for name in COLUMNS:
        if name not in columns.texts:
            raise DataError(f"{path} is no label file of MELD: it has no column '{name}'.")
    dialogues = [f"{before}dia{number}" for number in columns.texts["Dialogue_ID"]]
    ids = [f"{dialogue}_utt{n}" for dialogue, n in zip(dialogues, columns.texts["Utterance_ID"], strict=True)]
    kept = {name: columns.texts[name] for name in ("Emotion", "Sentiment", "Utterance")}
    texts = {"id": ids, "group": dialogues, **kept}
    return attrs.evolve(columns, names=tuple(texts), numbers={}, texts=texts)
