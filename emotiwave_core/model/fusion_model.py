"""The model: standardised features -> an encoder for each stream -> fusion of the modalities -> head.

A fusion that answers itself (`AnsweringFusion`) is the last of these: then there is no head.
"""

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import Literal, cast

import torch
from torch import Tensor, nn

from emotiwave_core.config.recipe import ModelSettings, OnAlarm, Recipe
from emotiwave_core.errors import EmotiwaveError, PluginError, SettingsError
from emotiwave_core.interfaces import (
    AnsweringFusion,
    ContextFusion,
    DropoutPolicy,
    Encoded,
    Encoder,
    Fusion,
    Neighbours,
    Output,
    OutputSpace,
    Tensors,
    WordEncoder,
)
from emotiwave_core.layers.masking import present_in, rows_to_encode, whole_modalities
from emotiwave_core.layers.parameters import learned_parts, wrong_groups
from emotiwave_core.layers.standardise import Standardise
from emotiwave_core.layers.videos import video_sequences
from emotiwave_core.modalities import by_modality
from emotiwave_core.model.alarm import StateAlarm, trusted_in
from emotiwave_core.model.calibration import LogitCalibration
from emotiwave_core.model.members import joins_of
from emotiwave_core.model.streams import join_masks, joined_widths, split_masks
from emotiwave_core.model.terms import needs_heads
from emotiwave_core.parts import interface_check as returned
from emotiwave_core.parts.guard import check_snapshot, forbid_exit, in_words, preserve_global_state, snapshot
from emotiwave_core.parts.resolved import ResolvedPart


