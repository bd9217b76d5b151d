"""CTM of NIST and Kaldi: a line `id channel start duration word [confidence]` for each word, of any number of ids."""

from collections import defaultdict
from pathlib import Path

from emotiwave_core.data.formats.reader import Source
from emotiwave_core.data.formats.text import files_of, lines_of, read_lenient
from emotiwave_core.data.formats.transcripts import MOST_BYTES, Script, Spoken, Transcripts, _checked
from emotiwave_core.errors import DataError, short


class CtmFile(Transcripts):
    """A CTM, or a folder of them. The words of all channels of an id are one transcript, in the order of time."""

    name = "ctm"
    suffixes = (".ctm",)

    def __init__(self, source: Source) -> None:
        self.path, self.part = source.path, source.part
        self._scripts, encodings = {}, list[str]()
        for path in files_of(source.path, self.suffixes).values():
            text, notes = read_lenient(path, MOST_BYTES)
            encodings += notes
            for key, words in _by_id(path, text).items():
                if key in self._scripts:
                    raise DataError(f"{path}: another file of {source.path} has words for {short(key)} too.")
                self._scripts[key] = _checked(Script(sorted(words)), path)
        self.keys = tuple(self._scripts)
        if not self.keys:
            raise DataError(f"{source.path} holds no word.")
        self._encodings = tuple(encodings)

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on encodings."""
        return self._encodings

    def _read(self, path: Path, text: str) -> Script:
        return Script([word for words in _by_id(path, text).values() for word in words])


def _by_id(path: Path, text: str) -> dict[str, list[Spoken]]:
    by_id: dict[str, list[Spoken]] = defaultdict(list)
    for number, line in enumerate(lines_of(text), 1):
        fields = line.split()
        if not fields or fields[0].startswith((";;", "#")):
            continue
        try:
            start, duration = float(fields[2]), float(fields[3])
            by_id[fields[0]].append(Spoken(start, round(start + duration, 6), fields[4]))
        except (IndexError, ValueError) as error:
            raise DataError(
                f"{path}, line {number}: {short(line)} is not `id channel start duration word`, times in seconds."
            ) from error
    return dict(by_id)
