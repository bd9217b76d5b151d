"""torch.export: a traced model as the bytes of a `.pt2`, and as torch runs it."""

import io

import numpy as np
import torch
from numpy.typing import NDArray
from torch.export import ExportedProgram

from emotiwave_core.errors import PluginError, short
from emotiwave_core.export.quiet import without_advice
from emotiwave_core.interfaces import Tensors


def to_torch_file(program: ExportedProgram) -> bytes:
    """The file of a traced model. PluginError where torch does not write it."""
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # where its code stands on this machine
    program.example_inputs = None
    content = io.BytesIO()
    try:
        with without_advice():
            torch.export.save(program, content)
    except Exception as error:
        raise PluginError(f"torch.export cannot write this model: {short(' '.join(str(error).split()))}.") from error
    return content.getvalue()


class TorchModel:
    """A `.pt2` as whoever loads it has it, on the CPU."""

    def __init__(self, content: bytes) -> None:
        with without_advice():
            self.module = torch.export.load(io.BytesIO(content)).module()

    @torch.no_grad()
    def __call__(self, inputs: Tensors, masks: Tensors) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """inputs {s: [B, T, F]}, masks {s: [B, T] bool} -> logits [B, C], answers [B, C]."""
        logits, answers = self.module(inputs, masks)
        return logits.numpy(), answers.numpy()
