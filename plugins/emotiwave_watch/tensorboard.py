"""The watcher `tensorboard`: losses and scores of every epoch, for TensorBoard, in the run's folder `tensorboard/`."""

from pathlib import Path
from typing import Any

from emotiwave_core.hookspecs import hookimpl
from emotiwave_core.io.atomic import own_folder

try:
    from torch.utils.tensorboard import SummaryWriter
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("tensorboard is not installed: pip install 'emotiwave[tensorboard]'") from error


WRITERS: dict[Path, SummaryWriter] = {}  # of the runs that this process trains: one file each, however many epochs


@hookimpl
def on_epoch_end(run: Path, line: dict[str, Any]) -> None:
    """The training loss, the learning rate and the validation's headline score of each configuration."""
    writer = _writer(run, line["epoch"])
    valid, epoch = line["valid"], line["epoch"]
    scalars = {"loss/train": line["train_loss"], "learning_rate": line["learning_rate"]}
    headline = _headline(valid)
    scalars |= {f"{headline}/{name}": valid[f"{name}_{headline}"] for name in ("mean", "complete", "worst")}
    scalars |= {f"{headline}_of/{name}": value for name, value in valid["configurations"].items()}
    for name, value in scalars.items():
        writer.add_scalar(name, value, epoch)
    writer.flush()


@hookimpl
def on_run_end(run: Path, scores: dict[str, Any]) -> None:
    """The test scores, as text beside the curves."""
    headline = _headline(scores)
    rows = [f"| {name} | {entry[headline]:.3f} |" for name, entry in scores["configurations"].items()]
    writer = _writer(run)
    writer.add_text("test", "\n".join([f"| configuration | {headline} |", "| --- | --- |", *rows]))
    writer.close()
    del WRITERS[run]


def _headline(told: dict[str, Any]) -> str:
    """The score that a run is judged by: `ccc` of numbers."""
    return "ccc" if "mean_ccc" in told else "macro_f1"


def _writer(run: Path, epoch: int | None = None) -> SummaryWriter:
    """The writer of a run. Of a run that goes on, what an earlier one has written of this epoch is passed over."""
    folder = own_folder(run / "tensorboard")
    if run not in WRITERS or epoch == 1:
        WRITERS[run] = SummaryWriter(folder, purge_step=epoch)
    return WRITERS[run]
