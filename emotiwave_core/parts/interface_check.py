"""What a part gives back, held against its interface: shapes and types alone, so that nobody waits for a device."""

from collections.abc import Iterable

import torch
from torch import Tensor

from emotiwave_core.errors import PluginError
from emotiwave_core.interfaces import Encoded, Encoder, Fused, Fusion, Tensors


def check_encoded(who: str, encoder: Encoder, given: object, x: Tensor) -> Encoded:
    """What an encoder made of x [B, T, F]. PluginError where it is no Encoded."""
    if not isinstance(given, Encoded):
        raise _wrong_type(who, encoder, given, "Encoded(states, pooled, mask)")
    states, pooled, mask = given
    B, D = len(x), encoder.out_features
    steps = mask.shape[1] if isinstance(mask, Tensor) and mask.dim() == 2 else None
    _check(who, "the mask", mask, (B, steps), "[B, T']", x, steps=True)
    _check(who, "the states", states, (B, steps, D), "[B, T', D]", x)
    _check(who, "the pooled vector", pooled, (B, D), "[B, D]", x)
    return given


def check_fused(who: str, fusion: Fusion, given: object, like: Tensor, modalities: int) -> Fused:
    """What a fusion made of encodings with pooled vectors such as `like` [B, D]. PluginError where it is no Fused."""
    if not isinstance(given, Fused):
        raise _wrong_type(who, fusion, given, "Fused(vector)")
    B = len(like)
    _check(who, "the vector", given.vector, (B, fusion.out_features), "[B, D]", like)
    if given.weights is not None:
        _check(who, "the weights", given.weights, (B, modalities), "[B, M]", like)
    if given.loss is not None:
        _check_shape(who, "the loss", given.loss, (), "[]")
        if not given.loss.is_floating_point():
            raise PluginError(f"{who} returns a loss of the type {given.loss.dtype}, which has no gradient.")
    return given


def versions(tensors: Iterable[Tensor]) -> list[int]:
    """How often each tensor has been written to; in inference mode nobody counts that."""
    return [one._version for one in tensors if not one.is_inference()]


def check_unwritten(who: str, masks: Iterable[Tensor], before: list[int]) -> None:
    """PluginError where a part has written into masks that others read too."""
    if versions(masks) != before:
        raise PluginError(f"{who} writes into the mask that it is given, which others read too: make a new one.")


def check_left(who: str, masks: Tensors, given: object) -> Tensors:
    """What a policy left of masks {modality: [B, T] bool}. PluginError where it is not that."""
    if not isinstance(given, dict) or given.keys() != masks.keys():
        found = f"the keys {_list(given)}" if isinstance(given, dict) else type(given).__name__
        raise PluginError(f"{who} returns {found} where a dict of masks for {_list(masks)} is due.")
    for m, mask in masks.items():
        _check(who, f"the mask of '{m}'", given[m], mask.shape, "[B, T]", mask, steps=True)
    return given


def check_only_clears(who: str, masks: Tensors, left: Tensors) -> None:
    """PluginError where a policy has set steps that were not there."""
    for m, mask in masks.items():
        if bool((left[m] & ~mask).any()):
            raise PluginError(f"{who} sets steps of '{m}' that were not there: a dropout policy only clears.")


def _check(
    who: str, what: str, given: object, due: tuple[int | None, ...], letters: str, like: Tensor, steps: bool = False
) -> None:
    """PluginError where a tensor is not of the shape `due` and of the device and type of `like`; `steps` are bool."""
    kind = torch.bool if steps else like.dtype
    if isinstance(given, Tensor) and given.shape == due and given.dtype is kind and given.device == like.device:
        return  # in every step: the rest is slower
    tensor = _check_shape(who, what, given, due, letters)
    if tensor.device != like.device:
        raise PluginError(f"{who} returns {what} on {tensor.device}, where all that it is given is on {like.device}.")
    if tensor.dtype is not kind and (steps or not _is_near(tensor, like)):
        raise PluginError(f"{who} returns {what} of the type {tensor.dtype}, where {kind} is due.")


def _check_shape(who: str, what: str, given: object, due: tuple[int | None, ...], letters: str) -> Tensor:
    """PluginError where it is no tensor of the shape `due`, in which None is any number."""
    if not isinstance(given, Tensor):
        raise PluginError(f"{who} returns {type(given).__name__} as {what}, where a tensor {letters} is due.")
    found = given.shape
    if len(found) != len(due) or any(size not in (None, one) for size, one in zip(due, found, strict=True)):
        names = letters.strip("[]").split(", ")
        sizes = ", ".join(name if size is None else str(size) for size, name in zip(due, names, strict=False))
        raise PluginError(f"{who} returns {what} of the shape {list(found)}, where {letters} = [{sizes}] is due.")
    return given


def _is_near(given: Tensor, like: Tensor) -> bool:
    """Whether a type is one that autocast makes of the other: float32 and the shorter one stand beside each other."""
    device = like.device.type
    if not torch.is_autocast_enabled(device):
        return False
    kinds = (torch.float32, torch.get_autocast_dtype(device))
    return given.dtype in kinds and like.dtype in kinds


def _wrong_type(who: str, part: torch.nn.Module, given: object, due: str) -> PluginError:
    return PluginError(f"{who} is wrong: {type(part).__name__} returns {type(given).__name__} where {due} is due.")


def _list(names: dict[str, Tensor]) -> str:
    return ", ".join(map(str, names)) or "nothing"
