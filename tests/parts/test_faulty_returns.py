"""Faulty plugins: what a part returns in the middle of training is held against its interface, and named."""

from pathlib import Path

import pytest
import torch
from faulty_plugins import Sandbox, check_ended, check_whole, plugin
from faulty_plugins import sandbox as sandbox

from emotiwave_core.errors import PluginError
from emotiwave_core.interfaces import Encoded, Encoder, Fused, Fusion
from emotiwave_core.parts.interface_check import check_encoded, check_fused, check_only_clears, check_policy_masks

X = torch.randn(3, 5, 2)
MASK = torch.ones(3, 5, dtype=torch.bool)
GOOD = Encoded(torch.zeros(3, 5, 4), torch.zeros(3, 4), MASK)
META = torch.zeros(3, 4, device="meta")
MASKS = {"text": MASK, "audio": MASK[:, :2]}


class _Encoder(Encoder):
    out_features = 4

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> Encoded:
        """Never asked."""
        raise NotImplementedError


class _Fusion(Fusion):
    out_features = 4

    def forward(self, encoded: dict[str, Encoded], present: torch.Tensor) -> Fused:
        """Never asked."""
        raise NotImplementedError


ENCODED = [
    (tuple(GOOD), "_Encoder returns tuple where Encoded(states, pooled, mask) is due"),
    (None, "_Encoder returns NoneType where Encoded"),
    (GOOD._replace(pooled=None), "NoneType as the pooled vector, where a tensor [B, D] is due"),
    (GOOD._replace(pooled=GOOD.pooled[0]), "the pooled vector of the shape [4], where [B, D] = [3, 4] is due"),
    (GOOD._replace(pooled=GOOD.pooled[:2]), "the pooled vector of the shape [2, 4], where"),
    (GOOD._replace(pooled=GOOD.pooled[:, :3]), "the pooled vector of the shape [3, 3], where"),
    (GOOD._replace(pooled=GOOD.pooled.double()), "of the type torch.float64, where torch.float32 is due"),
    (GOOD._replace(pooled=GOOD.pooled.half()), "of the type torch.float16, where torch.float32 is due"),
    (GOOD._replace(pooled=META), "the pooled vector on meta, where all that it is given is on cpu"),
    (
        GOOD._replace(states=GOOD.states[:, :2]),
        "the states of the shape [3, 2, 4], where [B, T', D] = [3, 5, 4] is due",
    ),
    (GOOD._replace(states=GOOD.pooled), "the states of the shape [3, 4], where"),
    (GOOD._replace(mask=MASK.float()), "the mask of the type torch.float32, where torch.bool is due"),
    (GOOD._replace(mask=MASK[:1]), "the mask of the shape [1, 5], where [B, T'] = [3, 5] is due"),
]
FUSED = [
    (GOOD, "_Fusion returns Encoded where Fused(vector) is due"),
    (Fused(GOOD.pooled[:, :1]), "the vector of the shape [3, 1], where [B, D] = [3, 4] is due"),
    (Fused(GOOD.pooled.double()), "the vector of the type torch.float64"),
    (Fused(META), "the vector on meta"),
    (Fused(GOOD.pooled, torch.zeros(3, 3)), "the weights of the shape [3, 3], where [B, M] = [3, 2] is due"),
    (Fused(GOOD.pooled, loss=torch.zeros(3)), "the loss of the shape [3], where [] = [] is due"),
    (Fused(GOOD.pooled, loss=torch.tensor(1)), "a loss of the type torch.int64, which has no gradient"),
    (Fused(GOOD.pooled, loss=0.5), "float as the loss, where a tensor [] is due"),  # type: ignore[arg-type]
]
LEFT = [
    (None, "NoneType where a dict of masks for text, audio is due"),
    ({"text": MASK}, "the keys text where a dict of masks for text, audio is due"),
    (MASKS | {"odour": MASK}, "the keys text, audio, odour where"),
    (MASKS | {"audio": MASK}, "the mask of 'audio' of the shape [3, 5], where [B, T] = [3, 2] is due"),
    (MASKS | {"text": MASK.float()}, "the mask of 'text' of the type torch.float32, where torch.bool is due"),
]


@pytest.mark.parametrize(("given", "sentence"), ENCODED)
def test_what_an_encoder_returns(given: object, sentence: str) -> None:
    """Each departure from Encoded is one sentence that names the part, the piece, what it is and what is due."""
    with pytest.raises(PluginError) as caught:
        check_encoded("The encoder 'mine'", _Encoder(), given, X)
    assert str(caught.value).startswith("The encoder 'mine' ")
    assert sentence in str(caught.value)


@pytest.mark.parametrize(("given", "sentence"), FUSED)
def test_what_a_fusion_returns(given: object, sentence: str) -> None:
    """Each departure from Fused is such a sentence too."""
    with pytest.raises(PluginError) as caught:
        check_fused("The fusion 'mine'", _Fusion(), given, GOOD.pooled, 2)
    assert str(caught.value).startswith("The fusion 'mine' ")
    assert sentence in str(caught.value)


@pytest.mark.parametrize(("given", "sentence"), LEFT)
def test_what_a_policy_returns(given: object, sentence: str) -> None:
    """Each departure from masks of the same names and shapes is such a sentence too."""
    with pytest.raises(PluginError) as caught:
        check_policy_masks("The dropout 'mine'", MASKS, given)
    assert sentence in str(caught.value)


