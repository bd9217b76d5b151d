"""The laws of an encoder that reads words: those of every encoder, and those of the numbers of words."""

import functools
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from emotiwave_core.interfaces import MOST_TOKENS, Encoder, WordEncoder
from emotiwave_core.testing.batches import CONTENTS, MASK, PATTERNS, STEPS
from emotiwave_core.testing.encoder import EncoderContract
from emotiwave_core.testing.laws import LONG, BrokenLaw, expect, law, not_tried
from emotiwave_core.testing.shared import SECONDS

WORDS = [
    *("well", "yes", "I", "am", "so", "happy", "and", "sad", "anger", "unhappiness", "the", "don't", "twenty-one"),
    *("", " ", "...", "WELL", "na\u00efve", "\u65e5\u672c\u8a9e", "\u043f\u0440\u0438\u0432\u0435\u0442"),
    *("\u0645\u0631\u062d\u0628\u0627", "\U0001f600", "a" * 200, "\ufffd", "0", "42", "uh", "um", "(laughs)", "x"),
]
ANEW = """
import importlib, importlib.util, json, os, sys
answers = os.dup(1)
os.dup2(2, 1)  # what the module prints is no answer
name, path, part, words = sys.argv[1:]
try:
    spec = importlib.util.find_spec(name)
except ImportError:
    spec = None
if spec and spec.origin == path:
    module = importlib.import_module(name)
else:  # a file that is not on the path
    spec = importlib.util.spec_from_file_location(name, path)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
os.write(answers, json.dumps(getattr(module, part)(1).tokens(json.loads(words)).tolist()).encode())
"""


