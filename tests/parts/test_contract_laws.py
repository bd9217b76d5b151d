"""Each law of each contract catches the plugin that breaks it, and no other law is set off by it."""

import sys
import unittest
from itertools import product
from types import ModuleType
from typing import Any

import broken_at_import
import broken_encoders
import broken_fusions
import broken_policies
import pytest
import torch

from emotiwave_core.testing import (
    BrokenLaw,
    Contract,
    DropoutPolicyContract,
    EncoderContract,
    FusionContract,
    Remark,
)

pytestmark = pytest.mark.usefixtures("warm_children")  # they start many processes

PLUGINS: dict[type[Contract], ModuleType] = {
    EncoderContract: broken_encoders,
    FusionContract: broken_fusions,
    DropoutPolicyContract: broken_policies,
}
AT_IMPORT = {
    EncoderContract: broken_at_import.EncoderOfADrawingModule,
    FusionContract: broken_at_import.FusionOfADrawingModule,
    DropoutPolicyContract: broken_at_import.PolicyOfADrawingModule,
}


def plugins(contract: type[Contract]) -> list[Any]:
    """The plugins made for these tests, each with the names of the laws that it `breaks`."""
    kinds = [kind for kind in vars(PLUGINS[contract]).values() if isinstance(kind, type) and "breaks" in vars(kind)]
    return [*kinds, AT_IMPORT[contract]]


def even(present: tuple[bool, ...]) -> dict[tuple[bool, ...], float]:
    """What the sound policy promises: each non-empty configuration of what is present, equally often."""
    kept = [kept for kept in product(*((False, here) if here else (False,) for here in present)) if any(kept)]
    return dict.fromkeys(kept, 1.0 / len(kept))


CASES = [(contract, plugin) for contract in PLUGINS for plugin in plugins(contract)]


def broken_laws(contract: type[Contract], plugin: Any) -> dict[str, BrokenLaw | Remark]:
    """Run the whole contract over a plugin: the laws that it breaks, and those that have a remark on it."""
    ways: dict[str, Any] = {"make": lambda self, *arguments: plugin(*arguments)}
    if plugin in (broken_policies.SoundPolicy, broken_policies.SaysOtherRates):  # for the others it takes long
        ways["rates"] = lambda self, present: even(present)
    checked: type[Contract] = type("Checked", (contract,), ways)
    broken: dict[str, BrokenLaw | Remark] = {}
    for law in checked.laws():
        try:
            law.check()
        except (BrokenLaw, Remark) as error:
            broken[law.name] = error
        except unittest.SkipTest:
            continue
    return broken


@pytest.mark.short_rows(36)
@pytest.mark.parametrize(("contract", "plugin"), CASES, ids=lambda value: value.__name__)
def test_a_plugin_breaks_the_laws_of_its_defect_and_no_other(contract: type[Contract], plugin: Any) -> None:
    """A plugin with one defect is told of exactly the laws that it breaks, in sentences; a sound one of none."""
    if any(law.endswith("on_cuda") for law in plugin.breaks) and not torch.cuda.is_available():
        pytest.skip("a law about GPUs can only be broken where there is one")
    broken = broken_laws(contract, plugin)
    assert set(broken) == set(plugin.breaks), broken
    for error in broken.values():
        message = str(error)
        assert message[0].isupper() or message[0].isdigit(), message
        assert message.endswith("."), message
        assert "\n" not in message, message
        assert 40 < len(message) < 400, message


@pytest.mark.parametrize("contract", PLUGINS, ids=lambda value: value.__name__)
def test_every_law_has_a_plugin_that_breaks_it_alone(contract: type[Contract]) -> None:
    """No law is in a contract without a plugin that breaks this law and no other."""
    alone = {plugin.breaks[0] for plugin in plugins(contract) if len(plugin.breaks) == 1}
    assert {law.name for law in contract.laws()} == alone


@pytest.mark.parametrize(
    ("contract", "sound"),
    [(EncoderContract, broken_encoders.SoundEncoder), (FusionContract, broken_fusions.SoundFusion)],
    ids=lambda value: value.__name__,
)
def test_the_law_about_gpus_compares(contract: type[Contract], sound: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plugin whose results are others once it has been moved breaks the law about GPUs (played on the CPU)."""

    class Spoilt(sound):  # type: ignore[misc]
        __module__ = sound.__module__  # this one imports a module that draws

        def to(self, device: torch.device) -> Any:
            for parameter in self.parameters():
                parameter.data += 1.0
            return super().to(device)

    monkeypatch.setattr(sys.modules[contract.__module__], "cuda", lambda: torch.device("cpu"))
    assert set(broken_laws(contract, sound)) == set()
    assert set(broken_laws(contract, Spoilt)) == {"same_on_cuda"}


def test_a_policy_that_never_drops_is_remarked_on_where_nobody_says_that_it_may() -> None:
    """Where its author says nothing of it, a policy that loses nothing breaks no law, and its rates are told."""
    never = broken_policies.NeverDrops
    ways = {"make": lambda self: never(), "drops": None}
    checked: type[Contract] = type("Checked", (DropoutPolicyContract,), ways)
    law = next(law for law in checked.laws() if law.name == "drops_something")
    with pytest.raises(Remark, match=r"None of 256 samples lost a step in training: 1\+2\+3 is kept in 100%\."):
        law.check()


@pytest.mark.parametrize(
    ("plugin", "law", "cure"),
    [
        (broken_encoders.NormalisesTheBatch, "batch_of_one", "BatchNorm needs more than one value: use LayerNorm."),
        (broken_encoders.CentresInTraining, "samples_do_not_mix", "to mix samples is an augmentation's."),
        (broken_encoders.CentresTheBatch, "samples_do_not_mix", "a mean or a softmax over dimension 0."),
        (broken_encoders.Squeezes, "batch_of_one", "Usual cause: squeeze() without a dimension."),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_the_cure_fits_what_was_seen(plugin: Any, law: str, cure: str) -> None:
    """A law that is broken in train() alone, or by a known exception, ends with the cure of that and no other."""
    assert str(broken_laws(EncoderContract, plugin)[law]).endswith(cure)


def test_an_exception_in_a_plugin_is_a_broken_law() -> None:
    """What a plugin raises comes as a sentence of the law, with the plugin's own exception behind it."""
    error = broken_laws(EncoderContract, broken_encoders.Packs)["empty_sequence_is_finite"]
    assert str(error).startswith("It raised RuntimeError (Length of all samples has to be greater than 0")
    assert "pack_padded_sequence" in str(error)
    assert isinstance(error.__cause__, RuntimeError)


@pytest.mark.parametrize("contract", PLUGINS, ids=lambda value: value.__name__)
def test_a_contract_without_make_says_so(contract: type[Contract]) -> None:
    """A contract class without `make` breaks its laws with the signature that is missing."""
    with pytest.raises(BrokenLaw, match=r"make\(self"):
        contract.laws()[0].check()


def test_laws_leave_the_random_state_alone() -> None:
    """Checking laws does not change what torch draws next."""
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    broken_laws(EncoderContract, broken_encoders.SoundEncoder)
    assert torch.equal(torch.rand(4), expected)


@pytest.mark.full
def test_a_modality_that_is_not_read_is_told_with_those_beside_it() -> None:
    """The message about a fusion that reads nothing of the fourth modality says that it was made for four."""
    broken = broken_laws(FusionContract, broken_fusions.ReadsThreeOfFour)
    assert "Of 4 modalities (text, audio, visual, touch) nothing of a sample of touch" in str(
        broken["every_modality_is_read"]
    )