class FusionModel(nn.Module):
    """mask -> encoders -> fusion -> head.

    Inputs and masks are by stream, and each stream has an encoder; encodings are by modality, for the policy drops and
    the fusion sees modalities. Where each modality is one stream the two are the same, and nothing is joined.

    Missing and dropped are one thing, a mask with no step set. With `absent = "zeros"` the masks end here instead:
    steps without data become zeros, every sequence has `steps` of them, and the parts take all of it for present.
    With `present_only` all samples of a batch that lack a modality pass its encoder as one (on a CPU).
    """

    def __init__(
        self,
        encoders: dict[str, Encoder],
        fusion: Fusion,
        policy: DropoutPolicy,
        classes: int,
        features: dict[str, int],
        recipe: Recipe,
    ) -> None:
        super().__init__()
        settings = recipe.model
        widths = {s: encoder.out_features for s, encoder in encoders.items()}
        self.encoders = nn.ModuleDict(encoders)  # by stream
        self.joins = joins_of(widths, settings.members)  # of the modalities of several streams
        self.fusion = fusion
        self.policy = policy
        self.scalers = nn.ModuleDict(
            {s: Standardise(width) for s, width in features.items() if not isinstance(encoders[s], WordEncoder)}
            if settings.standardise is not False
            else {}
        )
        self.head = None if isinstance(fusion, AnsweringFusion) else head_of(fusion.out_features, classes, settings)
        self.needs_alone = needs_heads(recipe.objective)
        self.unimodal = heads_alone(joined_widths(widths) if self.needs_alone else {}, fusion, classes)
        self.shows_states = False  # True: in training its output has the vector and the pooled ones, for the objective
        self.members = settings.members
        self.absent: Literal["mask", "zeros"] = settings.absent
        self.present_only = recipe.computing.present_only
        self.calibration: LogitCalibration | None = None  # of a trained model, in eval()
        self.alarm: StateAlarm | None = None  # of a trained model
        self.on_alarm: OnAlarm = settings.on_alarm
        self.widths = joined_widths(widths)  # of the pooled vectors, by modality
        self.features = dict(features)  # by stream; 1 of words
        self.steps: dict[str, int] = {}  # of every sequence of a stream, where absent ones are zeros
        self.names: dict[nn.Module, str] = {}  # of the parts, in errors
        self.plugins: list[ResolvedPart] = []  # its parts and those inside them

    @property
    def streams(self) -> tuple[str, ...]:
        """The streams, in the order of the modalities that they are of."""
        return tuple(self.encoders)

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities, in the order of the columns of `present`."""
        return tuple(by_modality(self.encoders))

    @property
    def statistics(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Mean [F] and 1 / deviation [F] of each standardised stream in the training fold."""
        scalers = {stream: cast(Standardise, scaler) for stream, scaler in self.scalers.items()}
        return {stream: (scaler.mean, scaler.scale) for stream, scaler in scalers.items()}

    @property
    def tokens(self) -> dict[str, Callable[[Sequence[str]], Tensor]]:
        """Of each stream whose encoder reads words: words -> their numbers [W, K] int64, on the CPU.

        PluginError where an encoder does not hold its interface.
        """
        return {s: partial(self._tokens, e) for s, e in self.encoders.items() if isinstance(e, WordEncoder)}

    @cached_property
    def _token_widths(self) -> dict[str, int]:
        """The numbers K of a word, of each stream of words."""
        return {stream: number(()).shape[1] for stream, number in self.tokens.items()}

    def _tokens(self, encoder: WordEncoder, words: Sequence[str]) -> Tensor:
        who = self._who(encoder)
        failed = f"{who} fails to number words"
        with (
            forbid_exit(failed),
            preserve_global_state(who, "when it numbers words"),
            torch.no_grad(),
        ):
            try:
                numbers = encoder.tokens(words)
            except EmotiwaveError:
                raise
            except Exception as error:
                raise PluginError(f"{failed}: {in_words(error)}") from error
        return returned.check_tokens(who, numbers, len(words))

    def refuse_words(self, what: str) -> None:
        """SettingsError where an encoder reads words, with which `what`, the start of a sentence, does not go."""
        if words := list(self.tokens):
            raise SettingsError(
                f"{what} reads numbers, and the encoder of '{words[0]}' reads words: train with a file of word vectors "
                "under [modalities] instead."
            )

    @property
    def neighbours(self) -> Neighbours | None:
        """Those of a sample that the fusion sees; None where it sees each sample alone."""
        return self.fusion.neighbours if isinstance(self.fusion, ContextFusion) else None

    def refuse_neighbours(self, what: str) -> None:
        """SettingsError where the fusion sees neighbours, with which `what`, the start of a sentence, does not go."""
        if self.neighbours is not None:
            raise SettingsError(
                f"{what} does not go with {self._who(self.fusion).lower()}, by which a sample's answer depends on the "
                f"others of its {self.neighbours}: take a fusion that sees each sample alone."
            )

    def present(self, masks: Tensors) -> Tensor:
        """masks {s: [B, T] bool} -> [B, M] bool: a modality is absent where all of its streams are."""
        return present_in({s: masks[s] for s in self.encoders})

    def forward(self, inputs: Tensors, masks: Tensors) -> Output:
        """inputs {s: [B, T, F]}, masks {s: [B, T] bool} of the streams -> Output(logits [B, C], …).

        In training the policy drops, as it does in the first step; the training loop lets it draw and uses
        `forward_masked`.
        """
        masks = {s: masks[s] for s in self.encoders}
        if self.training:
            masks = split_masks(self.policy(join_masks(masks), torch.zeros(())), masks)
        return self.forward_masked(inputs, masks)

    def forward_masked(self, inputs: Tensors, masks: Tensors, videos: Tensor | None = None) -> Output:
        """The output of what the masks leave; the policy drops nothing more. videos as for `fuse`."""
        return self.fuse(self.encode(inputs, masks), self.present(masks), videos)

    def drop(self, masks: Tensors, progress: Tensor, videos: Tensor | None = None) -> tuple[Tensors, bool]:
        """The masks {s: [B, T] bool} after the policy, and True where it took whole modalities only.

        The policy sees one mask a modality, so that its streams are lost together. videos [B]: it sees the samples of a
        video as one, whose steps are theirs, so that a lost modality cannot be read from its neighbours.
        """
        joined = join_masks(masks)
        one = None if videos is None else video_sequences(videos, len(videos), videos.device)
        items = joined if one is None else {m: one.steps(mask) for m, mask in joined.items()}
        who, before, written = self._who(self.policy), snapshot(), returned.versions(items.values())
        left = returned.check_policy_masks(who, items, self.policy(items, progress))
        check_snapshot(before, who)
        returned.check_unwritten(who, items.values(), written)
        if one is not None:
            left = {m: one.samples_of_steps(mask) for m, mask in left.items()}
        whole = whole_modalities(joined, left)
        if not whole:  # else each mask has been found to be empty or as it was
            returned.check_only_clears(who, joined, left)
        return split_masks(left, masks), whole

    def forward_both(
        self, inputs: Tensors, masks: Tensors, left: Tensors, whole: bool, videos: Tensor | None = None
    ) -> tuple[Output, Output]:
        """The outputs in training: of what the policy left of the masks, and of all that there was.

        `whole`: the policy left or took whole modalities only (`masking.whole_modalities`); nothing is encoded twice.
        """
        encoded = self.encode(inputs, masks)
        complete = self.fuse(encoded, self.present(masks), videos)
        present = self.present(left)
        rest = self._without(encoded, present, self.encode_absent(inputs)) if whole else self.encode(inputs, left)
        return self.fuse(rest, present, videos), complete

    def encode(self, inputs: Tensors, masks: Tensors) -> dict[str, Encoded]:
        """Every modality whose streams are in `masks` through its encoders, none knowing of the others."""
        return self.join(self.encode_streams(inputs, masks))

    def encode_streams(self, inputs: Tensors, masks: Tensors) -> dict[str, Encoded]:
        """Every stream in `masks` through its encoder, none knowing of the others."""
        return {s: self._encode(s, inputs[s], masks[s]) for s in self.encoders if s in masks}

    def join(self, streams: dict[str, Encoded]) -> dict[str, Encoded]:
        """The encodings of the modalities, from those of their streams."""
        return {
            m: self.joins[m]([streams[s] for s in names]) if m in self.joins else streams[names[0]]
            for m, names in by_modality(streams).items()
        }

    def _encode(self, stream: str, x: Tensor, mask: Tensor) -> Encoded:
        """x [B, T, F], mask [B, T] -> Encoded."""
        encoder, rows = self.encoders[stream], rows_to_encode(mask) if self.present_only else None
        if rows is not None:
            x, mask = x[rows.encoded], mask[rows.encoded]
        like = x  # of the type that is due, also of words, whose numbers are whole
        x, mask = self.prepare(stream, x, mask)
        who, before, written = self._who(encoder), snapshot(), returned.versions([mask])
        encoded = returned.check_encoded(who, cast(Encoder, encoder), encoder(x, mask), like)
        check_snapshot(before, who)
        returned.check_unwritten(who, [mask], written)
        return encoded if rows is None else Encoded(*(tensor.index_select(0, rows.back) for tensor in encoded))

    def prepare(self, stream: str, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """The input of an encoder: x [B, T, F] standardised and zero where masked, and the mask [B, T].

        The numbers of words come in float32, as all features, and go on as whole ones.
        """
        if stream in self.scalers:
            x = self.scalers[stream](x)
        x = torch.where(mask.unsqueeze(-1), x, 0.0)  # an absent modality's content is never read, NaN included
        x = x.long() if isinstance(self.encoders[stream], WordEncoder) else x
        return self._padded(stream, x) if self.absent == "zeros" else (x, mask)

    def fuse(self, encoded: dict[str, Encoded], present: Tensor, videos: Tensor | None = None) -> Output:
        """encoded {m: Encoded}, present [B, M] bool -> Output.

        videos: [B] int64 on the CPU, the numbers of the samples' videos, for a fusion that sees neighbours; None: each
        sample is alone.
        """
        if self.alarm is not None and self.on_alarm == "drop" and not self.training:
            encoded, present = self._without_alarmed(encoded, present, self.alarm)
        seen = torch.ones_like(present) if self.absent == "zeros" else present
        who, before = self._who(self.fusion), snapshot()
        like = next(iter(encoded.values())).pooled
        neighbours = (videos,) if self.neighbours is not None else ()
        fused = returned.check_fused(who, self.fusion, self.fusion(encoded, seen, *neighbours), like, seen.shape[1])
        check_snapshot(before, who)
        logits = self.head(fused.vector) if self.head is not None else cast(Tensor, fused.logits)
        if self.calibration is not None and not self.training:
            logits = self.calibration(logits, present)
        alone = self._alone(encoded, seen) if self.training and self.needs_alone else None
        output = Output(logits, fused.weights, fused.loss, present, alone, members=fused.members)
        if not (self.training and self.shows_states):
            return output
        pooled = {m: torch.where(seen[:, k, None], encoded[m].pooled, 0.0) for k, m in enumerate(self.modalities)}
        return output._replace(vector=fused.vector, pooled=pooled)

    def _alone(self, encoded: dict[str, Encoded], present: Tensor) -> Tensor:
        """The logits [B, M, C] of each modality alone, by the fusion where it has some."""
        if isinstance(self.fusion, AnsweringFusion) and _has_unimodal(self.fusion):
            alone, space = self.fusion.unimodal(encoded, present), cast(OutputSpace, self.fusion.space)
            shape = (len(present), present.shape[1] * self.members, space.size)
            return returned.check_unimodal(self._who(self.fusion), alone, shape)
        return torch.stack([head(encoded[m].pooled) for m, head in self.unimodal.items()], dim=1)

    def _without_alarmed(
        self, encoded: dict[str, Encoded], present: Tensor, alarm: StateAlarm
    ) -> tuple[dict[str, Encoded], Tensor]:
        """The encodings and what is present [B, M] without the modalities that raise an alarm, if any is left."""
        trusted = trusted_in(present, alarm(encoded, present))
        if torch.equal(trusted, present):
            return encoded, present
        return self._without(encoded, trusted, self.encode_nothing(present.device)), trusted

    def restrict(
        self, configuration: tuple[str, ...], encoded: dict[str, Encoded], absent: dict[str, Encoded]
    ) -> dict[str, Encoded]:
        """The encodings as if only the modalities of a configuration were there: encode once, score all of them.

        `absent` is `encode_absent(…)`, the encoding of an absent sequence.
        """
        return {
            m: encoding if m in configuration else _repeat(absent[m], len(encoding.mask))
            for m, encoding in encoded.items()
        }

    def fuse_alone(
        self,
        modalities: Sequence[str],
        encoded: dict[str, Encoded],
        present: Tensor,
        absent: dict[str, Encoded],
        videos: Tensor | None = None,
    ) -> list[Tensor]:
        """The logits [B, C] of each of some modalities alone, where present [B, M] has it: all in one pass.

        absent and videos as for `restrict` and `fuse`.
        """
        count = len(modalities)
        alone = torch.tensor(
            [[m == modality for m in self.modalities] for modality in modalities], device=present.device
        )
        only = (alone[:, None] & present).flatten(0, 1)
        every = {m: Encoded(*(x.repeat(count, *[1] * (x.dim() - 1)) for x in one)) for m, one in encoded.items()}
        if videos is not None:
            videos = torch.cat([videos + k * (int(videos.max()) + 1) for k in range(count)])
        return list(self.fuse(self._without(every, only, absent), only, videos).logits.chunk(count))

    def encode_absent(self, inputs: Tensors) -> dict[str, Encoded]:
        """The encodings of one sample in which every modality is absent.

        Its states have a single step of each stream, for padding never matters; with `absent = "zeros"` as many as
        those of `inputs`.
        """
        steps = 1 if self.absent == "mask" else None
        first = {s: torch.zeros_like(inputs[s][:1, :steps]) for s in self.encoders}
        return self.encode(first, {s: x.new_zeros(x.shape[:2], dtype=torch.bool) for s, x in first.items()})

    def encode_nothing(self, device: torch.device) -> dict[str, Encoded]:
        """The encodings of one sample in which every modality is absent, whatever the steps of a batch are."""
        widths = self.features | self._token_widths
        return self.encode_absent({s: torch.zeros(1, 1, width, device=device) for s, width in widths.items()})

    def set_alarm(self, on_alarm: OnAlarm | None) -> None:
        """Take another answer to alarms than the recipe's, None for the same. SettingsError where there can be none."""
        if on_alarm == "drop" and self.alarm is None:
            raise SettingsError(
                "This run has no alarms (alarm.safetensors): an earlier version trained it, or on other weights. "
                "Resume it to fit them, or leave `on_alarm` out."
            )
        self.on_alarm = on_alarm or self.on_alarm

    def check_parameter_groups(self) -> None:
        """PluginError where the parameter groups of a part are wrong."""
        for part in learned_parts(self):
            if fault := wrong_groups(part, part.parameter_groups()):
                raise PluginError(f"{self._who(part)} {fault} (parameter_groups).")

    def _who(self, part: nn.Module) -> str:
        return self.names.get(part) or f"The part {type(part).__name__}"

    def _without(self, encoded: dict[str, Encoded], present: Tensor, nothing: dict[str, Encoded]) -> dict[str, Encoded]:
        """The encodings with every modality that a sample has no more, in present [B, M], replaced by an absent one."""
        absent = {m: _repeat(_pad_like(encoding, encoded[m]), len(present)) for m, encoding in nothing.items()}
        rows = dict(zip(self.modalities, present.unbind(dim=1), strict=True))
        return {
            m: Encoded(*(_where_rows(rows[m], *pair) for pair in zip(encoded[m], absent[m], strict=True))) for m in rows
        }

    def _padded(self, stream: str, x: Tensor) -> tuple[Tensor, Tensor]:
        """x [B, T, F] with zeros up to the fixed number of steps, and a mask that says all of it is there."""
        steps = self.steps.get(stream, 0)
        if torch.compiler.is_exporting():  # where the number of steps is open: the data have no more than these
            x = nn.functional.pad(x, (0, 0, 0, steps))[:, :steps]
        x = nn.functional.pad(x, (0, 0, 0, max(steps - x.shape[1], 0)))
        return x, torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)


