"""Stand-ins for an absent modality: zeros or a learned vector, and never its content."""

import pytest
import torch
from torch import Tensor

from emotiwave_core.interfaces import Encoded
from emotiwave_core.layers.missing import MissingKind, StandIn

WIDTHS = {"a": 3, "b": 2}
PRESENT = torch.tensor([[True, True], [False, True], [True, False], [False, False]])
KINDS: list[MissingKind] = ["zero", "learned"]


def encoded_with(junk: float) -> dict[str, Encoded]:
    """Four samples of two modalities, in another order than WIDTHS, with junk wherever nothing is."""
    generator = torch.Generator().manual_seed(0)
    encoded = {}
    for m, steps in (("b", 4), ("a", 3)):
        here = PRESENT[:, list(WIDTHS).index(m), None]
        mask = (torch.rand(4, steps, generator=generator) < 0.6) | (torch.arange(steps) == 1)
        mask &= here
        states = torch.randn(4, steps, WIDTHS[m], generator=generator)
        pooled = torch.randn(4, WIDTHS[m], generator=generator)
        encoded[m] = Encoded(torch.where(mask[..., None], states, junk), torch.where(here, pooled, junk), mask)
    return encoded


def stand_in(missing: StandIn, column: int) -> Tensor:
    """The learned vector of a modality, or zeros."""
    return missing.vectors[column].detach() if len(missing.vectors) else torch.zeros(list(WIDTHS.values())[column])


def test_zero_has_no_parameters_and_learned_has_a_vector_for_each_modality() -> None:
    """Zeros cost nothing; learned vectors are as wide as the modalities, and start small and not alike."""
    assert not list(StandIn(WIDTHS, "zero").parameters())
    torch.manual_seed(0)
    vectors = list(StandIn({"a": 500, "b": 300}, "learned").parameters())
    assert [tuple(vector.shape) for vector in vectors] == [(500,), (300,)]
    for vector in vectors:
        assert 0.015 < float(vector.detach().std()) < 0.025


@pytest.mark.parametrize("kind", KINDS)
def test_pooled_vectors_are_the_present_ones_and_the_stand_ins(kind: MissingKind) -> None:
    """A present modality gives its pooled vector, an absent one the stand-in, in the order of `in_features`."""
    missing, encoded = StandIn(WIDTHS, kind), encoded_with(junk=torch.nan)
    pooled = missing.pooled(encoded, PRESENT)
    for column, m in enumerate(WIDTHS):
        for sample in range(4):
            due = encoded[m].pooled[sample] if PRESENT[sample, column] else stand_in(missing, column)
            assert torch.equal(pooled[column][sample], due)


@pytest.mark.parametrize("kind", KINDS)
def test_sequences_hold_the_set_steps_and_a_learned_vector_as_the_only_step(kind: MissingKind) -> None:
    """States are zero where no step is set; a learned vector is the first and only step of an absent modality."""
    missing, encoded = StandIn(WIDTHS, kind), encoded_with(junk=torch.nan)
    for column, (m, (states, mask)) in enumerate(zip(WIDTHS, missing.sequences(encoded, PRESENT), strict=True)):
        for sample in range(4):
            due = torch.where(encoded[m].mask[sample, :, None], encoded[m].states[sample], 0.0)
            due_mask = encoded[m].mask[sample].clone()
            if not PRESENT[sample, column] and kind == "learned":
                due[0], due_mask[0] = stand_in(missing, column), True
            assert torch.equal(states[sample], due)
            assert torch.equal(mask[sample], due_mask)


