"""Standardisation by speaker, as it lies on a store: one affine map for each speaker and stream, applied when read."""

import hashlib

import attrs
import numpy as np
from numpy.typing import NDArray
from torch import Tensor


@attrs.frozen(eq=False)
class SpeakerStandardisation:
    """x · scale + shift for each of G maps, which gives a speaker's features the statistics of the training fold.

    Map 0 changes nothing: it is that of the samples whose speaker is not known.
    """

    scale: dict[str, Tensor]  # {stream: [G, F] float32}
    shift: dict[str, Tensor]  # {stream: [G, F] float32}
    map_of: NDArray[np.int64]  # [N], of each sample of the store

    @property
    def sha256(self) -> str:
        """A digest of the maps."""
        digest = hashlib.sha256()
        for stream in sorted(self.scale):
            digest.update(stream.encode() + self.scale[stream].numpy().tobytes() + self.shift[stream].numpy().tobytes())
        return digest.hexdigest()

    def apply(self, stream: str, row: int, x: Tensor) -> Tensor:
        """Steps x [T, F] of a sample, on any device -> [T, F]."""
        number = int(self.map_of[row])
        if number == 0:
            return x
        scale, shift = self.scale[stream][number], self.shift[stream][number]
        return x * scale.to(x.device) + shift.to(x.device)

    def apply_batch_(self, stream: str, rows: NDArray[np.int64], x: Tensor, lengths: NDArray[np.int64]) -> None:
        """Change x [B, T, F] in place, of each sample the first `lengths` [B] steps: padding stays zero."""
        for sample, (row, length) in enumerate(zip(rows.tolist(), lengths.tolist(), strict=True)):
            if length and self.map_of[row]:
                x[sample, :length] = self.apply(stream, row, x[sample, :length])
