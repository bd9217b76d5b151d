"""Attention, block and transformer equal torch's own, and nothing to attend to is finite forward and backward.

Their equations in float64 loops, and the positions', stand in test_crossmodal.py.
"""

import itertools

import pytest
import torch
from torch import Tensor, nn
from torch_twins import torch_attention, torch_layer

from emotiwave_core.layers.attention import Attention, Block, Transformer, positions, with_positions

MASK = torch.tensor(
    [[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 1, 0, 1, 0], [0, 0, 0, 0, 1], [0, 0, 0, 0, 0]], dtype=torch.bool
)
SOME = MASK.any(dim=1)  # torch's own make NaN of a row without a step


def expect_same_with_gradients(ours: Tensor, our_x: Tensor, theirs: Tensor, their_x: Tensor) -> None:
    """Two results and the gradients of their inputs are the same, in the rows that have a step."""
    torch.testing.assert_close(ours[SOME], theirs[SOME], atol=1e-10, rtol=1e-10)
    weights = torch.randn(ours[SOME].shape, dtype=torch.float64)
    for result in (ours, theirs):
        (result[SOME] * weights).sum().backward()
    torch.testing.assert_close(our_x.grad[SOME], their_x.grad[SOME], atol=1e-10, rtol=1e-10)


def perturbed(module: nn.Module) -> nn.Module:
    """The module in float64, its norms and biases moved away from ones and zeros."""
    module = module.double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return module


@pytest.mark.parametrize("heads", [1, 2, 6])
def test_attention_equals_torch(heads: int) -> None:
    """The attention and its gradients are those of nn.MultiheadAttention with the same weights."""
    torch.manual_seed(0)
    module = perturbed(Attention(6, heads))
    twin = torch_attention(module, 6)
    target = torch.randn(5, 4, 6, dtype=torch.float64)
    ours, theirs = (torch.randn(5, 5, 6, dtype=torch.float64) for _ in range(2))
    theirs.copy_(ours)
    ours.requires_grad_()
    theirs.requires_grad_()
    expect_same_with_gradients(
        module(target, ours, MASK), ours, twin(target, theirs, theirs, key_padding_mask=~MASK)[0], theirs
    )


def test_a_block_equals_torch() -> None:
    """A block that attends to its target is nn.TransformerEncoderLayer with the norm first, gradients included."""
    torch.manual_seed(0)
    block = perturbed(Block(6, 2, dropout=0.0))
    twin = torch_layer(block, 6)
    ours = torch.randn(5, 5, 6, dtype=torch.float64, requires_grad=True)
    theirs = ours.detach().clone().requires_grad_()
    expect_same_with_gradients(block(ours, ours, MASK), ours, twin(theirs, src_key_padding_mask=~MASK), theirs)


def test_a_transformer_equals_torch() -> None:
    """A stack without a source is torch's layers one after the other, and a norm."""
    torch.manual_seed(0)
    stack = perturbed(Transformer(6, 3, 3, dropout=0.0))
    twins = [torch_layer(block, 6) for block in stack.blocks]
    ours = torch.randn(5, 5, 6, dtype=torch.float64, requires_grad=True)
    theirs = ours.detach().clone().requires_grad_()
    z = theirs
    for twin in twins:
        z = twin(z, src_key_padding_mask=~MASK)
    z = nn.functional.layer_norm(z, (6,), stack.norm.weight, stack.norm.bias)
    expect_same_with_gradients(stack(ours, None, MASK), ours, z, theirs)


@pytest.mark.parametrize("rows", [MASK, MASK[-1:]], ids=["among others", "alone"])
@pytest.mark.parametrize("training", [False, True])
def test_an_empty_source_leaves_gradients_finite(rows: Tensor, training: bool) -> None:
    """Gradients of the input, the source and all parameters are numbers where a row has no step, with dropout too."""
    torch.manual_seed(0)
    stack = Transformer(6, 2, 2, dropout=0.5).train(training)
    target, source = (torch.randn(len(rows), 5, 6, requires_grad=True) for _ in range(2))
    stack(target, source, rows).square().sum().backward()
    for tensor in (target, source, *stack.parameters()):
        assert tensor.grad is not None
        assert tensor.grad.isfinite().all()
    assert target.grad[-1].any()
    assert not source.grad[-1].any()