@pytest.mark.parametrize("kind", KINDS)
def test_presence_decides_where_a_mask_still_has_steps(kind: MissingKind) -> None:
    """A modality that `present` leaves out is absent, whatever its mask says."""
    missing, whole = StandIn(WIDTHS, kind), torch.ones(4, 3, dtype=torch.bool)
    encoded = {m: Encoded(torch.ones(4, 3, width), torch.ones(4, width), whole) for m, width in WIDTHS.items()}
    for column, (states, mask) in enumerate(missing.sequences(encoded, PRESENT)):
        absent = ~PRESENT[:, column]
        assert mask[absent].sum(dim=1).eq(1 if kind == "learned" else 0).all()
        assert torch.equal(states[absent][:, 0], stand_in(missing, column).expand(int(absent.sum()), -1))
        assert not states[absent][:, 1:].any()
        assert mask[~absent].all()


def test_a_learned_vector_learns_only_from_samples_without_its_modality() -> None:
    """Its gradient is the sum of those of the absent samples alone, and exactly zero where its modality is there."""
    for read in ("pooled", "sequences"):
        missing, encoded = StandIn(WIDTHS, "learned"), encoded_with(junk=0.0)
        for rows, counts in ((slice(0, 4), [2.0, 2.0]), (slice(0, 1), [0.0, 0.0]), (slice(1, 2), [1.0, 0.0])):
            missing.zero_grad()
            part = {m: Encoded(*(tensor[rows] for tensor in one)) for m, one in encoded.items()}
            found = getattr(missing, read)(part, PRESENT[rows])
            sum(x.sum() for x in (found if read == "pooled" else [states for states, _ in found])).backward()
            for vector, count in zip(missing.vectors, counts, strict=True):
                assert vector.grad is not None
                assert vector.grad.eq(count).all(), (read, rows)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("junk", [float("nan"), float("inf")])
def test_absent_content_gets_no_gradient_and_gives_none(kind: MissingKind, junk: float) -> None:
    """NaN and infinity in an absent modality reach no result and no gradient, and present vectors get theirs whole."""
    missing, encoded = StandIn(WIDTHS, kind), encoded_with(junk)
    leaves = {m: one._replace(pooled=one.pooled.clone().requires_grad_()) for m, one in encoded.items()}
    (2.0 * torch.cat(missing.pooled(leaves, PRESENT), dim=1)).sum().backward()  # type: ignore[no-untyped-call]
    for column, m in enumerate(WIDTHS):
        gradient = leaves[m].pooled.grad
        assert gradient is not None
        assert torch.equal(gradient, 2.0 * PRESENT[:, column, None].float().expand_as(gradient))
    assert all(vector.grad is not None and vector.grad.isfinite().all() for vector in missing.vectors)


def test_a_learned_vector_is_added_whole_and_zeros_not_at_all() -> None:
    """The factors are the weights of what is present, and for the absent 1 with learned vectors, else 0."""
    weights = torch.tensor([[0.25, 0.75], [0.0, 1.0], [1.0, 0.0], [0.0, 0.0]])
    assert torch.equal(StandIn(WIDTHS, "zero").with_learned(weights, PRESENT), weights)
    learned = StandIn(WIDTHS, "learned").with_learned(weights, PRESENT)
    assert learned.tolist() == [[0.25, 0.75], [1.0, 1.0], [1.0, 1.0], [1.0, 1.0]]
    by_unit = StandIn(WIDTHS, "learned").with_learned(weights[:, None].expand(4, 5, 2), PRESENT[:, None])
    assert torch.equal(by_unit, learned[:, None].expand(4, 5, 2))


def test_stand_ins_are_of_the_type_of_what_they_replace() -> None:
    """Under mixed precision, vectors of 32 bits stand in for those of 16 without changing their type."""
    encoded = {
        m: one._replace(pooled=one.pooled.bfloat16(), states=one.states.bfloat16())
        for m, one in encoded_with(0.0).items()
    }
    missing = StandIn(WIDTHS, "learned")
    assert all(x.dtype == torch.bfloat16 for x in missing.pooled(encoded, PRESENT))
    assert all(states.dtype == torch.bfloat16 for states, _ in missing.sequences(encoded, PRESENT))
