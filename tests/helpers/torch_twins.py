"""Modules of torch with the weights of ours."""

import torch
from torch import nn

from emotiwave_core.layers.attention import Attention, Block


def torch_attention(module: Attention, width: int) -> nn.MultiheadAttention:
    """torch's attention with the same weights, and biases of zero where ours has none."""
    twin = nn.MultiheadAttention(width, module.heads, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        twin.in_proj_weight.copy_(torch.cat([module.query.weight, module.key.weight, module.value.weight]))
        twin.in_proj_bias.zero_()
    twin.out_proj.load_state_dict(module.output.state_dict())
    return twin


def torch_layer(block: Block, width: int) -> nn.TransformerEncoderLayer:
    """torch's encoder layer with the same weights."""
    heads = block.attention.heads
    twin = nn.TransformerEncoderLayer(
        width, heads, 4 * width, dropout=0.0, norm_first=True, batch_first=True, dtype=torch.float64
    )
    twin.self_attn = torch_attention(block.attention, width)
    for ours, theirs in ((block.attention_norm, twin.norm1), (block.feed_forward[0], twin.norm2)):
        theirs.load_state_dict(ours.state_dict())
    for ours, theirs in ((block.feed_forward[1], twin.linear1), (block.feed_forward[4], twin.linear2)):
        theirs.load_state_dict(ours.state_dict())
    return twin
