"""A modality of several streams: one modality for policy and fusion, whatever its streams are."""

from typing import Any

import pytest
import torch
from datasets import WIDTHS
from models import CROSSMODAL, LENGTHS, some_batch, some_model
from torch import nn
from training import REGISTRY, small

from emotiwave_core.errors import PluginError, SettingsError
from emotiwave_core.interfaces import DropoutPolicy, Encoded, Tensors
from emotiwave_core.modalities import by_modality, configurations, misnamed, modality_of, setting_of, streams_of
from emotiwave_core.model.assemble import assemble
from emotiwave_core.model.fusion_model import FusionModel
from emotiwave_core.model.streams import StreamJoin, join_masks, split_masks

FEATURES = {"text": 5, "audio/frames": 4, "audio/clip": 6, "visual": 3}
STEPS = {
    "text": LENGTHS["text"],
    "audio/frames": [6, 0, 9, 0, 0, 1],
    "audio/clip": [1, 1, 0, 0, 1, 1],
    "visual": LENGTHS["visual"],
}


def two_streams(**tables: Any) -> FusionModel:
    """A model whose audio has two streams, of encoders of different widths."""
    torch.manual_seed(0)
    encoder = {"*": {"name": "bilstm", "hidden_size": 4}, "audio/clip": {"name": "mean", "width": 5}}
    return assemble(REGISTRY.resolve(small(encoder=encoder, **tables)), FEATURES, 6, dict.fromkeys(FEATURES, 9)).eval()


def batch(content: float = 0.0) -> tuple[Tensors, Tensors]:
    """Inputs and masks by stream: one, the other, both or none of the streams of audio; `content` where nothing is."""
    generator = torch.Generator().manual_seed(1)
    masks = {s: torch.arange(max(lengths)) < torch.tensor(lengths)[:, None] for s, lengths in STEPS.items()}
    masks["audio/frames"][2, 3:5] = False
    inputs = {s: torch.randn(*masks[s].shape, F, generator=generator) for s, F in FEATURES.items()}
    return {s: torch.where(masks[s][..., None], x, content) for s, x in inputs.items()}, masks


def without(masks: Tensors, modality: str) -> Tensors:
    """The masks where a modality is absent."""
    return {s: torch.zeros_like(mask) if modality_of(s) == modality else mask for s, mask in masks.items()}