def test_what_is_right_passes() -> None:
    """What keeps the interface is handed through as it is, under autocast in either of its types."""
    assert check_encoded("", _Encoder(), GOOD, X) is GOOD
    due = Fused(GOOD.pooled, torch.zeros(3, 2), torch.zeros(()))
    assert check_fused("", _Fusion(), due, GOOD.pooled, 2) is due
    backwards = dict(reversed(MASKS.items()))
    assert check_policy_masks("", MASKS, backwards) is backwards
    check_only_clears("", MASKS, {m: torch.zeros_like(mask) for m, mask in MASKS.items()})
    short = Encoded(GOOD.states.bfloat16(), GOOD.pooled.bfloat16(), MASK)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        check_encoded("", _Encoder(), short, X)
        check_fused("", _Fusion(), Fused(GOOD.pooled), short.pooled, 2)
    with pytest.raises(PluginError):
        check_encoded("", _Encoder(), short, X)


LATE = [
    ("encoder", "return one._replace(pooled=one.pooled[:, :2])", "the pooled vector of the shape [2, 2]"),
    ("encoder", "return one._replace(states=one.states[:1])", "the states of the shape [1, "),
    ("encoder", "return one._replace(mask=one.mask.float())", "the mask of the type torch.float32"),
    ("encoder", "return one.pooled", "Mine returns Tensor where Encoded"),
    ("fusion", "return one._replace(vector=one.vector[0])", "the vector of the shape [4]"),
    ("fusion", "return one._replace(loss=one.vector.sum(1))", "the loss of the shape [2]"),
    ("fusion", "return one._replace(weights=one.vector)", "the weights of the shape [2, 4]"),
    ("fusion", "return None", "Mine returns NoneType where Fused"),
    ("dropout", "del one['text']", "the keys audio, visual where"),
    ("encoder", "mask[:] = False", "writes into the mask that it is given"),
    ("dropout", "one['text'][:] = False", "writes into the mask that it is given"),
    ("dropout", "return list(one)", "list where a dict of masks"),
    ("dropout", "one['text'] = torch.ones_like(one['text'])", "sets steps of 'text' that were not there"),
    ("dropout", "one['text'] = one['text'].float()", "the mask of 'text' of the type torch.float32"),
]


@pytest.mark.parametrize(
    ("kind", "forward", "sentence"),
    [pytest.param(*one, marks=[] if one is LATE[12] else pytest.mark.stress) for one in LATE],
)
def test_wrong_in_the_middle_of_training(sandbox: Sandbox, kind: str, forward: str, sentence: str) -> None:
    """Exit code 4 and the part by kind and name; two epochs are kept, and the mended part ends the run."""
    ran = sandbox.run(plugin(kind, forward=forward), kind)
    assert ran.code == 4, ran.err
    assert ran.said.startswith(f"Error: The {kind} 'mine' ")
    assert sentence in ran.said
    check_whole(Path("there"), 2)
    assert sandbox.resume(plugin(kind)).code == 0
    check_ended(Path("there"))


@pytest.mark.parametrize(
    ("kind", "forward"),
    [
        pytest.param("fusion", "return one._replace(loss=torch.zeros(()))", marks=pytest.mark.stress),
        pytest.param("fusion", "return one._replace(vector=one.vector.detach())", marks=pytest.mark.stress),
        pytest.param("dropout", "return {m: mask & False for m, mask in one.items()}", marks=pytest.mark.stress),
        pytest.param("encoder", "x.zero_()", marks=pytest.mark.stress),
    ],
)
def test_harmless_by_construction(sandbox: Sandbox, kind: str, forward: str) -> None:
    """A loss without a gradient, a vector without one, samples emptied, inputs overwritten: the run ends, finite."""
    ran = sandbox.run(plugin(kind, forward=forward), kind)
    assert ran.code == 0, ran.err
    check_ended(Path("there"))


@pytest.mark.parametrize(
    ("kind", "forward"),
    [
        pytest.param("encoder", "return one._replace(pooled=one.pooled * torch.nan)", marks=pytest.mark.stress),
        pytest.param("fusion", "return one._replace(loss=one.vector.sum() * torch.inf)", marks=pytest.mark.stress),
        pytest.param("fusion", "return one._replace(vector=one.vector / 0.0)", marks=pytest.mark.stress),
    ],
)
def test_what_is_not_finite_ends_as_diverged(sandbox: Sandbox, kind: str, forward: str) -> None:
    """NaN of a part in training: exit code 6, again on --resume, the last good epoch kept, and mended it ends."""
    ran = sandbox.run(plugin(kind, forward=forward), kind)
    assert (ran.code, "In epoch 3 the loss is" in ran.said) == (6, True), ran.err
    check_whole(Path("there"), 2)
    again = sandbox.resume(plugin(kind, forward=forward, when="self.training and self.step >= 6"))
    assert (again.code, again.said.split(",")[0].partition("norm")[0]) == (
        6,
        ran.said.split(",")[0].partition("norm")[0],
    )
    check_whole(Path("there"), 2)
    assert sandbox.resume(plugin(kind)).code == 0
    check_ended(Path("there"))
