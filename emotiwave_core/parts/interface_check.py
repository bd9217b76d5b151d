"""Checks what a part returns against its interface: shapes and types alone, so that nobody waits for a device."""

from collections.abc import Iterable

import torch
from torch import Tensor

from emotiwave_core.errors import PluginError
from emotiwave_core.interfaces import (
    MOST_TOKENS,
    AnsweringFusion,
    Augmentation,
    Augmented,
    Encoded,
    Encoder,
    Fused,
    Fusion,
    Tensors,
)

Shape = dict[str, int | None]  # the size of each dimension by its letter, None for any


def check_encoded(who: str, encoder: Encoder, returned: object, x: Tensor) -> Encoded:
    """Check that an encoder returned an Encoded for x [B, T, F]; PluginError where it did not."""
    if not isinstance(returned, Encoded):
        raise _wrong_type(who, encoder, returned, "Encoded(states, pooled, mask)")
    states, pooled, mask = returned
    B, D = x.shape[0], encoder.out_features
    steps = mask.shape[1] if isinstance(mask, Tensor) and mask.dim() == 2 else None
    _check(who, "the mask", mask, {"B": B, "T'": steps}, x, steps=True)
    _check(who, "the states", states, {"B": B, "T'": steps, "D": D}, x)
    _check(who, "the pooled vector", pooled, {"B": B, "D": D}, x)
    return returned


def check_tokens(who: str, returned: object, words: int) -> Tensor:
    """Check that a word encoder returned numbers [W, K] of its words, 0 to 2^24 - 1; else PluginError."""
    width = returned.shape[1] if isinstance(returned, Tensor) and returned.dim() == 2 else None
    numbers = _check_shape(who, "the numbers of words", returned, {"W": words, "K": width}).cpu()
    if numbers.dtype is not torch.int64:
        raise PluginError(f"{who} returns numbers of words of the type {numbers.dtype}, where torch.int64 is due.")
    if width == 0 or bool(((numbers < 0) | (numbers >= MOST_TOKENS)).any()):
        raise PluginError(f"{who} must return one number or more of each word, from 0 to {MOST_TOKENS - 1}.")
    return numbers


def check_fused(who: str, fusion: Fusion, returned: object, like: Tensor, modalities: int) -> Fused:
    """Check that a fusion returned a Fused for encodings with pooled vectors as `like` [B, D]; else PluginError."""
    if not isinstance(returned, Fused):
        raise _wrong_type(who, fusion, returned, "Fused(vector)")
    B = like.shape[0]
    _check(who, "the vector", returned.vector, {"B": B, "D": fusion.out_features}, like)
    if returned.weights is not None:
        _check(who, "the weights", returned.weights, {"B": B, "M": modalities}, like)
    if returned.loss is not None:
        _check_shape(who, "the loss", returned.loss, {})
        if not returned.loss.is_floating_point():
            raise PluginError(f"{who} returns a loss of the type {returned.loss.dtype}, which has no gradient.")
    if isinstance(fusion, AnsweringFusion) and fusion.space is not None:
        _check(who, "the logits", returned.logits, {"B": B, "C": fusion.space.size}, like)
        if returned.members is not None:
            _check(who, "the members' logits", returned.members, {"B": B, "K": None, "C": fusion.space.size}, like)
    elif returned.logits is not None:
        raise PluginError(f"{who} returns logits: derive it from AnsweringFusion, or leave them to the model's head.")
    return returned


def check_unimodal(who: str, logits: object, shape: tuple[int, ...]) -> Tensor:
    """Check that a fusion returned logits [B, M, C] of each modality alone; else PluginError."""
    return _check_shape(who, "the unimodal logits", logits, dict(zip("BMC", shape, strict=True)))


def versions(tensors: Iterable[Tensor]) -> list[int]:
    """Count how often each tensor has been written to; in inference mode torch does not count."""
    return [tensor._version for tensor in tensors if not tensor.is_inference()]


def check_unwritten(who: str, masks: Iterable[Tensor], before: list[int]) -> None:
    """PluginError where a part has written into masks that others read too."""
    if versions(masks) != before:
        raise PluginError(f"{who} writes into the mask that it is given, which others read too: make a new one.")


def check_policy_masks(who: str, masks: Tensors, returned: object) -> Tensors:
    """Check that a policy returned masks of the same names and shapes {modality: [B, T] bool}; else PluginError."""
    if not isinstance(returned, dict) or returned.keys() != masks.keys():
        what = f"the keys {_list(returned)}" if isinstance(returned, dict) else type(returned).__name__
        raise PluginError(f"{who} returns {what} where a dict of masks for {_list(masks)} is due.")
    for m, mask in masks.items():
        _check(who, f"the mask of '{m}'", returned[m], {"B": len(mask), "T": mask.shape[1]}, mask, steps=True)
    return returned


