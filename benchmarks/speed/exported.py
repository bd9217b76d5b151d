"""Size and latency of the `default` model in every form that it is exported to, against torch's eager one."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from emotiwave_core.data.loading.batch import batches
from emotiwave_core.export import onnx_file
from emotiwave_core.export.graph import DeployedModel, trace, trace_of_any_length
from emotiwave_core.export.torch_file import TorchModel, to_torch_file
from speed.opened import untrained
from speed.table import Row, medians

OUTPUTS = ("logits", "probabilities")


def measure(folder: Path, clips: int = 50) -> list[Row]:
    """Megabytes of each file, and milliseconds of one clip, the mean of some in a row; all on the CPU."""
    cpu = torch.device("cpu")
    with tempfile.TemporaryDirectory() as run:
        trained = untrained({}, folder, Path(run), cpu, "all")
    model, objective, fold = trained.model, trained.objective, trained.fold
    eager = DeployedModel(model, objective).eval()
    torch_file = to_torch_file(trace_of_any_length(model, objective))
    onnx = onnx_file.to_onnx(trace(model, objective), model.streams, OUTPUTS)
    int8 = onnx_file.quantised(onnx)
    files = {"torch-export": torch_file, "ONNX": onnx, "ONNX int8": int8}
    runners: dict[str, Callable[..., Any]] = {
        "eager": eager,
        "torch-export": TorchModel(torch_file),
        "ONNX": onnx_file.OnnxModel(onnx, model.streams),
        "ONNX int8": onnx_file.OnnxModel(int8, model.streams),
    }
    samples = list(batches(trained.corpus.store, fold.rows[:clips], fold.targets[:clips], 1, cpu))

    def answer(runner: Callable[..., Any]) -> None:
        with torch.inference_mode():
            for sample in samples:
                runner(sample.inputs, sample.masks)

    seconds = medians({name: lambda runner=runner: answer(runner) for name, runner in runners.items()})
    ms = {name: 1e3 * each / len(samples) for name, each in seconds.items()}
    weights = len(save(dict(model.state_dict()))) / 1e6
    rows = [Row("export", f"size, {name}", len(file) / 1e6, "MB", "weights", weights) for name, file in files.items()]
    return [
        *rows,
        *(Row("export", f"one clip, {name}", ms[name], "ms", "eager torch", ms["eager"]) for name in files),
    ]