def _repeat(encoded: Encoded, count: int) -> Encoded:
    """The encoding of one sample, for each of `count` samples."""
    return Encoded(*(tensor.expand(count, *tensor.shape[1:]) for tensor in encoded))


def _pad_like(encoded: Encoded, like: Encoded) -> Encoded:
    """An encoding that is not longer than another, padded to its steps."""
    missing = like.mask.shape[1] - encoded.mask.shape[1]
    pad = nn.functional.pad
    return Encoded(pad(encoded.states, (0, 0, 0, missing)), encoded.pooled, pad(encoded.mask, (0, missing)))


def _where_rows(rows: Tensor, tensor: Tensor, other: Tensor) -> Tensor:
    """The rows [B] of `tensor`, and of `other` where they are not set."""
    return torch.where(rows.view(-1, *[1] * (tensor.dim() - 1)), tensor, other)


def head_of(width: int, classes: int, settings: ModelSettings) -> nn.Sequential:
    """The head of a fusion that does not answer itself."""
    return nn.Sequential(
        nn.Linear(width, settings.head),
        nn.ReLU(),
        nn.Dropout(settings.head_dropout),
        nn.Linear(settings.head, classes),
    )


def heads_alone(widths: dict[str, int], fusion: Fusion, classes: int) -> nn.ModuleDict:
    """A linear head for each of these modalities {m: D}; none where the fusion itself says what each answers alone."""
    widths = {} if _has_unimodal(fusion) else widths
    return nn.ModuleDict({m: nn.Linear(width, classes) for m, width in widths.items()})


def _has_unimodal(fusion: Fusion) -> bool:
    """True where the fusion itself says what each modality answers alone."""
    return isinstance(fusion, AnsweringFusion) and type(fusion).unimodal is not AnsweringFusion.unimodal
