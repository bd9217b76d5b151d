"""Interfaces of the parts: encoder, fusion, dropout policy, and the tensors that pass between them.

B samples, T steps, F input features, D width, M modalities, C classes. Steps that are padding, lost or
dropped are all the same thing: `False` in a mask. A modality whose mask has no step set is absent, and
what stands in its tensors must never be read (use `torch.where`, not multiplication: NaN * 0 is NaN).
"""

from abc import ABC, abstractmethod
from typing import NamedTuple

from torch import Tensor, nn

Tensors = dict[str, Tensor]


class Encoded(NamedTuple):
    """One modality after its encoder."""

    states: Tensor  # [B, T', D], zero where masked
    pooled: Tensor  # [B, D]
    mask: Tensor  # [B, T'] bool


class Fused(NamedTuple):
    """All modalities as one vector."""

    vector: Tensor  # [B, D]
    weights: Tensor | None = None  # [B, M], the share of each modality: rows sum to 1 over present ones, absent are 0
    loss: Tensor | None = None  # [], added to the objective


class Output(NamedTuple):
    """The output of the whole model for a batch."""

    logits: Tensor  # [B, C]
    weights: Tensor | None  # [B, M] of the fusion
    loss: Tensor | None  # [] of the fusion
    present: Tensor  # [B, M] bool, after the dropout policy
    unimodal: Tensor | None = None  # [B, M, C], logits of the auxiliary heads, in training with objective.unimodal


class Encoder(nn.Module, ABC):
    """One modality's sequence to states and a pooled vector.

    A subclass has the constructor `(in_features: int, *, options…)`: options are keyword-only, typed and have
    defaults. It sets `out_features`, the D of what it returns. It sees one modality and nothing of the others.
    """

    out_features: int

    @abstractmethod
    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        """x [B, T, F] with T >= 1, mask [B, T] bool (any pattern, also a row without a step) -> Encoded."""

    def attention_over_steps(self, x: Tensor, mask: Tensor) -> Tensor | None:
        """For an encoder that weighs its steps: the share of each in `pooled`, [B, T]. Optional; else None.

        Rows sum to 1 over the steps that are set and are 0 elsewhere. It is asked for in `eval()`, to be shown.
        """
        return None


class Fusion(nn.Module, ABC):
    """All encoded modalities to one vector.

    A subclass has the constructor `(in_features: dict[str, int], *, options…)`: the D of each modality, in the order
    of the columns of `present`. It sets `out_features`, the width of the vector it returns.
    """

    out_features: int

    @abstractmethod
    def forward(self, encoded: dict[str, Encoded], present: Tensor) -> Fused:
        """encoded {modality: Encoded}, present [B, M] bool -> Fused. A row may have no modality at all."""


class DropoutPolicy(nn.Module, ABC):
    """Loss of modalities or steps in training, sample by sample. The identity in `eval()`.

    A subclass has the constructor `(*, options…)`. It only clears steps, never sets one, and never takes the last
    step of a sample. It draws from torch's global generator of the masks' device, so that a seed repeats it.
    """

    def __init__(self) -> None:  # nn.Module's takes anything; a policy without options takes nothing
        super().__init__()

    @abstractmethod
    def forward(self, masks: Tensors, progress: Tensor) -> Tensors:
        """masks {modality: [B, T] bool}, progress [] from 0 (first step) to 1 (end of training) -> masks."""

    def observe(self, present: Tensor, loss: Tensor) -> None:
        """After a training step: present [B, M] bool and loss [B] of each sample. For adaptive policies."""
