"""Interfaces of the parts: encoder, fusion, dropout policy, extractor, and what passes between them.

B samples, T steps, F input features, D width, M modalities, C classes. Steps that are padding, lost or
dropped are all the same thing: `False` in a mask. A modality whose mask has no step set is absent, and
what stands in its tensors must never be read (use `torch.where`, not multiplication: NaN * 0 is NaN).
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

Tensors = dict[str, Tensor]
Neighbours = Literal["video", "group"]  # segments of a video, or samples of a group, such as a dialogue
MOST_TOKENS = 1 << 24  # numbers of words are below it: float32, in which all inputs come, has all up to it
ObjectiveKind = Literal["single", "multi", "regression"]  # what labels are learned as


class Encoded(NamedTuple):
    """One modality after its encoder."""

    states: Tensor  # [B, T', D], zero where masked
    pooled: Tensor  # [B, D]
    mask: Tensor  # [B, T'] bool


class Fused(NamedTuple):
    """All modalities as one vector."""

    vector: Tensor  # [B, D]
    weights: Tensor | None = None  # [B, M], the share of each modality: rows sum to 1 over present ones, absent are 0
    loss: Tensor | None = None  # [], added to the objective
    logits: Tensor | None = None  # [B, C], of an AnsweringFusion: in the place of those of the model's head
    members: Tensor | None = None  # [B, K, C], of an ensemble in training: the loss is the mean of theirs


class Output(NamedTuple):
    """The output of the whole model for a batch."""

    logits: Tensor  # [B, C]
    weights: Tensor | None  # [B, M] of the fusion
    loss: Tensor | None  # [] of the fusion
    present: Tensor  # [B, M] bool, after the dropout policy
    unimodal: Tensor | None = None  # [B, M, C], logits of each modality alone, in training with objective.unimodal
    vector: Tensor | None = None  # [B, D] of the fusion, in training with an objective that `reads_states`
    pooled: Tensors | None = None  # {modality: [B, D]}, likewise: of the encoders, zero where the modality is absent
    members: Tensor | None = None  # [B, K, C], as of the fusion; then `unimodal` [B, K M, C] has one after the other


class ParameterGroup(NamedTuple):
    """Parameters of a part that are trained otherwise than the rest."""

    parameters: Sequence[nn.Parameter]
    learning_rate: float = 1.0  # a factor of the recipe's; 0 freezes them
    weight_decay: bool | None = None  # None: of those with two dimensions or more, as of the parameters of no group


class LearnedPart(nn.Module, ABC):
    """A part whose parameters are trained: an encoder or a fusion. Its constructor reads no file and no network."""

    out_features: int

    def initialise(self) -> Sequence[Path] | None:
        """Put other numbers in its parameters and buffers than the constructor's, such as a checkpoint's. Optional.

        Called once, without gradients, before the first step of a training, in the first of several processes; never
        where a run is resumed or rebuilt, which has weights of its own. Shapes, types and what is trained stay as they
        are. Returns the files that it has read: `model.json` keeps their SHA-256.
        """
        return None

    def parameter_groups(self) -> list[ParameterGroup]:
        """Its parameters that are trained otherwise than the rest. Optional; by default none.

        A parameter of no group has the recipe's learning rate, and weight decay where it has two dimensions or more: so
        biases, norms and learned vectors have none. Of a part inside a part, what the outer one says counts.
        """
        return []


class Mixture(NamedTuple):
    """Samples that are mixed with others of their batch: what is to be learned of them.

    The loss of sample b is share[b] times that for its own target, and the rest of 1 times that for its partner's.
    """

    partner: Tensor  # [B] int64, the other sample of the batch
    share: Tensor  # [B], of its own, from 0 to 1


class Encoder(LearnedPart):
    """One modality's sequence to states and a pooled vector.

    A subclass has the constructor `(in_features: int, *, options…)`: options are keyword-only, typed and have
    defaults. It sets `out_features`, the D of what it returns. It sees one modality and nothing of the others.
    """

    def fit(self, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Take from the training fold what is no parameter, such as a scale, into buffers. Optional.

        batches: x [B, T, F], mask [B, T] of the fold as `forward` sees them; each loop over it goes through the fold.
        It is called once, in `eval()` and without gradients, before the first step; a run is rebuilt from its weights.
        An encoder that holds another one passes the call on.
        """

    @abstractmethod
    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        """x [B, T, F] with T >= 1, mask [B, T] bool (any pattern, also a row without a step) -> Encoded."""

    def attention_over_steps(self, x: Tensor, mask: Tensor) -> Tensor | None:
        """For an encoder that weighs its steps: the share of each in `pooled`, [B, T]. Optional; else None.

        Rows sum to 1 over the steps that are set and are 0 elsewhere. It is asked for in `eval()`, to be shown.
        """
        return None

    @classmethod
    def inner_features(cls, in_features: int, options: Mapping[str, Any]) -> int:
        """The features of what an encoder inside it sees, by its options that are no parts. By default its own."""
        return in_features


