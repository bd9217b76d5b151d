"""CREMA-D's lists of clips, `SentenceFilenames.csv` and `summaryTable.csv` (Cao et al. 2014).

A clip's name is ACTOR_SENTENCE_EMOTION_LEVEL, such as 1001_DFA_ANG_XX: the emotion that the actor was to show. What
people saw and heard in it are the columns VoiceVote, FaceVote and MultiModalVote of the summary.
"""

import re
from pathlib import Path

from emotiwave_core.data.formats.delimited import TableColumns, read_delimited, read_header
from emotiwave_core.data.formats.table import TableFile
from emotiwave_core.errors import DataError, short

EMOTIONS = {"ANG": "anger", "DIS": "disgust", "FEA": "fear", "HAP": "happy", "NEU": "neutral", "SAD": "sad"}
_VOTES = {name[0].upper(): name for name in EMOTIONS.values()}
_NAME = re.compile(r"(\d{4})_[A-Z]{3}_([A-Z]{3})_(?:LO|MD|HI|XX|X)(?:\.[a-z0-9]{2,4})?")


class CremaDFile(TableFile):
    """A list of CREMA-D's clips: the emotion is the intended one, groups are actors.

    `columns = ["MultiModalVote"]` reads the votes of the summary; a tie is no label.
    """

    name = "cremad"
    usual_role = "labels"
    is_general = False

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """By the columns."""
        header = read_header(path) if super().recognises(path) else []
        return "Stimulus_Number" in header or {"FileName", "MultiModalVote"} <= set(header)

    @classmethod
    def _load(cls, path: Path) -> TableColumns:
        columns = read_delimited(path, is_text=lambda _: True)
        name = next((name for name in columns.names if name in ("Filename", "FileName")), None)
        if name is None:
            raise DataError(f"{path} is no list of CREMA-D: it has no column 'Filename'.")
        clips = [(_NAME.fullmatch(cell), cell) for cell in columns.texts[name]]
        strange = [cell for match, cell in clips if match is None or match[2] not in EMOTIONS]
        if strange:
            raise DataError(f"{path}: {short(strange[0])} is no clip of CREMA-D, such as 1001_DFA_ANG_XX.")
        votes = {
            column: [_VOTES.get(cell.strip().upper(), "") for cell in cells]
            for column, cells in columns.texts.items()
            if column.endswith("Vote")
        }
        texts = {
            "id": [cell.partition(".")[0] for _, cell in clips],
            "actor": [match[1] for match, _ in clips if match],
            "emotion": [EMOTIONS[match[2]] for match, _ in clips if match],
        }
        return TableColumns((*texts, *votes), {}, texts | votes, columns.rows, columns.notes)
