"""`alarm.safetensors`: what the encodings of each modality are like, so that a run knows what is unlike them."""

import os
from pathlib import Path

import torch

from emotiwave_core.errors import DataError
from emotiwave_core.io.tensors import on_cpu, read_tensors, write_tensors
from emotiwave_core.model.alarm import Density, StateAlarm
from emotiwave_core.model.fusion_model import FusionModel

ALARM = "alarm.safetensors"
HEADER = 1 << 20  # bytes that its names may take: the file may be a stranger's, and is read whole
_OUT = "Remove it, and the run answers without alarms; `emotiwave run --resume` of it fits them anew."


def write_alarm(run: Path, densities: dict[str, Density], weights_sha256: str) -> None:
    """Write the densities of the model with these weights."""
    tensors = {f"{m}.{name}": tensor for m, one in densities.items() for name, tensor in one._asdict().items()}
    write_tensors(run / ALARM, on_cpu(tensors), {"weights_sha256": weights_sha256})


def read_alarm(run: Path, model: FusionModel, weights_sha256: str) -> StateAlarm | None:
    """The alarm of a run; None where it has none, or one of other weights. DataError for a damaged file."""
    path = run / ALARM
    if not os.path.lexists(path):
        return None
    try:
        tensors, metadata = read_tensors(path, HEADER + sum(4 * (D * D + D + 1) for D in model.widths.values()))
    except DataError as error:
        raise DataError(f"{error} {_OUT}") from error
    if metadata.get("weights_sha256") != weights_sha256:
        return None  # a training has gone on since, and will write it anew
    densities = {}
    for modality, width in model.widths.items():
        given = [tensors.pop(f"{modality}.{name}", None) for name in Density._fields]
        if given == [None] * len(given):
            continue
        shapes = [(width,), (width, width), ()]
        if not all(
            one is not None and one.dtype == torch.float32 and tuple(one.shape) == shape and one.isfinite().all()
            for one, shape in zip(given, shapes, strict=True)
        ):
            raise _damaged(path)
        density = Density(*given)  # type: ignore[arg-type]
        if density.threshold <= 0:
            raise _damaged(path)
        densities[modality] = density
    if tensors:
        raise _damaged(path)
    return StateAlarm(densities)


def _damaged(path: Path) -> DataError:
    return DataError(f"{path} is damaged: it does not fit the model. {_OUT}")