class WordEncoder(Encoder):
    """An encoder that reads words: the steps of its modality are those of a transcript, and x their numbers.

    Its constructor is that of any encoder; `in_features` is 1, a word a step, whatever K is.
    """

    @abstractmethod
    def tokens(self, words: Sequence[str]) -> Tensor:
        """words -> [W, K] int64: the K numbers of each word, from 0 (nothing) to 2^24 - 1; K >= 1, also of no words.

        A function of each word by itself and of the options alone, the same in every process: no weights, no file and
        not Python's `hash`. Any text is a word, the empty one too. It is asked on the CPU, once for the distinct words
        of a data set.
        """

    @abstractmethod
    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        """x [B, T, K] int64, 0 where masked, mask [B, T] bool as of any encoder -> Encoded, of float32."""


class Fusion(LearnedPart):
    """All encoded modalities to one vector.

    A subclass has the constructor `(in_features: dict[str, int], *, options…)`: the D of each modality, in the order
    of the columns of `present`. It sets `out_features`, the width of the vector it returns.
    """

    @abstractmethod
    def forward(self, encoded: dict[str, Encoded], present: Tensor) -> Fused:
        """encoded {modality: Encoded}, present [B, M] bool -> Fused. A row may have no modality at all."""


class OutputSpace(NamedTuple):
    """The outputs that a model is to have."""

    kind: ObjectiveKind
    size: int  # C: classes, or the targets of a regression


class AnsweringFusion(Fusion):
    """A fusion that answers itself: it returns `Fused.logits`, and the model has no head.

    Its constructor is that of any fusion. It is then told the output space, once, and makes what gives the logits.
    No answer is made of its vector, which an objective may read.
    """

    space: OutputSpace | None = None  # None until it is told

    def answer(self, space: OutputSpace) -> None:
        """Make ready to answer in this space."""
        self.space = space
        self.make_heads(space)

    @abstractmethod
    def make_heads(self, space: OutputSpace) -> None:
        """Make the modules and buffers that give the logits. SettingsError for a kind that it cannot do."""

    def take_prior(self, prior: Tensor) -> None:
        """Take the prior of the classes before the first epoch: the logits [C] of one who sees nothing. Optional.

        They are the constant ones with the least loss: log p(y) in the training fold, or log-odds, by class weights and
        less the logit adjustment. Kept in a buffer, they are saved with the weights. Numbers have none.
        """
        return None

    def unimodal(self, encoded: dict[str, Encoded], present: Tensor) -> Tensor | None:
        """Logits [B, M, C] of each modality alone, for the loss `objective.unimodal`. Optional.

        A model whose fusion has none makes heads for that loss.
        """
        return None


class ContextFusion(Fusion):
    """A fusion that sees the neighbours of a sample: the segments of the same video, or the samples of its group.

    Its constructor is that of any fusion. The samples of a video stand in one batch, in the order of their starts, and
    are one item of it: videos do not mix, and a dropout policy draws once for all samples of a video. So a model with
    such a fusion cannot do all that others can; a command that it does not go with says so. With `neighbours` "group"
    all of this is said of groups, whose samples stand in the order of their videos' names, numbers in them by size.
    """

    neighbours: Neighbours = "video"

    @abstractmethod
    def forward(self, encoded: dict[str, Encoded], present: Tensor, videos: Tensor | None = None) -> Fused:
        """encoded {modality: Encoded}, present [B, M] bool -> Fused.

        videos: [B] int64 on the CPU, the number of each sample's video, those of one side by side; None: no sample has
        neighbours, as if each had a number of its own.
        """


class DropoutPolicy(nn.Module, ABC):
    """Loss of modalities or steps in training, sample by sample. The identity in `eval()`.

    A subclass has the constructor `(*, options…)`. It only clears steps, never sets one, and never takes the last
    step of a sample. It draws from torch's global generator of the masks' device, so that a seed repeats it.
    """

    def __init__(self) -> None:  # nn.Module's takes anything; a policy without options takes nothing
        super().__init__()

    def prepare(self, modalities: tuple[str, ...]) -> None:
        """Learn which modalities there are, in the order of the masks, once and before anything is drawn. Optional.

        Buffers that depend on their number are made here. SettingsError where an option names another modality.
        """

    @abstractmethod
    def forward(self, masks: Tensors, progress: Tensor) -> Tensors:
        """masks {modality: [B, T] bool}, progress [] from 0 (first step) to 1 (end of training) -> masks."""

    def observe(self, present: Tensor, loss: Tensor) -> None:
        """After a training step: present [B, M] bool and loss [B] of each sample. For adaptive policies."""


