"""The default plugins keep the laws of their contract."""

import contextlib
import unittest
from itertools import product
from typing import Literal

import pytest

from emotiwave_core.interfaces import DropoutPolicy, Encoder, Fusion
from emotiwave_core.testing import DropoutPolicyContract, EncoderContract, FusionContract
from emotiwave_dropout.bernoulli import Bernoulli
from emotiwave_dropout.none import NoDropout
from emotiwave_dropout.uniform import Uniform
from emotiwave_encoders.bilstm import BiLSTM
from emotiwave_fusions.concat import Concat
from emotiwave_fusions.crossmodal import CrossModal

Kept = tuple[bool, ...]


def by_coins(present: Kept, p: float) -> dict[Kept, float]:
    """Each present modality is lost with probability p, given that one is kept."""
    every = [kept for kept in product(*((False, True) if here else (False,) for here in present)) if any(kept)]
    chance = {kept: (1.0 - p) ** sum(kept) * p ** (sum(present) - sum(kept)) for kept in every}
    return {kept: value / sum(chance.values()) for kept, value in chance.items()}


class TestBiLSTM(EncoderContract):
    """`bilstm` with each pooling."""

    pooling: Literal["last", "mean", "max"] = "last"

    def make(self, in_features: int) -> Encoder:
        """One layer."""
        return BiLSTM(in_features, hidden_size=6, pooling=self.pooling)


class TestBiLSTMMean(TestBiLSTM):
    """`bilstm` with the mean."""

    pooling = "mean"


class TestBiLSTMMax(TestBiLSTM):
    """`bilstm` with the maximum."""

    pooling = "max"


class TestDeepBiLSTM(EncoderContract):
    """`bilstm` of three layers with dropout between them."""

    def make(self, in_features: int) -> Encoder:
        """Three layers."""
        return BiLSTM(in_features, hidden_size=6, layers=3, dropout=0.3)


class TestConcat(FusionContract):
    """`concat`."""

    def make(self, in_features: dict[str, int]) -> Fusion:
        """It has no options."""
        return Concat(in_features)


class TestCrossModal(FusionContract):
    """`crossmodal`."""

    def make(self, in_features: dict[str, int]) -> Fusion:
        """Narrow, and otherwise as it comes."""
        return CrossModal(in_features, width=8, heads=2)


class TestNoDropout(DropoutPolicyContract):
    """`none`."""

    drops = False

    def make(self) -> DropoutPolicy:
        """It has no options."""
        return NoDropout()

    def rates(self, present: Kept) -> dict[Kept, float]:
        """It keeps all."""
        return {present: 1.0}


class TestBernoulli(DropoutPolicyContract):
    """`bernoulli`, a draw for each sample."""

    def make(self) -> DropoutPolicy:
        """As it comes."""
        return Bernoulli()

    def rates(self, present: Kept) -> dict[Kept, float]:
        """By its default p."""
        return by_coins(present, 0.3)


class TestBernoulliPerBatch(DropoutPolicyContract):
    """`bernoulli`, one draw for the batch."""

    def make(self) -> DropoutPolicy:
        """With a p at which the first draws drop something."""
        return Bernoulli(p=0.6, per="batch")

    def rates(self, present: Kept) -> dict[Kept, float]:
        """A batch of one draws as a sample does."""
        return by_coins(present, 0.6)


class TestUniform(DropoutPolicyContract):
    """`uniform`."""

    def make(self) -> DropoutPolicy:
        """It has no options."""
        return Uniform()

    def rates(self, present: Kept) -> dict[Kept, float]:
        """All alike: what fair coins give."""
        return by_coins(present, 0.5)


@pytest.mark.parametrize("contract", [TestBiLSTM, TestCrossModal, TestNoDropout], ids=lambda value: value.__name__)
def test_a_contract_lists_its_laws(
    contract: type[EncoderContract] | type[FusionContract] | type[DropoutPolicyContract],
) -> None:
    """Each law has a name of its own and is said in one sentence."""
    laws = contract.laws()
    assert len({law.name for law in laws}) == len(laws) > 10
    for law in laws:
        assert law.sentence[0].isupper(), law
        assert law.sentence.endswith("."), law
        assert "\n" not in law.sentence, law


def test_laws_run_without_pytest() -> None:
    """The check of a law runs by itself, as a command needs it."""
    for law in TestConcat.laws():
        with contextlib.suppress(unittest.SkipTest):
            law.check()
