"""`history.jsonl`: the epochs of a training, a line of JSON each."""

import errno
import json
import os
from pathlib import Path
from typing import Any

from attrs import evolve, field, frozen

from emotiwave_core.errors import DataError
from emotiwave_core.io.atomic import out_of_space, write_text
from emotiwave_core.runs.schema import LARGEST, converter, file_bytes, name_by_headline, parse

HISTORY = "history.jsonl"
MOST_HISTORY, MOST_LINE = 1 << 27, 1 << 16  # bytes
MOST_CONFIGURATIONS = 31  # of an epoch that are all written; of more modalities the single ones and the largest


@frozen
class Validation:
    """The headline score of the validation fold after one epoch, `mean_macro_f1` and so on in the file."""

    mean: float
    complete: float
    worst: float
    configurations: dict[str, float] = field(factory=dict)  # of each; in a file of many, of some
    loss: float | None = None  # of the complete configuration
    headline: str = "macro_f1"


name_by_headline(
    Validation,
    {
        headline: {name: f"{name}_{headline}" for name in ("mean", "complete", "worst")}
        for headline in ("macro_f1", "ccc")
    },
)


@frozen
class Epoch:
    """One line of the file."""

    epoch: int
    train_loss: float | None  # None in a file where it is no finite number
    valid: Validation
    learning_rate: float | None = None
    seconds: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """The line as it stands in the file."""
        return dict(converter.unstructure(self))


def read_history(run: Path) -> list[Epoch]:
    """Read the epochs in order; of an epoch that was trained again after a resume, the later line.

    The last line, which a kill may have torn, is left out where it is not whole. DataError for a missing file, or for
    a damaged line before it.
    """
    epochs = {epoch.epoch: epoch for _, epoch in _lines(run)}
    return [epochs[number] for number in sorted(epochs)]


def cut_history(run: Path, epoch: int) -> None:
    """Keep the lines of the epochs that the run resumes after; without a file, begin one. DataError as in reading."""
    way_out = "mend that line, or move the file away to go on without it"
    lines = _lines(run, way_out) if os.path.lexists(run / HISTORY) else []
    write_text(run / HISTORY, "".join(f"{line.decode()}\n" for line, read in lines if read.epoch <= epoch))


def append_history(run: Path, epoch: Epoch) -> None:
    """Add an epoch, whole or not at all."""
    path, data = run / HISTORY, (json.dumps(_shortened(epoch).to_dict()) + "\n").encode()
    if path.is_symlink():  # in a run that a stranger has sent: nothing is written where it leads
        raise DataError(f"{path} is a link, and a run writes into its own folder alone; move it away.")
    with out_of_space(path), path.open("ab", buffering=0) as file:
        end = file.seek(0, os.SEEK_END)
        try:
            if file.write(data) < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(file.fileno())  # before the weights are, which would stand without it after a power cut
        except OSError:
            file.truncate(end)
            raise


def _shortened(epoch: Epoch) -> Epoch:
    """The epoch as it is written: what grows with 2 to the power of the modalities stays small.

    A loss beyond what a file may hold, of features of such a size, is none.
    """
    valid, scores = evolve(epoch.valid, loss=_in_bounds(epoch.valid.loss)), epoch.valid.configurations
    epoch = evolve(epoch, train_loss=_in_bounds(epoch.train_loss), valid=valid)
    if len(scores) <= MOST_CONFIGURATIONS:
        return epoch
    most = max(name.count("+") for name in scores)
    kept = {name: score for name, score in scores.items() if name.count("+") in (0, most - 1, most)}
    return evolve(epoch, valid=evolve(epoch.valid, configurations=kept))


def _in_bounds(loss: float | None) -> float | None:
    return None if loss is None or abs(loss) > LARGEST else loss


def _lines(run: Path, way_out: str = "") -> list[tuple[bytes, Epoch]]:
    """Each line with its epoch, but for a torn last one."""
    texts = [text for text in file_bytes(run, HISTORY, MOST_HISTORY).split(b"\n") if text.strip()]
    if any(len(text) > MOST_LINE for text in texts):
        raise DataError(
            f"A line of {run / HISTORY} has more than {MOST_LINE >> 10} KiB{f'; {way_out}' if way_out else ''}."
        )
    lines = []
    for number, text in enumerate(texts, start=1):
        try:
            lines.append((text, parse(text, Epoch, f"Line {number} of {run / HISTORY}", way_out)))
        except DataError:
            if number < len(texts):
                raise
    return lines
