"""Contracts list their laws, and check them without pytest. (The tests of each part hold it to its contract.)"""

import contextlib
import unittest

import pytest

from emotiwave_core.interfaces import Fusion
from emotiwave_core.testing import DropoutPolicyContract, EncoderContract, FusionContract
from emotiwave_fusions.concat import Concat

pytestmark = pytest.mark.usefixtures("warm_children")  # they start many processes


class OfConcat(FusionContract):
    """The contract of `concat`."""

    def make(self, in_features: dict[str, int]) -> Fusion:
        """As it comes."""
        return Concat(in_features)


@pytest.mark.parametrize(
    "contract", [EncoderContract, FusionContract, DropoutPolicyContract], ids=lambda value: value.__name__
)
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
    for law in OfConcat.laws():
        with contextlib.suppress(unittest.SkipTest):
            law.check()
