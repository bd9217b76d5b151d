"""Words in the names of files and folders that tell what they hold."""

import re

MODALITIES = {
    "text": ("text", "bert", "roberta", "glove", "language", "linguistic", "sbert", "vectors"),
    "audio": ("audio", "acoustic", "covarep", "opensmile", "smile", "egemaps", "gemaps", "compare", "wav2vec",
              "wav2vec2", "hubert", "wavlm", "mfcc", "voice", "vocal", "sound", "librosa"),
    "visual": ("visual", "vision", "video", "face", "faces", "facial", "openface", "facet", "resnet", "images",
               "vggface", "aus"),
}  # fmt: skip
LABELS = ("label", "labels", "annotation", "annotations", "emotions", "targets", "ratings", "meta", "metadata")
WORDS = ("words", "transcript", "transcripts", "transcription", "transcriptions", "subtitles", "captions", "alignments")
FOLDS = ("folds", "cv", "splits", "split")


def words_in(name: str) -> list[str]:
    """The words of a name, in small letters."""
    spaced = re.sub(r"([a-z])([A-Z])", r"\1 \2", name)
    return re.findall(r"[a-z][a-z0-9]*", re.sub(r"(?<=[a-z])(?=\d+\b)", " ", spaced.lower()))


def modality_of(name: str) -> str | None:
    """The modality that a name tells, None where it tells none or several."""
    told = {modality for modality, known in MODALITIES.items() if set(known) & set(words_in(name))}
    return told.pop() if len(told) == 1 else None
