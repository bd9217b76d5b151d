"""The shipped parts together: any encoder with any fusion with any dropout policy, and what all fusions share."""

import tomllib
from itertools import product

import pytest
import torch
from datasets import WIDTHS
from documents import ENTRIES, ROOT
from models import some_batch
from torch import Tensor
from training import REGISTRY

from emotiwave_core.config.options import signature_options
from emotiwave_core.config.recipe import Part, Recipe
from emotiwave_core.interfaces import Encoded, Fusion
from emotiwave_core.layers.masking import keep, present_in
from emotiwave_core.layers.missing import StandIn
from emotiwave_core.modalities import configurations
from emotiwave_core.model.assemble import assemble
from emotiwave_core.model.terms import training_loss
from emotiwave_core.objectives.settle import make_objective
from emotiwave_core.parts.kinds import KINDS

SHARED = {"__init__", "face_embedding", "speech_encoder"}  # of several extractors
SHIPPED = {
    kind: [n.partition(".")[2] for n in ENTRIES if n.startswith(kind)] for kind in ("encoder", "fusion", "dropout")
}


def test_every_file_is_a_part_and_every_part_a_file() -> None:
    """Each file in plugins/ stands in pyproject.toml as KIND.NAME and in registry.toml, and nothing else does."""
    files = {f"{path.parent.name}.{path.stem}" for path in ROOT.glob("plugins/*/*.py") if path.stem not in SHARED}
    of_core = {module for module in ENTRIES.values() if module.startswith("emotiwave_core.")}
    assert set(ENTRIES.values()) - of_core == files
    assert all((ROOT / f"{module.replace('.', '/')}.py").is_file() for module in of_core)
    assert {name.partition(".")[0] for name, module in ENTRIES.items() if module in of_core} == {"reader", "objective"}
    owned = tomllib.loads((ROOT / "registry.toml").read_text())
    named = {f"{kind}.{name}" for kind in KINDS for name in owned.get(kind, {})}
    assert set(ENTRIES) == named
    assert all(module.endswith(entry.partition(".")[2]) for entry, module in ENTRIES.items() if "reader." not in entry)


PAIRS = list(product(SHIPPED["encoder"], SHIPPED["fusion"]))


@pytest.mark.short_rows(4)
@pytest.mark.parametrize("number", range(max(map(len, SHIPPED.values()))))
def test_any_parts_go_together(number: int) -> None:
    """An encoder, a fusion and a policy, each at least once, assemble, train a step and score every configuration."""
    encoder, fusion, dropout = (names[number % len(names)] for names in SHIPPED.values())
    go_together(encoder, fusion, [dropout])


@pytest.mark.slow
@pytest.mark.parametrize(("encoder", "fusion"), PAIRS)
def test_all_parts_go_together(encoder: str, fusion: str) -> None:
    """The same, for every encoder with every fusion and every dropout policy."""
    go_together(encoder, fusion, SHIPPED["dropout"])


def go_together(encoder: str, fusion: str, policies: list[str]) -> None:
    """Assemble these parts as they come, train a step, and score every configuration."""
    inputs, masks = some_batch()
    objective = make_objective(Recipe().objective, ("happy", "sad"))
    targets = torch.tensor([0, 1, 0, 1, 0, 1])
    for dropout in policies:
        recipe = Recipe(encoder={"*": Part(encoder)}, fusion=Part(fusion), dropout=Part(dropout))
        torch.manual_seed(0)
        model = assemble(REGISTRY.resolve(recipe), WIDTHS, 2).train()
        for stream, number in model.tokens.items():
            inputs[stream] = number(("well", "yes", "no"))[torch.randint(3, masks[stream].shape)].float()
        before = [weight.detach().clone() for weight in model.parameters()]
        optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0)
        videos = None if model.neighbours is None else torch.tensor([0, 0, 0, 1, 1, 2])
        left, _ = model.drop(masks, torch.zeros(()), videos)
        output = model.forward_masked(inputs, left, videos)
        loss, each = training_loss(objective, recipe.objective, output, None, targets)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        model.policy.observe(output.present, each.detach())
        moved = [not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True)]
        assert sum(moved) > (0.9 if dropout == "none" else 0.3) * len(moved), f"with {dropout} few weights learn"

        model.eval()
        with torch.inference_mode():
            encoded, absent = model.encode(inputs, masks), model.encode_absent(inputs)
            for kept in configurations(model.modalities):
                columns = torch.tensor([m in kept for m in model.modalities])
                once = model.fuse(model.restrict(kept, encoded, absent), present_in(masks) & columns)
                assert bool(once.logits.isfinite().all()), (dropout, kept)
                if dropout == policies[0]:
                    plain = model(inputs, keep(masks, columns))
                    torch.testing.assert_close(once.logits, plain.logits, atol=1e-5, rtol=1e-4)


def encoded_of(present: Tensor) -> dict[str, Encoded]:
    """Random encodings of three modalities, each a sequence of four steps."""
    encoded = {}
    for column, m in enumerate(WIDTHS):
        mask = torch.ones(len(present), 4, dtype=torch.bool) & present[:, column, None]
        states = torch.where(mask[..., None], torch.randn(len(present), 4, 6), 0.0)
        encoded[m] = Encoded(states, torch.where(present[:, column, None], torch.randn(len(present), 6), 0.0), mask)
    return encoded


# To `experts` an absent modality adds nothing, and `context` has a fusion inside.
STANDING_IN = [name for name in SHIPPED["fusion"] if name not in ("experts", "context")]


@pytest.mark.parametrize("name", STANDING_IN)
def test_what_is_learned_for_an_absent_modality(name: str) -> None:
    """With missing="learned" a modality's stand-in gets a gradient when it is absent from a sample, and only then."""
    torch.manual_seed(0)
    fusion: Fusion = REGISTRY.make("fusion", Part(name, {"missing": "learned"}), dict.fromkeys(WIDTHS, 6))
    [stand_ins] = [module for module in fusion.modules() if isinstance(module, StandIn)]
    assert len(stand_ins.vectors) == 3
    for absent in (None, *range(3)):
        present = torch.ones(5, 3, dtype=torch.bool)
        if absent is not None:
            present[1, absent] = False
        fusion.zero_grad()
        vector = fusion(encoded_of(present), present).vector
        (vector * torch.randn_like(vector)).sum().backward()  # type: ignore[no-untyped-call]
        for column, stand_in in enumerate(stand_ins.vectors):
            learns = stand_in.grad is not None and bool((stand_in.grad != 0).any())
            assert learns == (column == absent), (absent, column)


@pytest.mark.parametrize("name", STANDING_IN)
def test_zeros_are_the_default_for_what_is_absent(name: str) -> None:
    """As a fusion comes, it learns nothing for an absent modality."""
    options = signature_options(REGISTRY.part("fusion", name), 1)
    assert options["missing"].default == "zero"
    fusion: Fusion = REGISTRY.make("fusion", Part(name), dict.fromkeys(WIDTHS, 6))
    assert all(not len(module.vectors) for module in fusion.modules() if isinstance(module, StandIn))
