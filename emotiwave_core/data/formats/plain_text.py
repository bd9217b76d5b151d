"""Plain text: the words of a transcript without times."""

from pathlib import Path

from emotiwave_core.data.formats.transcripts import Script, Transcripts, spread_words


class PlainText(Transcripts):
    """A text, or a folder of texts."""

    name = "plain"
    suffixes = (".txt", ".lab")
    has_times = False
    is_last_resort = True

    def _read(self, path: Path, text: str) -> Script:
        return Script(spread_words(0.0, float(len(text.split())), text))