def check_only_clears(who: str, masks: Tensors, left: Tensors) -> None:
    """PluginError where a policy has set steps that were not there."""
    for m, mask in masks.items():
        if bool((left[m] & ~mask).any()):
            raise PluginError(f"{who} sets steps of '{m}' that were not there: a dropout policy only clears.")


def check_augmented(who: str, part: Augmentation, inputs: Tensors, masks: Tensors, came: object) -> Augmented:
    """Check that an augmentation returned an Augmented of the names and shapes that it was given; else PluginError."""
    if not isinstance(came, Augmented):
        raise _wrong_type(who, part, came, "Augmented(inputs, masks)")
    for what, given, tensors in (("inputs", inputs, came.inputs), ("masks", masks, came.masks)):
        if not isinstance(tensors, dict) or tensors.keys() != given.keys():
            names = f"the keys {_list(tensors)}" if isinstance(tensors, dict) else type(tensors).__name__
            raise PluginError(f"{who} returns {names} as {what} where a dict for {_list(given)} is due.")
    for s, x in inputs.items():
        B, T, F = x.shape
        _check(who, f"the features of '{s}'", came.inputs[s], {"B": B, "T": T, "F": F}, x)
        _check(who, f"the mask of '{s}'", came.masks[s], {"B": B, "T": T}, masks[s], steps=True)
    if came.mixture is not None:
        if not part.mixes:
            raise PluginError(f"{who} returns a mixture: say so in its class, `mixes = True`.")
        like = next(iter(inputs.values()))
        _check(who, "the shares of the mixture", came.mixture.share, {"B": len(like)}, like)
        _check_shape(who, "the partners of the mixture", came.mixture.partner, {"B": len(like)})
    return came


def check_steps_left(who: str, masks: Tensors, left: Tensors) -> None:
    """PluginError where an augmentation has set steps that were not there, or taken all of a sample's."""
    for s, mask in masks.items():
        if bool((left[s] & ~mask).any()):
            raise PluginError(f"{who} sets steps of '{s}' that were not there: an augmentation only clears.")
        if bool((mask.any(dim=1) & ~left[s].any(dim=1)).any()):
            raise PluginError(f"{who} takes all steps of '{s}' from a sample: that is a dropout policy's to do.")


def _check(who: str, what: str, returned: object, expected: Shape, like: Tensor, steps: bool = False) -> None:
    """PluginError where a tensor is not of the shape `due` and of the device and type of `like`; `steps` are bool."""
    if torch.compiler.is_exporting():
        return  # sizes are open there, and comparing them would close them
    kind = torch.bool if steps else like.dtype
    if (
        isinstance(returned, Tensor)
        and returned.shape == tuple(expected.values())
        and returned.dtype is kind
        and returned.device == like.device
    ):
        return  # in every step: the rest is slower
    tensor = _check_shape(who, what, returned, expected)
    if tensor.device != like.device:
        raise PluginError(f"{who} returns {what} on {tensor.device}, where all that it is given is on {like.device}.")
    if tensor.dtype is not kind and (steps or not _is_near(tensor, like)):
        raise PluginError(f"{who} returns {what} of the type {tensor.dtype}, where {kind} is due.")


def _check_shape(who: str, what: str, returned: object, expected: Shape) -> Tensor:
    """PluginError where it is no tensor of the shape `due`."""
    letters = f"[{', '.join(expected)}]"
    if not isinstance(returned, Tensor):
        raise PluginError(f"{who} returns {type(returned).__name__} as {what}, where a tensor {letters} is due.")
    shape = returned.shape
    if len(shape) != len(expected) or any(
        size not in (None, real) for size, real in zip(expected.values(), shape, strict=True)
    ):
        sizes = ", ".join(letter if size is None else str(size) for letter, size in expected.items())
        raise PluginError(f"{who} returns {what} of the shape {list(shape)}, where {letters} = [{sizes}] is due.")
    return returned


def _is_near(returned: Tensor, like: Tensor) -> bool:
    """Tell whether autocast makes one type of the other: float32 and the shorter one stand beside each other."""
    device = like.device.type
    if not torch.is_autocast_enabled(device):
        return False
    kinds = (torch.float32, torch.get_autocast_dtype(device))
    return returned.dtype in kinds and like.dtype in kinds


def _wrong_type(who: str, part: torch.nn.Module, returned: object, expected: str) -> PluginError:
    return PluginError(
        f"{who} is wrong: {type(part).__name__} returns {type(returned).__name__} where {expected} is due."
    )


def _list(names: dict[str, Tensor]) -> str:
    return ", ".join(map(str, names)) or "nothing"
