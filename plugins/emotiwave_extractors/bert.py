"""The extractor `bert`: a vector for each word, in the light of those around it."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch

from emotiwave_core.errors import SettingsError
from emotiwave_core.extract.states import states_of, width_of
from emotiwave_core.extract.steps import StreamBuilder
from emotiwave_core.extract.weights import ModelName, find_model, load_transformer, needed
from emotiwave_core.hookspecs import hookimpl
from emotiwave_core.interfaces import Extractor, Missing, Need, Recording, Stream

LONGEST = 512  # tokens, where a model says nothing: what is longer goes through in windows
TOKENIZER = ("tokenizer.json", "vocab.txt", "tokenizer_config.json")


class WordSpan(NamedTuple):
    """Words that go through the model at once, and those among them that are kept."""

    first: int
    last: int
    begin: int
    end: int


class Bert(Extractor):
    """Any encoder of text (BERT, Devlin et al. 2019, and its kin): the mean of the states of each word's tokens.

    model: its id on the hub, a folder, or `pip:PACKAGE`. layers: whose states, side by side, from 1, or 0 for what
    the first one reads; without it the last. revision: of the hub. sha256: of the weights, if they must be certain
    ones.
    """

    modality = "text"
    needs: frozenset[Need] = frozenset({"words"})
    rate = None

    def __init__(
        self,
        *,
        model: str = "google-bert/bert-base-uncased",
        layers: list[int] | None = None,
        revision: str = "",
        sha256: str = "",
    ) -> None:
        super().__init__()
        self.name, self.layers = ModelName(model, revision, sha256), layers

    def open(self, download: bool = False) -> None:
        """Load tokenizer and model. Errors as `find_model` and `load_transformer`."""
        transformers = needed("transformers", "transformers")
        self.found = find_model(self.name, download)
        self.model = load_transformer(self.found)
        try:
            self.tokenizer = transformers.AutoTokenizer.from_pretrained(
                self.found.folder, local_files_only=True, trust_remote_code=False, add_prefix_space=True
            )
        except (OSError, ValueError, KeyError) as error:
            first = str(error).strip().splitlines()[0]
            raise SettingsError(f"The tokenizer in {self.found.folder} does not load: {first}") from error
        self.width = width_of(self.model, self.layers)
        positions = int(getattr(self.model.config, "max_position_embeddings", 0) or LONGEST)
        self.most = min(positions, LONGEST) - 4  # tokens of words beside those that mark the ends

    def identity(self) -> dict[str, Any]:
        """The model and its tokenizer."""
        return {**self.found.identity("config.json", *TOKENIZER), "pooling": "mean", "tokens": self.most}

    @torch.inference_mode()
    def extract(self, recording: Recording) -> Stream | Missing:
        """A vector [F] for each word, with the word's times."""
        words = recording.words or ()
        steps, problems = StreamBuilder(self.width), []
        counts = [min(len(self._tokens([word.text])["input_ids"]), self.most) for word in words]
        for span in word_spans(counts, self.most):
            tokens = self._tokens([word.text for word in words[span.first : span.last]], special=True)
            given = {name: torch.tensor([tokens[name]]) for name in ("input_ids", "attention_mask")}
            states = states_of(self.model, self.layers, **given)
            of_word = [number if number is None else number + span.first for number in tokens.word_ids()]
            for number in range(span.begin, span.end):
                places = [place for place, owner in enumerate(of_word) if owner == number]
                if places:
                    steps.add(states[places].mean(dim=0).numpy(), words[number][1:])
        unknown = len(words) - len(steps)
        if unknown and len(steps):
            problems.append(f"{unknown} of {len(words)} words have no letter that the tokenizer knows")
        return steps.stream("no word is said", problems)

    def _tokens(self, words: list[str], special: bool = False) -> Any:
        """Tokens of these words, of which none is longer than the model's longest sequence."""
        return self.tokenizer(
            words,
            is_split_into_words=True,
            add_special_tokens=special,
            truncation=True,
            max_length=self.most + 4,
            verbose=False,
        )


def word_spans(counts: list[int], most: int) -> Iterator[WordSpan]:
    """Words of so many tokens each in spans of at most `most` tokens, which overlap by a quarter.

    Each word is kept once, where it stands farther from the ends.
    """
    first = begin = 0
    while begin < len(counts):
        last, tokens = first, 0
        while last < len(counts) and tokens + counts[last] <= most:
            tokens += counts[last]
            last += 1
        last = max(last, begin + 1)
        if last == len(counts):
            yield WordSpan(first, last, begin, last)
            return
        back, tokens = last, 0
        while back > begin + 1 and tokens + counts[back - 1] <= most // 4:
            back -= 1
            tokens += counts[back]
        end = max(begin + 1, (back + last) // 2)
        yield WordSpan(first, last, begin, end)
        first, begin = min(back, end), end


@hookimpl
def register_extractors(register: Callable[[str, type[Extractor]], None]) -> None:
    """Offer `bert`."""
    register("bert", Bert)
