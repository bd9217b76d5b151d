"""The fusion `graph` follows the equations of the dynamic fusion graph; an absent modality switches vertices off."""

from itertools import combinations
from typing import Any

import pytest
import torch
from step_fusions import batch, copy_weights, scramble, some_absent, stood_in, without
from torch import Tensor, nn

from emotiwave_core.errors import SettingsError
from emotiwave_core.interfaces import Encoded
from emotiwave_fusions.graph import Graph

WIDTHS = {"a": 3, "b": 2, "c": 5, "d": 1}


def subsets_of(names: str) -> list[str]:
    """All non-empty subsets of letters, small ones first, as sorted words."""
    return ["".join(some) for size in range(1, len(names) + 1) for some in combinations(names, size)]


def by_the_equations(fusion: Graph, encoded: dict[str, Encoded], here: set[str], b: int) -> Tensor:
    """The vector of sample b: vertex by vertex, each the network of the concatenation of its weighed children."""
    names = "".join(encoded)
    vertices = {
        name: fusion.project[column].weight @ (part.pooled[b] if name in here else torch.zeros_like(part.pooled[b]))
        for column, (name, part) in enumerate(encoded.items())
    }
    logits = iter(fusion.efficacy(torch.cat(list(vertices.values()))).tolist())

    def weighed(children: list[str]) -> Tensor:
        parts = []
        for child in children:
            efficacy = (1.0 + torch.tensor(-next(logits), dtype=torch.float64).exp()) ** -1
            parts.append(efficacy * vertices[child] if set(child) <= here else 0.0 * vertices[child])
        return torch.cat(parts)

    networks = iter(fusion.vertex)
    for subset in subsets_of(names)[len(names) :]:
        vertices[subset] = next(networks)(weighed(subsets_of(subset)[:-1]))
    vector: Tensor = fusion.output(weighed(list(vertices)))
    assert next(logits, None) is None
    return vector


@pytest.mark.parametrize("number", [1, 2, 3, 4])
@torch.no_grad()
def test_the_vector_equals_the_equations(number: int) -> None:
    """For every configuration the vector is that of a loop over the subsets, in float64."""
    torch.manual_seed(0)
    names = "abcd"[:number]
    widths = {name: WIDTHS[name] for name in names}
    fusion = Graph(widths, width=4).double().eval()
    encoded, present = batch(widths)
    encoded = {name: Encoded(part.states.double(), part.pooled.double(), part.mask) for name, part in encoded.items()}
    for here in ["", *subsets_of(names)]:
        kept = torch.tensor([name in here for name in names]).expand_as(present)
        found = fusion(encoded, kept).vector
        for b in range(3):
            torch.testing.assert_close(
                found[b], by_the_equations(fusion, encoded, set(here), b), atol=1e-12, rtol=1e-12
            )


@pytest.mark.parametrize(("number", "vertices", "edges"), [(1, 1, 1), (2, 3, 5), (3, 7, 19), (4, 15, 65), (5, 31, 211)])
def test_the_graph_has_a_vertex_for_each_subset(number: int, vertices: int, edges: int) -> None:
    """M modalities make 2^M - 1 vertices and 3^M - 2^M edges, those to the output included."""
    fusion = Graph(dict.fromkeys("abcde"[:number], 2), width=3)
    assert len(fusion.project) + len(fusion.vertex) == vertices == len(fusion.holds)
    assert sum(fusion.edges) == edges == 3**number - 2**number
    assert fusion.out_features == 3


def test_too_many_modalities_are_refused() -> None:
    """Six modalities would have 665 edges, which the error says."""
    with pytest.raises(SettingsError, match=r"at most 5 modalities, not 6: .* 665 edges"):
        Graph(dict.fromkeys("abcdef", 2))


def set_efficacies(fusion: Graph, logit: float) -> None:
    """All efficacies to the sigmoid of one number."""
    last = fusion.efficacy[-1]
    assert isinstance(last, nn.Linear)
    nn.init.zeros_(last.weight)
    nn.init.constant_(last.bias, logit)


@torch.no_grad()
def test_without_efficacies_the_vector_is_constant() -> None:
    """With all efficacies 0 the vector depends on nothing, with all 1 it does; nothing present is the former."""
    torch.manual_seed(0)
    fusion = Graph(WIDTHS, width=4).eval()
    given = batch(WIDTHS)
    nothing = fusion(given[0], torch.zeros_like(given[1])).vector
    set_efficacies(fusion, 1e4)
    all_on = fusion(*given).vector
    assert (all_on[0] - all_on[1]).abs().max() > 1e-4
    set_efficacies(fusion, -1e4)
    torch.testing.assert_close(fusion(*given).vector, fusion.output(torch.zeros(3, 60)))
    torch.testing.assert_close(nothing, fusion.output(torch.zeros(3, 60)))


@torch.no_grad()
def test_an_absent_modality_switches_its_vertices_off() -> None:
    """With a modality absent, neither its projection nor the networks of the subsets that hold it change the vector."""
    torch.manual_seed(0)
    fusion = Graph(WIDTHS, width=4).eval()
    given = without("b", batch(WIDTHS))
    before = fusion(*given).vector
    scramble(fusion.project[1])
    subsets = subsets_of("abcd")[4:]
    for subset, network in zip(subsets, fusion.vertex, strict=True):
        if "b" in subset:
            scramble(network)
    assert torch.equal(fusion(*given).vector, before)
    scramble(fusion.vertex[subsets.index("ac")])
    assert not torch.allclose(fusion(*given).vector, before)


@torch.no_grad()
def test_with_a_learned_vector_all_vertices_are_on() -> None:
    """With missing="learned" the vector is that of a complete sample whose absent modalities hold learned vectors."""
    torch.manual_seed(0)
    fusion = Graph(WIDTHS, width=4, missing="learned").eval()
    for vector in fusion.missing.vectors:
        vector.normal_()
    plain = Graph(WIDTHS, width=4).eval()
    copy_weights(fusion, plain)
    given = some_absent(WIDTHS)
    found = fusion(*given).vector
    torch.testing.assert_close(found, plain(*stood_in(fusion, given)).vector)
    assert (plain(*given).vector[1:] - found[1:]).abs().amax(dim=1).gt(1e-4).all()


@pytest.mark.parametrize("options", [{"width": 0}, {"dropout": 1.0}, {"dropout": -0.1}, {"missing": "mean"}])
def test_a_bad_option_is_named(options: dict[str, Any]) -> None:
    """An option out of its range is refused by name."""
    with pytest.raises(SettingsError, match=f"option {next(iter(options))} of graph"):
        Graph({"a": 3}, **options)
