"""The whole model of a run as one graph of torch, open in the batch and in the steps of every stream."""

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from emotiwave_core.errors import PluginError, short
from emotiwave_core.export.quiet import without_advice
from emotiwave_core.export.recurrence import recurrences_kept
from emotiwave_core.interfaces import Tensors
from emotiwave_core.model.fusion_model import FusionModel
from emotiwave_core.objectives import Objective

TRACED = 61  # steps of the first stream while it is traced: more than a part shortens to one


class DeployedModel(nn.Module):
    """Features and masks -> logits and answers: standardisation, encoders, fusion, head, and softmax or sigmoid.

    Values that are not finite become 0, as the preparation of data makes them; what is masked is never read.
    """

    def __init__(self, model: FusionModel, objective: Objective, padding: int = 0) -> None:
        super().__init__()
        self.model, self.objective, self.padding = model, objective, padding

    def forward(self, inputs: Tensors, masks: Tensors) -> tuple[Tensor, Tensor]:
        """inputs {s: [B, T, F]}, masks {s: [B, T] bool} of the streams -> logits [B, C], answers [B, C]."""
        inputs = {s: torch.where(x.isfinite(), x, 0.0) for s, x in inputs.items()}
        if self.padding:
            inputs = {s: nn.functional.pad(x, (0, 0, 0, self.padding)) for s, x in inputs.items()}
            masks = {s: nn.functional.pad(mask, (0, self.padding)) for s, mask in masks.items()}
        logits = self.model.forward_masked(inputs, masks).logits.float()
        return logits, self.objective.answers(logits)


def trace(model: FusionModel, objective: Objective) -> ExportedProgram:
    """The graph of a model in eval() on the CPU. PluginError where torch cannot follow one of its parts."""
    return _traced(model, DeployedModel(model, objective))


def trace_of_any_length(model: FusionModel, objective: Objective) -> ExportedProgram:
    """`trace` for torch, which refuses sequences that are shorter than a part was seen to need: they are padded."""
    program = trace(model, objective)
    least = max(int(bounds.lower) for bounds in program.range_constraints.values())
    if least > 2:  # what needs two takes one as well
        program = _traced(model, DeployedModel(model, objective, padding=least - 1))
    return program


def _traced(model: FusionModel, deployed: DeployedModel) -> ExportedProgram:
    inputs, masks = example(model)
    open_axes = {stream: {0: Dim.DYNAMIC, 1: Dim.DYNAMIC} for stream in inputs}
    try:
        with torch.no_grad(), without_advice(), recurrences_kept():
            return torch.export.export(
                deployed.eval(),
                (inputs, masks),
                dynamic_shapes={"inputs": open_axes, "masks": open_axes},
                strict=False,
            )
    except Exception as error:
        raise PluginError(
            f"This model cannot be exported ({parts_in_words(model)}), for torch does not follow it at any size: "
            f"{short(' '.join(str(error).split()))}."
        ) from error


def example(model: FusionModel) -> tuple[Tensors, Tensors]:
    """Features and masks of three samples, each stream with a number of steps of its own."""
    lengths = {s: TRACED + 4 * place for place, s in enumerate(model.streams)}
    inputs = {s: torch.zeros(3, steps, model.features[s]) for s, steps in lengths.items()}
    return inputs, {s: torch.ones(3, steps, dtype=torch.bool) for s, steps in lengths.items()}


def parts_in_words(model: FusionModel) -> str:
    """The parts that a graph of the model is made of."""
    parts = dict.fromkeys((part.kind, part.name) for part in model.plugins if part.kind in ("encoder", "fusion"))
    return ", ".join(f"{kind} {name}" for kind, name in parts)


def mask_of(stream: str) -> str:
    """The name of the input that is the mask of a stream; no stream has a full stop in its own."""
    return f"{stream}.mask"
