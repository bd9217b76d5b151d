"""The watcher `tensorboard`: losses and scores of every epoch, for TensorBoard, in the run's folder `tensorboard/`."""

from pathlib import Path
from typing import Any

from emotiwave_core.hookspecs import hookimpl
from emotiwave_core.io.atomic import own_folder

try:
    from torch.utils.tensorboard import SummaryWriter
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("tensorboard is not installed: pip install 'emotiwave[tensorboard]'") from error


@hookimpl
def on_epoch_end(run: Path, line: dict[str, Any]) -> None:
    """The training loss, the learning rate and the validation macro-F1 of every configuration."""
    with SummaryWriter(own_folder(run / "tensorboard"), purge_step=line["epoch"]) as writer:
        valid, epoch = line["valid"], line["epoch"]
        scalars = {"loss/train": line["train_loss"], "learning_rate": line["learning_rate"]}
        scalars |= {f"macro_f1/{name}": valid[f"{name}_macro_f1"] for name in ("mean", "complete", "worst")}
        scalars |= {f"macro_f1_of/{name}": value for name, value in valid["configurations"].items()}
        for name, value in scalars.items():
            writer.add_scalar(name, value, epoch)


@hookimpl
def on_run_end(run: Path, scores: dict[str, Any]) -> None:
    """The test scores, as text beside the curves."""
    rows = [f"| {name} | {entry['macro_f1']:.3f} |" for name, entry in scores["configurations"].items()]
    with SummaryWriter(own_folder(run / "tensorboard")) as writer:
        writer.add_text("test", "\n".join(["| configuration | macro-F1 |", "| --- | --- |", *rows]))
