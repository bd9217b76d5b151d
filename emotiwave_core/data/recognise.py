"""Recognition of a data set without a dataset.toml: the files of a folder by their names, and by what they hold."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs

from emotiwave_core.data.formats import names
from emotiwave_core.data.formats.reader import Reader, Source, contents_of, reader_of
from emotiwave_core.data.formats.text import is_beside, stem
from emotiwave_core.errors import DataError, SettingsError, short

MOST_ENTRIES = 2000  # of a folder: what holds more is a folder of clips itself
LABELS, WORDS, FOLDS = "labels", "words", "folds"
DESCRIPTION = "dataset.toml"


@attrs.frozen
class Recognition:
    """The files of a folder by what they seem to be for, and what could not be known."""

    modalities: dict[str, Source]
    labels: Source | None = None
    words: Source | None = None
    folds: Source | None = None
    notes: tuple[str, ...] = ()  # what was taken for what, and what is not used
    doubts: tuple[str, ...] = ()  # why it cannot be used as it is
    whole: Path | None = None  # the one file that is a data set of its own


def recognise(folder: Path) -> Recognition:
    """Look at the files and folders of a folder, and not into them where their names and first bytes tell enough."""
    candidates: dict[str, list[Path]] = {}
    unused, whole = list[Path](), list[Path]()
    for path in _entries(folder):
        role = _role(path)
        if role is not None:
            candidates.setdefault(role, []).append(path)
        elif path.is_file() and _is_whole(path):
            whole.append(path)
        elif not _is_folds(path):
            unused.append(path)
    folds = [path for path in _entries(folder) if _is_folds(path)]
    if not candidates and len(whole) == 1:
        return Recognition({}, whole=whole[0], notes=_notes({}, unused))
    doubts = [_doubt(role, paths) for role, paths in {**candidates, FOLDS: folds}.items() if len(paths) > 1]
    chosen = {role: Source(paths[0]) for role, paths in candidates.items() if len(paths) == 1}
    modalities = {role: source for role, source in chosen.items() if role not in (LABELS, WORDS)}
    labels = chosen.get(LABELS)
    told = chosen | ({FOLDS: Source(folds[0])} if len(folds) == 1 else {})
    if FOLDS not in told and labels is not None and reader_of(labels).tells_folds(labels.path):
        told[FOLDS] = labels
    if not modalities and not doubts:
        doubts.append(
            "no file or folder has a name that tells a modality, such as text, audio, visual, face or openface"
        )
    order = [*(name for name in names.MODALITIES if name in modalities), *modalities]
    return Recognition(
        modalities={name: modalities[name] for name in dict.fromkeys(order)},
        labels=labels,
        words=chosen.get(WORDS),
        folds=told.get(FOLDS),
        notes=_notes(told, [*unused, *whole]),
        doubts=tuple(doubts),
    )


def _entries(folder: Path) -> list[Path]:
    """The files and folders that can be data."""
    entries = sorted(path for path in folder.iterdir() if not is_beside(path) and path.name != DESCRIPTION)
    return entries if len(entries) <= MOST_ENTRIES else []


def _role(path: Path) -> str | None:
    """The use of a file or folder of a known format: labels, words or a modality; None where nothing tells it."""
    reader = known_reader(path)
    if reader is None:
        return None
    if reader.usual_role is not None and not _is_labels_by_name(path, reader):
        return reader.usual_role
    own = names.words_in(stem(path, reader.suffixes))
    if set(own) & set(names.LABELS):
        return LABELS
    if set(own) & set(names.WORDS) and not reader.picks_columns:  # a table of transcripts has no word in it
        return WORDS
    if (modality := names.modality_of(stem(path, reader.suffixes))) is not None:
        return modality
    return LABELS if reader.is_general and path.is_file() and _has_only_labels(path) else None


def _is_labels_by_name(path: Path, reader: type[Reader]) -> bool:
    return reader.usual_role not in (LABELS, WORDS) and bool(set(names.words_in(path.stem)) & set(names.LABELS))


def _has_only_labels(path: Path) -> bool:
    """True for a table whose labels are clear, and which holds classes by name."""
    try:
        with reader_of(Source(path))(Source(path, is_labels=True)) as file:
            return file.label_kind == "classes"
    except DataError:
        return False


def known_reader(path: Path) -> type[Reader] | None:
    """The reader that recognises a file or folder; None where none does."""
    try:
        return reader_of(Source(path))
    except (DataError, SettingsError, OSError):
        return None


def _is_whole(path: Path) -> bool:
    try:
        return contents_of(path) is not None
    except (DataError, SettingsError):
        return False


def _is_folds(path: Path) -> bool:
    return path.suffix in (".json", ".py") and bool(set(names.words_in(path.stem)) & set(names.FOLDS))


def _doubt(role: str, paths: Sequence[Path]) -> str:
    choice = f"'{role}' could be {' or '.join(short(path.name) for path in paths[:4])}"
    if role in (LABELS, WORDS, FOLDS):
        return choice
    return f'{choice} (both: `{role} = {{one = "FILE", other = "FILE"}}`)'


def _notes(told: dict[str, Source], unused: Sequence[Path]) -> tuple[str, ...]:
    """A sentence on what was taken for what, and one on what is not used."""
    return tuple(_said(told, unused))


def _said(told: dict[str, Source], unused: Sequence[Path]) -> Iterator[str]:
    if told:
        taken = ", ".join(f"{source.path.name} as {role}" for role, source in told.items())
        yield f"Without a {DESCRIPTION}, by their names and content are taken: {taken}."
    if unused:
        more = f" and {len(unused) - 5} more" if len(unused) > 5 else ""
        yield f"Not used, for nothing tells what it is for: {', '.join(path.name for path in unused[:5])}{more}."
