"""A sound encoder of words, and such encoders with one defect each: `breaks` names the laws of words that it breaks."""
# ruff: noqa: D101, D102 -- the name of a broken plugin says what is wrong with it

import zlib
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from emotiwave_core.interfaces import Encoded, WordEncoder
from emotiwave_core.layers.sequence import masked_mean, zero_masked


class SoundWords(WordEncoder):
    """Breaks no law; the broken ones differ from it in one place."""

    breaks: tuple[str, ...] = ()

    def __init__(self, in_features: int, *, width: int = 4) -> None:
        super().__init__()
        self.out_features = width
        self.vectors = nn.Embedding(1009, width, padding_idx=0)

    def number(self, word: str) -> int:
        return 1 + zlib.crc32(word.encode()) % 1008

    def tokens(self, words: Sequence[str]) -> Tensor:
        return torch.tensor([self.number(word) for word in words], dtype=torch.int64).view(-1, 1)

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        states = zero_masked(self.vectors(torch.where(mask, x[..., 0], 0)), mask)
        return Encoded(states, masked_mean(states, mask), mask)


class NumbersWordsInFloats(SoundWords):
    breaks = ("words_have_numbers",)

    def tokens(self, words: Sequence[str]) -> Tensor:
        return super().tokens(words).double()

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        return super().forward(x.long(), mask)


class FailsOnNoWords(SoundWords):
    breaks = ("words_have_numbers",)

    def tokens(self, words: Sequence[str]) -> Tensor:
        return torch.stack([super(FailsOnNoWords, self).tokens([word])[0] for word in words])


class FailsOnAnEmptyWord(SoundWords):
    breaks = ("words_have_numbers",)

    def number(self, word: str) -> int:
        return 1 + ord(word[0]) % 1008


class KnowsAsciiAlone(SoundWords):
    breaks = ("words_have_numbers",)

    def number(self, word: str) -> int:
        return 1 + zlib.crc32(word.encode("ascii")) % 1008


class CountsWhatItIsAsked(SoundWords):
    """A vocabulary of the words of each call."""

    breaks = ("numbers_of_a_word_are_its_own",)

    def tokens(self, words: Sequence[str]) -> Tensor:
        known = {word: number for number, word in enumerate(dict.fromkeys(words), start=1)}
        return torch.tensor([known[word] for word in words], dtype=torch.int64).view(-1, 1)


class PadsToTheLongestWord(SoundWords):
    breaks = ("numbers_of_a_word_are_its_own",)

    def tokens(self, words: Sequence[str]) -> Tensor:
        numbers = torch.zeros(len(words), max(map(len, words), default=0) + 1, dtype=torch.int64)
        numbers[:, :1] = super().tokens(words)
        return numbers


class NumbersByItsWeights(SoundWords):
    breaks = ("numbers_do_not_change",)

    def __init__(self, in_features: int, *, width: int = 4) -> None:
        super().__init__(in_features, width=width)
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def number(self, word: str) -> int:
        return 1 + (zlib.crc32(word.encode()) + int(self.seen)) % 1008

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        if self.training:
            self.seen += 1
        return super().forward(x, mask)


class HashesAsPythonDoes(SoundWords):
    breaks = ("numbers_are_the_same_in_every_process",)

    def number(self, word: str) -> int:
        return 1 + hash(word) % 1008


class TakesAllWordsForOne(SoundWords):
    breaks = ("words_are_told_apart",)

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        return super().forward(torch.ones_like(x), mask)


class ReadsThePadding(SoundWords):
    breaks = ("padding_content_does_not_matter",)

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        states = self.vectors(x[..., 0])
        return Encoded(zero_masked(states, mask), states.mean(dim=1), mask)


class ReadsTheFirstHundred(SoundWords):
    breaks = ("reads_all_of_a_long_sequence",)

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        return super().forward(x[:, :100], mask[:, :100])


class ForgetsTheEnd(SoundWords):
    breaks = ("every_row_is_read",)

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        encoded = super().forward(x, mask)
        first = (torch.arange(mask.shape[1]) < 4) & mask
        return encoded._replace(pooled=masked_mean(zero_masked(encoded.states, first), first))


class GrowsAVocabulary(SoundWords):
    breaks = ("numbers_of_a_word_are_its_own",)

    def __init__(self, in_features: int, *, width: int = 4) -> None:
        super().__init__(in_features, width=width)
        self.vocabulary: dict[str, int] = {}

    def number(self, word: str) -> int:
        return self.vocabulary.setdefault(word, 1 + len(self.vocabulary))


class LowersCaseInTraining(SoundWords):
    breaks = ("numbers_do_not_change",)

    def number(self, word: str) -> int:
        return super().number(word.lower() if self.training else word)
