"""ONNX: a traced model as the bytes of one file, with int8 weights where they are wanted, and run by ONNX Runtime."""

import importlib.util
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.export import ExportedProgram

from emotiwave_core.errors import PackageNotHere, PluginError, SettingsError, short
from emotiwave_core.export.graph import mask_of
from emotiwave_core.export.quiet import without_advice
from emotiwave_core.export.recurrence import recurrences_kept
from emotiwave_core.interfaces import Tensors

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
MOST_BYTES = 2_000_000_000  # of a file of protobuf


def check_packages() -> None:
    """PackageNotHere where one of the packages of the extra is not installed."""
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise PackageNotHere(f'ONNX needs {", ".join(missing)}, not installed here: pip install "emotiwave[onnx]"')


def to_onnx(program: ExportedProgram, streams: Sequence[str], outputs: Sequence[str]) -> bytes:
    """The file of a traced model. PluginError where ONNX has no word for what a part does.

    SettingsError for a model that one file cannot hold.
    """
    import torch
    from onnxscript.optimizer import fold_constants_ir, remove_unused_nodes

    if 4 * sum(tensor.numel() for tensor in program.state_dict.values()) > MOST_BYTES:
        raise SettingsError("The model is larger than the 2 GB that a file of ONNX holds: export it --to torch-export.")
    inputs = [*streams, *map(mask_of, streams)]
    try:
        with without_advice(), recurrences_kept(), torch.no_grad():
            exported = torch.onnx.export(
                program, input_names=inputs, output_names=list(outputs), dynamo=True, verbose=False, optimize=False
            )
    except Exception as error:
        raise PluginError(f"ONNX cannot say what this model does: {short(_reason(error))}.") from error
    assert exported is not None, "it was asked for with dynamo"
    # Weights that are only rearranged are constants, else none of a recurrence would be found to be quantised.
    with without_advice():
        fold_constants_ir(
            exported.model, onnx_shape_inference=False, input_size_limit=MOST_BYTES, output_size_limit=MOST_BYTES
        )
        remove_unused_nodes(exported.model)
    graph = exported.model.graph
    for node in graph.all_nodes():  # where the code of each stands on this machine, and sizes that nobody needs
        node.metadata_props.clear()
        node.doc_string = None
    _name_axes(graph, streams)
    return bytes(exported.model_proto.SerializeToString())


def _reason(error: BaseException) -> str:
    """The innermost reason of an error of the exporter, on one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(f"{error}".split())


def _name_axes(graph: Any, streams: Sequence[str]) -> None:
    """Call the open axes `batch` and `STREAM.steps` in the inputs; sizes between them are for the runtime to find."""
    steps = {name: f"{stream}.steps" for stream in streams for name in (stream, mask_of(stream))}
    for value in graph.inputs:
        value.shape[0], value.shape[1] = "batch", steps[value.name]
    for node in graph.all_nodes():
        for value in node.outputs:
            if not value.is_graph_output():
                value.shape = None
    for value in graph.outputs:
        value.shape[0] = "batch"


def quantised(model: bytes) -> bytes:
    """The file with int8 weights; what they are multiplied with is made int8 by the largest value in its batch."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder, without_advice():
        target = Path(folder) / "quantised.onnx"
        # Unsigned: products of signed ones overflow on processors without VNNI.
        options = {"DefaultTensorType": onnx.TensorProto.FLOAT}
        quantize_dynamic(
            onnx.load_model_from_string(model), target, weight_type=QuantType.QUInt8, extra_options=options
        )
        return target.read_bytes()


class OnnxModel:
    """A file of ONNX in ONNX Runtime, on the CPU."""

    def __init__(self, model: bytes, streams: Sequence[str]) -> None:
        import onnxruntime
        import torch

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 4
        self.streams = tuple(streams)
        try:
            self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise PluginError(f"ONNX Runtime does not load this model: {short(_reason(error))}.") from error

    def __call__(self, inputs: Tensors, masks: Tensors) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """inputs {s: [B, T, F]}, masks {s: [B, T] bool} -> logits [B, C], answers [B, C]."""
        feed = {stream: inputs[stream].numpy() for stream in self.streams}
        feed |= {mask_of(stream): masks[stream].numpy() for stream in self.streams}
        logits, answers = self.session.run(None, feed)
        return logits, answers


def versions() -> dict[str, str]:
    """The versions of the packages that write and run the file."""
    from importlib.metadata import version

    return {name: version(name) for name in PACKAGES}
