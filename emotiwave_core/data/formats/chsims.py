"""Label files of CH-SIMS, and of CMU-MOSI and CMU-MOSEI as MMSA ships them (Yu et al. 2020): `label.csv`, `meta.csv`.

A clip is `VIDEO$_$CLIP`, as in MMSA's features.
"""

from collections.abc import Sequence
from pathlib import Path

from emotiwave_core.data.formats.delimited import TableColumns, read_delimited, read_header
from emotiwave_core.data.formats.reader import Source
from emotiwave_core.data.formats.table import TableFile
from emotiwave_core.errors import DataError

COLUMNS = ("video_id", "clip_id", "text", "label", "annotation")


class ChSimsFile(TableFile):
    """A label file with the sentiment of each clip, from -1 to 1 or -3 to 3; groups are videos, folds stand in `mode`.

    `columns` reads others: `["label_T", "label_A", "label_V"]` for each modality, `["annotation"]` for classes.
    """

    name = "chsims"
    usual_role = "labels"
    is_general = False

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """By the columns."""
        return super().recognises(path) and set(COLUMNS) <= set(read_header(path))

    @classmethod
    def _header(cls, path: Path) -> Sequence[str]:
        return ("id", "group", "split") if "mode" in read_header(path) else ("id", "group")

    @classmethod
    def _load(cls, path: Path) -> TableColumns:
        columns = read_delimited(path, is_text=lambda name: not name.startswith("label"))
        for name in COLUMNS:
            if name not in columns.names:
                raise DataError(f"{path} is no label file of CH-SIMS: it has no column '{name}'.")
        if "label" not in columns.numbers:
            raise DataError(f"{path}: the column 'label' holds texts, and is the sentiment as a number.")
        videos = columns.texts["video_id"]
        texts = {
            "id": [f"{video}$_${clip}" for video, clip in zip(videos, columns.texts["clip_id"], strict=True)],
            "group": videos,
        }
        split = {"split": columns.texts["mode"]} if "mode" in columns.texts else {}
        return columns.with_texts(("video_id", "clip_id", "mode", "annotator"), **texts, **split)

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        if self.label_kind is None and all(name.startswith("label") for name in self.dimension_names):
            self.label_kind = "regression"
