"""Tensors of a model in CTranslate2's format (`model.bin`), read without that library, and without trust.

The file is a version (4 bytes), the model's type, a revision (4), the number of variables (4), then of each its name,
its rank (1), its sizes (4 each), its type of number (1), its length in bytes (4) and its content. A name is its length
(2 bytes) and as many bytes, the last of which is 0.
"""

import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from emotiwave_core.errors import SettingsError

VERSION = 6
TYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
MOST_VARIABLES, MOST_RANK = 100_000, 8


def read_ctranslate2(path: Path, prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix`, as float32, by the rest of their names.

    SettingsError where the file is damaged, or holds numbers that have been rounded to 8 bits.
    """
    try:
        with path.open("rb") as file:
            return _read(file, prefix)
    except (struct.error, ValueError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not a model of CTranslate2, or is damaged: {error}.") from error


def _read(file: BinaryIO, prefix: str) -> dict[str, Tensor]:
    version = _number(file, "<I")
    if version != VERSION:
        raise ValueError(f"it is of version {version}, and {VERSION} is read")
    _name(file)
    _number(file, "<I")
    count = _number(file, "<I")
    if count > MOST_VARIABLES:
        raise ValueError(f"it has {count} variables")
    tensors = {}
    for _ in range(count):
        name = _name(file)
        rank = _number(file, "<B")
        if rank > MOST_RANK:
            raise ValueError(f"'{name}' has {rank} dimensions")
        shape = [_number(file, "<I") for _ in range(rank)]
        kind, size = TYPES.get(_number(file, "<B")), _number(file, "<I")
        if not name.startswith(prefix):
            file.seek(size, 1)
            continue
        if kind is None or size != np.dtype(kind).itemsize * int(np.prod(shape, dtype=object)):
            raise ValueError(f"'{name}' has {size} bytes for the shape {shape}")
        if kind is np.int8:
            raise ValueError(f"'{name}' was rounded to 8 bits; convert it with float16 or float32")
        content = file.read(size)
        if len(content) < size:
            raise ValueError("it is cut off")
        array = np.frombuffer(content, kind).reshape(shape)
        tensors[name.removeprefix(prefix)] = torch.from_numpy(array.astype(np.float32))
    return tensors


def _number(file: BinaryIO, form: str) -> int:
    return int(struct.unpack(form, file.read(struct.calcsize(form)))[0])


def _name(file: BinaryIO) -> str:
    return file.read(_number(file, "<H")).decode().rstrip("\0")


def whisper_encoder_tensors(stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a Whisper encoder by the names that transformers gives them. KeyError where one is missing."""
    tensors = {
        "conv1.weight": stored["conv1/weight"],
        "conv1.bias": stored["conv1/bias"],
        "conv2.weight": stored["conv2/weight"],
        "conv2.bias": stored["conv2/bias"],
        "embed_positions.weight": stored["position_encodings/encodings"],
        "layer_norm.weight": stored["layer_norm/gamma"],
        "layer_norm.bias": stored["layer_norm/beta"],
    }
    for number in range(sum(name.endswith("/ffn/linear_0/weight") for name in stored)):
        theirs, ours = f"layer_{number}", f"layers.{number}"
        both = {
            "self_attention/layer_norm": "self_attn_layer_norm",
            "self_attention/linear_1": "self_attn.out_proj",
            "ffn/layer_norm": "final_layer_norm",
            "ffn/linear_0": "fc1",
            "ffn/linear_1": "fc2",
        }
        for there, here in both.items():
            names = ("gamma", "beta") if there.endswith("norm") else ("weight", "bias")
            for name, kind in zip(names, ("weight", "bias"), strict=True):
                tensors[f"{ours}.{here}.{kind}"] = stored[f"{theirs}/{there}/{name}"]
        for kind in ("weight", "bias"):
            rows = stored[f"{theirs}/self_attention/linear_0/{kind}"].chunk(3)  # of queries, keys and values
            for name, row in zip(("q_proj", "k_proj", "v_proj"), rows, strict=True):
                if (name, kind) != ("k_proj", "bias"):  # which Whisper has not: it is zero
                    tensors[f"{ours}.self_attn.{name}.{kind}"] = row.clone()
    return tensors