class Augmented(NamedTuple):
    """A batch after its augmentation."""

    inputs: Tensors  # {stream: [B, T, F]}
    masks: Tensors  # {stream: [B, T] bool}
    mixture: Mixture | None = None  # where samples were mixed with others, and their targets are to be


class Augmentation(nn.Module, ABC):
    """Changes of the features in training, batch by batch. The identity in `eval()`.

    A subclass has the constructor `(*, options…)`. It sees what encoders see, by stream, but no words: features of mean
    0 and deviation 1 over the training fold, 0 where masked. It clears steps and never sets one, and leaves every
    stream of a sample a step: to take whole modalities is a dropout policy's. It draws from torch's global generator of
    the inputs' device, which is seeded anew for each step, and keeps nothing from one batch to the next.
    """

    mixes: ClassVar[bool] = False  # True: it gives a mixture

    def __init__(self) -> None:  # an augmentation without options takes nothing
        super().__init__()

    @abstractmethod
    def forward(self, inputs: Tensors, masks: Tensors) -> Augmented:
        """inputs {stream: [B, T, F]}, masks {stream: [B, T] bool} -> Augmented, of the same names and shapes."""


class SpokenWord(NamedTuple):
    """A word that is said."""

    text: str
    start: float  # seconds from the recording's start
    end: float


class Frame(NamedTuple):
    """A picture of a recording."""

    start: float  # seconds from the recording's start
    end: float
    picture: NDArray[np.uint8]  # [H, W, 3], upright, red, green and blue


class Stream(NamedTuple):
    """The features of one modality of a recording."""

    features: NDArray[np.float32]  # [T, F], T >= 1, finite
    intervals: NDArray[np.float64]  # [T, 2] seconds from the recording's start
    problems: tuple[str, ...] = ()  # sentences without a subject: "no face in 12 of 32 pictures"


class Missing(NamedTuple):
    """The answer of an extractor for a recording that lacks its modality."""

    reason: str  # a sentence without a full stop: "no face is found in 32 pictures"


class Recording(ABC):
    """A recording, read as often as one likes, a piece at a time: it may be longer than memory."""

    facts: dict[str, Any]  # format, seconds, sound {rate, channels, …} | None, picture {width, height, …} | None
    words: tuple[SpokenWord, ...] | None  # what is said; None where that is not known
    problems: list[str]  # sentences on what is wrong with it, which grow as it is read

    @abstractmethod
    def sound(self, rate: int) -> Iterator[NDArray[np.float32]]:
        """The sound as one channel in -1..1, in blocks of one second [rate], the last one shorter.

        Sample 0 is the recording's start, gaps are zero.
        """

    @abstractmethod
    def frames(self, rate: float) -> Iterator[Frame]:
        """The picture that is seen at 0, 1 / rate, 2 / rate, … seconds from the recording's start."""


Need = Literal["sound", "picture", "words"]


class Extractor(ABC):
    """One modality of a recording as a stream of features.

    A subclass has the constructor `(*, options…)`, which reads no file; `open` finds and loads weights. It is used by
    one thread.
    """

    modality: str  # for which its features are, "text", "audio" or "visual", unless the user says otherwise
    needs: frozenset[Need]  # a recording without one of them is not shown to it
    width: int  # F; known once it is open
    rate: float | None  # steps a second, None: a step for each word
    options: dict[str, Any]  # those it was made with

    def __new__(cls, **options: Any) -> Self:
        """A new one, which keeps the options that it was made with."""
        extractor = super().__new__(cls)
        extractor.options = options
        return extractor

    def __init__(self) -> None:  # an extractor without options takes nothing
        return None

    def open(self, download: bool = False) -> None:
        """Find and load what it needs. It fetches nothing unless `download` is given.

        SettingsError where a model is not there, with the way to get it; PluginError where a package is missing.
        """
        return None

    @abstractmethod
    def extract(self, recording: Recording) -> Stream | Missing:
        """The features of a recording, the same whenever it is asked and whatever it was asked before."""

    def identity(self) -> dict[str, Any]:
        """All that decides on its numbers, as JSON has it: options that change them, models and their SHA-256.

        Features of two extractors are the same kind of numbers where these are equal. Its name and distribution are
        added by the program.
        """
        return {}