class WordEncoderContract(EncoderContract):
    """The laws that every encoder of words keeps. A subclass makes the encoder that is checked, for one word a step."""

    arguments = (1,)
    base = WordEncoder

    @law("Return a tensor [W, K] of torch.int64: one row for each word, as wide for no words as for some.")
    def test_words_have_numbers(self) -> None:
        """Any words, none of them too, get K whole numbers each, from 0 to 2^24 - 1."""
        tokens, none = self._tokens(WORDS), self._tokens([])
        for numbers, words in ((tokens, len(WORDS)), (none, 0)):
            shape = list(numbers.shape)
            expect(len(shape) == 2 and shape[0] == words, f"The numbers of {words} words are of the shape {shape}.")
            expect(numbers.dtype == torch.int64, f"The numbers of words are of the type {numbers.dtype}.")
        K = tokens.shape[1]
        expect(none.shape[1] == K and K > 0, f"A word has {K} numbers, and no words have {none.shape[1]} each.")
        low, high = int(tokens.min()), int(tokens.max())
        expect(low >= 0 and high < MOST_TOKENS, f"The numbers of words go from {low} to {high}.")

    @law("Do not look at other words: a vocabulary of those that are asked for, or padding to the longest, is of them.")
    def test_numbers_of_a_word_are_its_own(self) -> None:
        """The numbers of a word do not depend on the words beside it, or on which were asked for before."""
        tokens, backwards = self._tokens(WORDS), self._tokens(WORDS[::-1]).flip(0)
        alone = self._word_encoder()  # has met no word, and meets the last one first
        for row, word in reversed(list(enumerate(WORDS))):
            for numbers in (alone.tokens([word])[0], backwards[row]):
                same = numbers.shape == tokens[row].shape and torch.equal(numbers, tokens[row])
                expect(same, f"The word {word[:20]!r} beside or after others has other numbers.")

    @law("Take them from the word and the options alone: a run numbers the words of other data after its training.")
    def test_numbers_do_not_change(self) -> None:
        """A training leaves the numbers of all words as they are, a new encoder has the same, and so has eval()."""
        before, encoder = self._tokens(WORDS), self._word_encoder()
        encoder.fit([(x, mask) for x, mask in [self.sequences()]])
        for x in (self.sequences()[0], self.other(self.sequences()[0])):
            encoder.train()(x, MASK)
        expect(torch.equal(encoder.tokens(WORDS), before), "After its first steps words have other numbers.")
        modes = [self._word_encoder().train(training).tokens(WORDS) for training in (False, True)]
        expect(torch.equal(*modes), "Words have other numbers in train() than in eval().")

    @law("Use zlib.crc32 or hashlib, not hash(): Python's own is another in each process (PYTHONHASHSEED).")
    def test_numbers_are_the_same_in_every_process(self) -> None:
        """Another process gives the same words the same numbers, without options."""
        part = type(self._word_encoder())
        file = getattr(sys.modules.get(part.__module__), "__file__", None)
        if file is None or part.__module__ == "__main__" or part.__qualname__ != part.__name__:
            raise not_tried("it was not defined at the level of a module that can be imported again")
        here = part(1).tokens(WORDS)
        expect(_anew(part, file) == here.tolist(), "In another process words have other numbers.")

    @law("Usual causes: one number for all words, a table that is never trained or zero, x that is not read.")
    def test_words_are_told_apart(self) -> None:
        """A sequence of other words has another pooled vector."""
        encoder, x = self._encoder(), self.contents(1, STEPS)
        mask = torch.ones(1, STEPS, dtype=torch.bool)
        one, other = (self._encode(encoder, words, mask).pooled for words in (x, self.other(x)))
        expect(not torch.equal(one, other), "Sequences of quite other words have the same pooled vector.")

    @law("Usual causes: x[:, :512], a window that is too short, only every tenth step.")
    def test_reads_all_of_a_long_sequence(self) -> None:
        """Of a thousand words no ten in a row can be others without a change of the states or the pooled vector."""
        encoder, x = self._encoder(), self.contents(1, LONG)
        before = self._encode_long(encoder, x)
        if before is None:
            return  # another law says so
        unread = []
        for start in range(0, LONG, 10):
            moved = x.clone()
            moved[:, start : start + 10] = self.other(x)[:, start : start + 10]
            after = self._encode_long(encoder, moved)
            if after is not None and all(torch.equal(now, then) for now, then in zip(after, before, strict=True)):
                unread.append(start)
        if len(unread) < LONG // 10:  # where nothing is read at all, another law says so
            first = next(iter(unread), 0)
            expect(not unread, f"Of {LONG} words those from {first} to {first + 9} are not read.")

    def test_no_gradient_is_cut(self) -> None:
        """Words have no gradient: not tried, but every parameter learns."""
        raise not_tried("words have no gradient")

    def sequences(self) -> tuple[Tensor, Tensor]:
        """Words x [4, 7, K] with mask MASK, 0 where masked."""
        return torch.where(MASK[..., None], self.contents(*MASK.shape), 0), MASK

    def sequences_and_empty(self) -> tuple[Tensor, Tensor]:
        """The same with an empty sequence as the last row."""
        x, mask = self.sequences()
        return torch.cat([x, torch.zeros_like(x[:1])]), torch.cat([mask, torch.zeros_like(mask[:1])])

    def contents(self, samples: int, steps: int) -> Tensor:
        """Words of sequences without padding, x [samples, steps, K], the same at each call."""
        generator = torch.Generator().manual_seed(0)
        return self._table[torch.randint(len(WORDS), (samples, steps), generator=generator)]

    def other(self, x: Tensor) -> Tensor:
        """Sequences of other words, in every step."""
        rows = (x.unsqueeze(-2) == self._table).all(dim=-1).int().argmax(dim=-1)  # of padding, some word
        return self._table[(rows + 7) % len(WORDS)]

    @functools.cached_property
    def _table(self) -> Tensor:
        """The numbers of `WORDS`, [V, K]."""
        return self._word_encoder().tokens(WORDS)

    @property
    def nothing(self) -> Tensor:  # type: ignore[override]
        """The content of a step without a word."""
        return torch.zeros((), dtype=torch.int64)

    @property
    def other_contents(self) -> Sequence[Tensor]:  # type: ignore[override]
        """Words that may stand where nobody should look, [K] each."""
        return self._table[:3].unbind(dim=0)

    def _word_encoder(self) -> WordEncoder:
        encoder = self.make(1)
        if not isinstance(encoder, WordEncoder):
            raise BrokenLaw(f"{type(encoder).__name__} is no WordEncoder.")
        return encoder

    def _tokens(self, words: Sequence[str]) -> Tensor:
        return self._word_encoder().tokens(words)

    def _read_steps(self) -> Tensor:
        """The steps of each of `PATTERNS` of which another word changes the pooled vector: [patterns, T]."""
        encoder, masks = self._encoder(), PATTERNS.repeat_interleave(CONTENTS, 0)
        words = self.contents(CONTENTS, STEPS).repeat(len(PATTERNS), 1, 1)
        x, others = (torch.where(masks[..., None], each, 0) for each in (words, self.other(words)))
        pooled = self._encode(encoder, x, masks).pooled
        moved = (torch.where(place, others, x) for place in torch.eye(STEPS).bool()[..., None])
        changes = [(self._encode(encoder, one, masks).pooled != pooled).any(dim=1) for one in moved]
        return torch.stack(changes, dim=1).view(len(PATTERNS), CONTENTS, STEPS).any(dim=1)


def _anew(part: type[Encoder], file: str) -> list[list[int]]:
    """The numbers of `WORDS` by a part without options, in a process with another seed for Python's hashes."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": "20090614"}
    arguments = [part.__module__, str(Path(file)), part.__name__, json.dumps(WORDS)]
    command = [sys.executable, "-P", "-c", ANEW, *arguments]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired as expired:
        raise BrokenLaw(f"Another process did not give the numbers within {SECONDS:.0f} s.") from expired
    if done.returncode:
        last = (done.stderr.strip() or "no message").splitlines()[-1]
        raise BrokenLaw(f"In another process words could not be numbered ({last}).")
    numbers: list[list[int]] = json.loads(done.stdout)
    return numbers