@pytest.mark.parametrize("absent", ["mask", "zeros"])
def test_a_modality_of_one_stream_is_the_plain_one(absent: str) -> None:
    """Named `audio` or `audio/frames`: from the same seed the same weights and the same bits, and no parameter more."""
    plain = some_model(model={"absent": absent}, objective={"unimodal": 0.5})
    torch.manual_seed(0)
    renamed = {"audio/frames" if m == "audio" else m: width for m, width in WIDTHS.items()}
    parts = REGISTRY.resolve(small(model={"absent": absent}, objective={"unimodal": 0.5}))
    named = assemble(parts, renamed, 6, dict.fromkeys(renamed, 12)).eval()
    keys = [key.replace("audio/frames", "audio") for key in named.state_dict()]
    assert keys == list(plain.state_dict())
    pairs = zip(named.parameters(), plain.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    named.load_state_dict(dict(zip(named.state_dict(), plain.state_dict().values(), strict=True)))
    inputs, masks = some_batch()
    by_stream = [{"audio/frames" if m == "audio" else m: x for m, x in tensors.items()} for tensors in (inputs, masks)]
    assert torch.equal(named(*by_stream).logits, plain(inputs, masks).logits)
    assert named.modalities == plain.modalities


@torch.inference_mode()
def test_a_modality_is_absent_where_all_of_its_streams_are() -> None:
    """Of one stream, of the other or of both: it is there; of none it is not."""
    model, (inputs, masks) = two_streams(), batch()
    assert model.modalities == ("text", "audio", "visual")
    assert model(inputs, masks).present[:, 1].tolist() == [True, True, True, False, True, True]


@pytest.mark.parametrize("dropout", ["uniform", "bernoulli", "blocks", {"name": "frames", "p": 0.5}])
def test_streams_are_lost_together(dropout: Any) -> None:
    """The policy sees one mask a modality: whole modalities go with all streams, and a sample keeps a step."""
    model, (_, masks) = two_streams(dropout=dropout), batch()
    model.train()
    whole = dropout in ("uniform", "bernoulli")
    for _ in range(30):
        left, took_whole = model.drop(masks, torch.tensor(0.5))
        assert [left[s].shape for s in left] == [masks[s].shape for s in masks]
        assert not any(bool((left[s] & ~masks[s]).any()) for s in masks)
        lost = {s: masks[s].any(dim=1) & ~left[s].any(dim=1) for s in masks}
        had = {s: masks[s].any(dim=1) for s in masks}
        both = had["audio/frames"] & had["audio/clip"]
        if whole:
            assert took_whole
            assert torch.equal(lost["audio/frames"][both], lost["audio/clip"][both])
        assert torch.equal(model.present(masks).any(dim=1), model.present(left).any(dim=1))


@pytest.mark.parametrize("fusion", ["concat", CROSSMODAL], ids=["concat", "crossmodal"])
@pytest.mark.parametrize("absent", ["mask", "zeros"])
@torch.inference_mode()
def test_every_configuration_is_encoded_once(absent: str, fusion: Any) -> None:
    """For every configuration of modalities the fused encodings give the logits of cleared masks."""
    model, (inputs, masks) = two_streams(fusion=fusion, model={"absent": absent}), batch()
    encoded, nothing = model.encode(inputs, masks), model.encode_absent(inputs)
    assert list(encoded) == ["text", "audio", "visual"]
    for kept in configurations(model.modalities):
        left = masks
        for m in set(model.modalities) - set(kept):
            left = without(left, m)
        plain = model(inputs, left)
        once = model.fuse(model.restrict(kept, encoded, nothing), plain.present)
        torch.testing.assert_close(once.logits, plain.logits, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("fusion", ["concat", CROSSMODAL], ids=["concat", "crossmodal"])
def test_training_encodes_once_where_modalities_went_whole(fusion: Any) -> None:
    """The two outputs of a training step are those of two passes, where a modality of two streams was taken."""
    model, (inputs, masks) = two_streams(fusion=fusion), batch()
    even = torch.arange(6)[:, None] % 2 == 0
    left = {s: torch.where(even, masks[s], mask) for s, mask in without(masks, "audio").items()}
    rest, complete = model.forward_both(inputs, masks, left, whole=True)
    torch.testing.assert_close(rest.logits, model(inputs, left).logits, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(complete.logits, model(inputs, masks).logits, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("content", [torch.nan, torch.inf, 1e30])
@pytest.mark.parametrize("fusion", ["concat", CROSSMODAL], ids=["concat", "crossmodal"])
def test_an_absent_stream_is_never_read(fusion: Any, content: float) -> None:
    """Whatever stands in a stream that a sample lacks, logits and gradients are the same to the last bit."""
    model, results = two_streams(fusion=fusion), []
    for filling in (0.0, content):
        model.zero_grad()
        logits = model(*batch(filling)).logits
        logits.sum().backward()
        gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
        results.append([logits.detach(), *(gradient.clone() for gradient in gradients)])
    assert all(torch.isfinite(tensor).all() for tensor in results[1])
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


@pytest.mark.parametrize("fusion", ["concat", CROSSMODAL, "perceiver"], ids=["concat", "crossmodal", "perceiver"])
@torch.inference_mode()
def test_a_sample_does_not_feel_the_batch(fusion: Any) -> None:
    """Alone, without its padding, a sample has the logits that it has in the batch, also of fusions with positions."""
    model, (inputs, masks) = two_streams(fusion=fusion), batch()
    together = model(inputs, masks).logits
    for row in range(6):
        ends = {s: max([1, *(mask[row].nonzero().flatten() + 1).tolist()]) for s, mask in masks.items()}
        alone = model(*({s: x[row : row + 1, : ends[s]] for s, x in tensors.items()} for tensors in (inputs, masks)))
        torch.testing.assert_close(alone.logits, together[row : row + 1], atol=1e-5, rtol=1e-5)


def encoded(generator: torch.Generator, steps: int, width: int, has: list[bool]) -> Encoded:
    """A stream as an encoder leaves it; NaN in the pooled vector of what is absent."""
    mask = torch.tensor(has)[:, None] & (torch.arange(steps) < steps - 1)
    states = torch.where(mask[..., None], torch.randn(len(has), steps, width, generator=generator), 0.0)
    pooled = torch.where(torch.tensor(has)[:, None], torch.randn(len(has), width, generator=generator), torch.nan)
    return Encoded(states, pooled, mask)


def test_the_pooled_vector_is_one_linear_map_of_all_streams() -> None:
    """It equals the matrices side by side times the vectors below each other, zeros for what is absent."""
    generator = torch.Generator().manual_seed(2)
    first = encoded(generator, 4, 3, [True, True, False, False])
    streams = [first, encoded(generator, 3, 5, [True, False, True, False])]
    join = StreamJoin([3, 5])
    joined = join(streams)
    matrix = torch.cat([project.weight for project in join.projections if isinstance(project, nn.Linear)], dim=1)
    stacked = torch.cat([stream.pooled.nan_to_num(0.0) for stream in streams], dim=1)
    torch.testing.assert_close(joined.pooled, stacked @ matrix.T)
    assert joined.states.shape == (4, 7, 5) == (4, joined.mask.shape[1], join.out_features)
    assert joined.mask.tolist() == [[n < length for n in range(7)] for length in (5, 3, 2, 0)]
    assert not joined.states[~joined.mask].any()


def test_masks_come_back_as_they_went() -> None:
    """Split after they were joined, the masks of the streams are the same, in the same order."""
    _, masks = batch()
    joined = join_masks(masks)
    back = split_masks(joined, masks)
    assert [(m, mask.shape[1]) for m, mask in joined.items()] == [("text", 4), ("audio", 10), ("visual", 5)]
    assert list(back) == list(masks)
    assert all(torch.equal(back[s], mask) for s, mask in masks.items())


def test_names_say_the_modality() -> None:
    """A stream is of the modality before the slash, and takes its settings where it has none of its own."""
    assert by_modality(["text", "audio/frames", "audio/clip"]) == {
        "text": ("text",),
        "audio": ("audio/frames", "audio/clip"),
    }
    assert streams_of("audio", ["text", "audio/frames", "audio/clip"]) == ("audio/frames", "audio/clip")
    assert streams_of("audio/clip", ["text", "audio/clip"]) == ("audio/clip",)
    assert streams_of("visual", ["text", "audio/clip"]) == ()
    settings = {"audio": 3, "audio/clip": 1}
    assert [setting_of(s, settings) for s in ("audio/frames", "audio/clip", "text")] == [3, 1, None]


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["a/"], "is no name"),
        (["/a"], "is no name"),
        (["a+b"], "is no name"),
        (["a/b/c"], "more than one '/'"),
        (["a", "a/b"], "also a modality of several"),
        ([f"a/{n}" for n in range(41)], "at most 40"),
    ],
)
def test_a_name_that_cannot_be_is_told(names: list[str], reason: str) -> None:
    """Empty parts, a plus, a second slash, one name for two things, and too many."""
    assert reason in (misnamed(names) or "")
    assert misnamed(["text", "audio/frames", "audio/clip"]) is None


def test_policies_are_told_of_the_modalities_when_a_model_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each policy, those inside others too, learns the modalities once, not the streams, in the order of the masks."""
    told: list[tuple[str, tuple[str, ...]]] = []

    def keep_what_it_hears(policy: DropoutPolicy, modalities: tuple[str, ...]) -> None:
        told.append((type(policy).__name__, modalities))

    monkeypatch.setattr(DropoutPolicy, "prepare", keep_what_it_hears)
    model = two_streams(dropout={"name": "scheduled", "policy": {"name": "mixed"}})
    assert told == [(name, model.modalities) for name in ("Scheduled", "Mixed", "Uniform", "Frames")]
    assert model.modalities == ("text", "audio", "visual")


def test_a_policy_that_cannot_be_told_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a plugin raises as it is told of the modalities is a sentence with its name, or its own about a setting."""
    wrong = {"name": "mixed", "policies": [{"name": "weighted", "weights": {"audoi": 1.0}}]}
    with pytest.raises(SettingsError, match=r"names the modality 'audoi', .* Did you mean 'audio'"):
        two_streams(dropout=wrong)
    monkeypatch.setattr(DropoutPolicy, "prepare", lambda policy, modalities: modalities[3])
    told = "The dropout 'uniform' fails when it is told of the modalities text, audio, visual: IndexError: tuple index"
    with pytest.raises(PluginError, match=told):
        two_streams(dropout="uniform")
