"""The encoder `hashed`: words as the sum of learned vectors of their character n-grams, alone or before another one."""

import unicodedata
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from emotiwave_core.config.options import fraction, positive
from emotiwave_core.errors import SettingsError
from emotiwave_core.hookspecs import hookimpl
from emotiwave_core.interfaces import Encoded, Encoder, WordEncoder
from emotiwave_core.layers.sequence import masked_mean, zero_masked

MOST = 32  # n-grams of a word


class HashedWords(WordEncoder):
    """Vectors of words as the sum of those of their n-grams, as in fastText (Bojanowski et al. 2017).

    The n-grams of a word, in lower case and between `<` and `>`, are the word itself and all its sequences of
    `shortest` to `longest` characters, the shorter ones first and 32 at most. Each is one of `buckets` vectors by its
    CRC-32 (the hashing trick, Weinberger et al. 2009), so that there is no vocabulary: a word that the training never
    saw has the vectors of its parts.
    x [B, T, 32] the numbers of the n-grams, 0 where there are fewer, mask [B, T]. With G_t of them at step t,
    e_t = sum_g v_g / sqrt(|G_t|) [B, T, W], so that words of any length begin with the same size.

    Alone: states e_t [B, T, W], pooled [B, W] their mean, as in fastText's classifier (Joulin et al. 2017).
    With an `encoder`: its states, pooled vector and mask, of e_t.

    width: W. buckets: vectors. shortest, longest: characters of an n-gram. dropout: on e_t. encoder: one that reads
    e_t, as in `hashed:encoder=bilstm`.
    """

    def __init__(
        self,
        in_features: int,
        *,
        width: int = 64,
        buckets: int = 32768,
        shortest: int = 3,
        longest: int = 5,
        dropout: float = 0.3,
        encoder: Encoder | None = None,
    ) -> None:
        super().__init__()
        positive("hashed", width=width, buckets=buckets, shortest=shortest, longest=longest)
        fraction("hashed", dropout=dropout)
        if longest < shortest or buckets >= 1 << 24:
            raise SettingsError("hashed: longest must not be below shortest, and buckets must be below 2^24.")
        self.buckets, self.lengths = buckets, range(shortest, longest + 1)
        self.vectors = nn.EmbeddingBag(buckets + 1, width, mode="sum", padding_idx=0)
        self.dropout = nn.Dropout(dropout)
        self.encoder = encoder
        self.out_features = width if encoder is None else encoder.out_features

    @classmethod
    def inner_features(cls, in_features: int, options: Mapping[str, Any]) -> int:
        """Width of the vectors of words."""
        return int(options["width"])

    def tokens(self, words: Sequence[str]) -> Tensor:
        """words -> [W, 32] int64: 1 + CRC-32 modulo `buckets` of each n-gram, 0 behind the last."""
        numbers = torch.zeros(len(words), MOST, dtype=torch.int64)
        for row, word in enumerate(words):
            found = [1 + zlib.crc32(gram.encode()) % self.buckets for gram in islice(self._grams(word), MOST)]
            numbers[row, : len(found)] = torch.tensor(found)
        return numbers

    def _grams(self, word: str) -> Iterator[str]:
        whole = f"<{unicodedata.normalize('NFC', word).casefold()}>"
        yield whole
        for length in self.lengths:
            if length < len(whole):
                yield from (whole[start : start + length] for start in range(len(whole) - length + 1))

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        """x [B, T, K] int64, mask [B, T] bool of any pattern -> Encoded."""
        embedded = self.dropout(self._embedded(x, mask))
        if self.encoder is None:
            return Encoded(embedded, masked_mean(embedded, mask), mask)
        encoded: Encoded = self.encoder(embedded, mask)
        return encoded

    def fit(self, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Let the encoder inside see the vectors of the training fold's words."""
        if self.encoder is not None:
            self.encoder.fit(_Embedded(self, batches))

    def attention_over_steps(self, x: Tensor, mask: Tensor) -> Tensor | None:
        """The weights of the encoder inside, [B, T]; None where there is none, or it has none."""
        return None if self.encoder is None else self.encoder.attention_over_steps(self._embedded(x, mask), mask)

    def _embedded(self, x: Tensor, mask: Tensor) -> Tensor:
        """x [B, T, K] -> e [B, T, W], zero where masked."""
        x = torch.where(mask[..., None], x, 0)
        size = (x > 0).sum(dim=-1, keepdim=True).clamp(min=1)
        return zero_masked(self.vectors(x.flatten(0, 1)).view(*x.shape[:2], -1) / size.sqrt(), mask)


class _Embedded:
    """The batches of a fold with words as their vectors; each loop goes through all of it."""

    def __init__(self, encoder: HashedWords, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
        self.encoder, self.batches = encoder, batches

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for x, mask in self.batches:
            yield self.encoder._embedded(x, mask), mask


@hookimpl
def register_encoders(register: Callable[[str, type[Encoder]], None]) -> None:
    """Offer `hashed`."""
    register("hashed", HashedWords)