def test_no_kernel_is_asked_for_a_softmax_over_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Result and gradients are the same with a kernel that makes NaN of a row of which nothing is allowed."""
    torch.manual_seed(0)
    module = Attention(6, 2)
    target, source, weights = torch.randn(5, 4, 6), torch.randn(5, 5, 6), torch.randn(5, 4, 6)

    def plain(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor) -> Tensor:
        scores = (query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5).masked_fill(~attn_mask, -torch.inf)
        return scores.softmax(dim=-1) @ value

    found = []
    for _ in range(2):
        result = module(target, source, MASK)
        found.append([result, *torch.autograd.grad((result * weights).sum(), list(module.parameters()))])
        monkeypatch.setattr("torch.nn.functional.scaled_dot_product_attention", plain)
    torch.testing.assert_close(found[1], found[0])


def test_an_empty_source_adds_nothing() -> None:
    """A block whose source has no step is its feed-forward alone, and its attention learns nothing."""
    torch.manual_seed(0)
    block = Block(6, 2, dropout=0.0)
    target = torch.randn(2, 3, 6)
    found = block(target, torch.randn(2, 5, 6), torch.zeros(2, 5, dtype=torch.bool))
    torch.testing.assert_close(found, target + block.feed_forward(target))
    found.square().sum().backward()
    assert not any(p.grad is not None and p.grad.any() for p in block.attention.parameters())


def test_masked_steps_of_the_source_are_unread() -> None:
    """Content of masked steps of the source changes neither the result nor any gradient, and gets none itself."""
    torch.manual_seed(0)
    stack = Transformer(6, 2, 2, dropout=0.0)
    target, source = torch.randn(5, 4, 6), torch.randn(5, 5, 6)
    found = []
    for content in (0.0, 7.0, -1e4):
        stack.zero_grad()
        given = torch.where(MASK[..., None], source, content).requires_grad_()
        result = stack(target, given, MASK)
        result.square().sum().backward()
        assert not given.grad[~MASK].any()
        found.append([result.detach(), *(p.grad.clone() for p in stack.parameters())])
    for before, after in itertools.pairwise(found):
        torch.testing.assert_close(after, before)


@torch.no_grad()
def test_order_does_not_matter_without_positions() -> None:
    """Steps in another order give the same states in that order; a source in another order gives the same states."""
    torch.manual_seed(0)
    stack = Transformer(6, 2, 2, dropout=0.0)
    x, source = torch.randn(5, 5, 6), torch.randn(5, 5, 6)
    order = torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(stack(x[:, order], None, MASK[:, order]), stack(x, None, MASK)[:, order])
    torch.testing.assert_close(stack(x, source[:, order], MASK[:, order]), stack(x, source, MASK))


@torch.no_grad()
def test_dropout_spares_the_weights() -> None:
    """The attention of a block in training is that of eval(), and what the block makes of it is not."""
    torch.manual_seed(0)
    block, x = Block(6, 2, dropout=0.5), torch.randn(5, 5, 6)
    assert torch.equal(block.train().attention(x, x, MASK), block.eval().attention(x, x, MASK))
    assert not torch.equal(block.train()(x, x, MASK), block.eval()(x, x, MASK))


@torch.no_grad()
def test_positions_are_added_to_what_is_scaled() -> None:
    """with_positions is sqrt(W) x + positions, for each sample alike."""
    x = torch.randn(2, 7, 6, dtype=torch.float64)
    torch.testing.assert_close(with_positions(x), 6**0.5 * x + positions(7, 6, x))
