"""The laws of a fusion."""

import contextlib
import unittest
from itertools import product
from typing import Any

import torch
from torch import Tensor

from emotiwave_core.compute.device import autocast
from emotiwave_core.errors import SettingsError
from emotiwave_core.interfaces import AnsweringFusion, ContextFusion, Encoded, Fused, Fusion, ObjectiveKind, OutputSpace
from emotiwave_core.layers.parameters import wrong_groups
from emotiwave_core.testing.batches import (
    CONTENTS,
    PATTERNS,
    PRESENT,
    STEPS,
    WIDTHS,
    FusionBatch,
    as_leaves,
    encoded_batch,
    encoded_batch_and_empty,
    encoded_configurations,
    encoded_of_length,
    encoded_with_holes,
    fill_absent,
    fill_padding,
    in_bfloat16,
    pad,
    take,
    take_fused,
)
from emotiwave_core.testing.laws import (
    BF16_TOLERANCE,
    CUDA_TOLERANCE,
    DRAW_BY_TORCH,
    LONG,
    OTHER_CONTENTS,
    TOLERANCE,
    buffers_kept,
    cuda,
    cured,
    cut_at,
    expect,
    expect_finite,
    expect_same,
    expect_type,
    finite,
    gradient_to,
    gradients,
    law,
    law_in_both,
    not_tried,
    seed_torch,
    switch_dropout_off,
    total,
    trainable,
)
from emotiwave_core.testing.shared import LearnedPartContract, expect_options, initialised

THREE = {name: WIDTHS[name] for name in ("text", "audio", "visual")}
CLASSES = 4  # that a fusion is told to answer, where it answers itself
KINDS: tuple[ObjectiveKind, ...] = ("single", "multi", "regression")
VIDEOS = torch.tensor([4, 4, 4, 0, 0, 7, 2])  # of the samples of `encoded_batch`: of three, two, one and one
PRIOR = torch.tensor([0.4, 0.3, 0.2, 0.1]).log()


class FusionContract(LearnedPartContract):
    """The laws that every fusion keeps. A subclass makes the fusion that is checked."""

    positional = ("in_features",)
    arguments = (dict(THREE),)
    granted = ("is_a_fusion", "returns_shapes_and_types")

    def make(self, in_features: dict[str, int]) -> Fusion:
        """A new fusion of these modalities, small enough to be quick."""
        raise NotImplementedError("The contract needs the method make(self, in_features: dict[str, int]) -> Fusion.")

    @law("Derive from emotiwave_core.Fusion and set self.out_features in the constructor.")
    def test_is_a_fusion(self) -> None:
        """A fusion derives from Fusion and says how wide its vector is in `out_features`."""
        fusion = self.ready(THREE)
        expect(isinstance(fusion, Fusion), f"{type(fusion).__name__} is not a Fusion.")
        expect(
            isinstance(fusion.out_features, int),
            f"The attribute out_features is {fusion.out_features!r} and not a whole number.",
        )

    @law("Return Fused(vector [B, out_features], weights [B, M] or None, loss [] or None), and logits if it answers.")
    def test_returns_shapes_and_types(self) -> None:
        """The vector, the weights, the loss and the logits have the shapes and types of Fused."""
        fusion, batch = self._fusion(), encoded_batch()
        for training in (False, True):
            fused = fusion.train(training)(dict(batch[0]), batch[1].clone())
            expect_type(fused, Fused)
            B, M = batch[1].shape
            for name, tensor, expected in (
                ("vector", fused.vector, [B, fusion.out_features]),
                ("weights", fused.weights, [B, M]),
                ("loss", fused.loss, []),
                ("logits", fused.logits, [B, CLASSES]),
            ):
                if tensor is not None:
                    shape = list(tensor.shape)
                    expect(shape == expected, f"The {name} has the shape {shape} where {expected} is due.")
                    expect(tensor.dtype == torch.float32, f"The {name} is of type {tensor.dtype}, not torch.float32.")
            answers = isinstance(fusion, AnsweringFusion)
            what_came = "None as logits" if answers else "logits, and is no AnsweringFusion"
            expect((fused.logits is not None) == answers, f"The method forward returned {what_came}.")

    @law("Mask the scores of absent modalities with -inf before the softmax, or return None.")
    def test_weights_are_shares(self) -> None:
        """Weights, if any, are not negative, exactly zero for what is absent, and sum to 1 over what is present."""
        batch = encoded_batch()
        weights = self._fuse(self._fusion(), batch).weights
        if weights is None:
            return
        weights = weights.detach()
        least, sums, absent = float(weights.min()), weights.sum(1), weights[~batch[1]].abs()
        expect(least >= 0.0, f"A weight is {least:.3g}.")
        expect(float(absent.max()) == 0.0, f"An absent modality has the weight {float(absent.max()):.3g}.")
        off = float((sums - 1.0).abs().max())
        expect(off <= TOLERANCE, f"The weights of a sample sum to a number that is {off:.3g} away from 1.")

    @law("Usual causes: a mean over no sample, the logarithm of 0.")
    def test_loss_is_finite(self) -> None:
        """The loss, if any, is a finite number in training and in eval(), of one sample too."""
        for training, batch in product((False, True), (encoded_batch(), take(encoded_batch(), slice(0, 1)))):
            loss = self._fuse(self._fusion(training), batch).loss
            of = "one sample" if len(batch[1]) == 1 else f"{len(batch[1])} samples"
            expect(finite(loss), f"The loss of {of} is {loss} in {'train()' if training else 'eval()'}.")

    @law_in_both(
        "Choose with torch.where(present, …): multiplication by 0 does not hide NaN.",
        "The fusion reads what is absent in train() alone: choose with torch.where(present, …) there too.",
    )
    def test_absent_content_does_not_matter(self, training: bool) -> None:
        """The content of the states and the pooled vector of an absent modality changes nothing, NaN included."""
        fusion, batch = self._comparable(training), encoded_batch()
        before = self._fuse(fusion, batch)
        for content in OTHER_CONTENTS:
            after = self._fuse(fusion, fill_absent(batch, content))
            _expect_same(after, before, f"absent modalities held {content}")

    @law_in_both(
        "Pass the states through zero_masked(states, mask) first, and mask every softmax over steps.",
        "The fusion reads padding in train() alone: zero_masked(states, mask) comes first there too.",
    )
    def test_padding_content_does_not_matter(self, training: bool) -> None:
        """The content of masked steps of a present modality changes nothing, NaN and infinity included."""
        fusion, batch = self._comparable(training), encoded_batch()
        before = self._fuse(fusion, batch)
        for content in OTHER_CONTENTS:
            after = self._fuse(fusion, fill_padding(batch, content))
            _expect_same(after, before, f"masked steps held {content}")

    @law_in_both(
        "The fusion counts or reads padding: use the masks, and not the number of steps T'.",
        "Usual causes: a BatchNorm, a mean or a softmax over all steps, padding among them, in train() alone.",
    )
    def test_padding_length_does_not_matter(self, training: bool) -> None:
        """Masked steps appended to the states change nothing."""
        fusion, batch = self._comparable(training, resized=True), encoded_batch()
        _expect_same(self._fuse(fusion, pad(batch)), self._fuse(fusion, batch), "masked steps were appended")

    @law("Choose with torch.where before a norm, root or division too: hiding its result keeps NaN in the gradient.")
    def test_absent_content_does_not_reach_gradients(self) -> None:
        """An absent modality gets no gradient, and what stands in it reaches the gradient of nothing else."""
        fusion, batch = self._comparable(training=True), encoded_batch()
        before = self._gradients(fusion, batch)
        expect_finite(before, "where modalities are absent")
        for column, name in enumerate(batch[0]):
            for part in ("states", "pooled"):
                leaked = float(before[f"{name}.{part}"][~batch[1][:, column]].abs().max())
                expect(leaked == 0.0, f"The {part} of {name}, where it is absent, get a gradient of {leaked:.3g}.")
        for content in OTHER_CONTENTS:
            for name, gradient in self._gradients(fusion, fill_absent(batch, content)).items():
                expect_same(f"The gradient of {name}", gradient, before[name], f"absent modalities held {content}")

    @law("Usual causes: a softmax over nothing, a division by the number of present modalities.")
    def test_no_modality_is_finite(self) -> None:
        """A sample without any modality gives finite numbers, forward and backward, alone or among others."""
        fusion, batch = self._fusion(), encoded_batch_and_empty()
        for rows, which in ((slice(None), "among others"), (slice(-1, None), "alone")):
            fused = self._fuse(fusion, take(batch, rows))
            expect(finite(*fused), f"A sample without any modality gives NaN or infinity {which}.")
            expect_finite(self._gradients(fusion, take(batch, rows)), f"with a sample without any modality {which}")

    @law("Usual causes: a table of positions that ends, a difference of two steps.")
    def test_any_number_of_steps(self) -> None:
        """Sequences of one state, padded or not, and of a thousand give finite numbers in the shapes of any other."""
        fusion = self._fusion()
        for steps in (1, LONG):
            fused, expected = self._fuse(fusion, encoded_of_length(steps)), [2, fusion.out_features]
            expect(
                list(fused.vector.shape) == expected, f"{steps} states give {list(fused.vector.shape)}, not {expected}."
            )
            expect(finite(*fused), f"{steps} states give NaN or infinity.")
        single = encoded_of_length(1)
        alone, padded, longer = (self._fuse(fusion, batch) for batch in (single, pad(single), pad(pad(single))))
        pairs = zip(_answer(padded), _answer(longer), strict=True)
        if all(torch.allclose(*pair, atol=TOLERANCE) for pair in pairs):  # else it reads padding, as another law says
            with cured("Look for what T' = 1 decides, such as squeeze() or statistics of one state: it may be padded."):
                _expect_same(padded, alone, "a single state was padded")

    @law("Usual causes: states[:, :512], states[:, mask.sum(1) - 1], which is the last one without holes only.")
    def test_reads_all_states(self) -> None:
        """States, if they are read, are read beyond the first 512, and the last one behind holes as without."""
        fusion = self._fusion()
        long = as_leaves(encoded_of_length(LONG, CONTENTS))
        answer = self._answer_if_able(fusion, long)
        for name, part in long[0].items() if answer else ():
            end = cut_at(gradient_to(part.states, *answer).abs().amax(dim=(0, 2)))
            expect(end is None, f"It reads the first {end} of {LONG} states of {name} alone.")
        batch = as_leaves(encoded_with_holes())
        answer = _answer(self._fuse(fusion, batch))
        for name, part in batch[0].items():
            read = (gradient_to(part.states, *answer) != 0).any(dim=2).view(len(PATTERNS), CONTENTS, STEPS).any(dim=1)
            for mask, steps in zip(PATTERNS, read, strict=True):
                row, last = "".join("x" if step else "." for step in mask), int(mask.nonzero()[-1])
                lost = bool(read[0, -1]) and not bool(steps[last])
                expect(not lost, f"Of the states {row} of {name} it reads nothing of the last one.")

    @law("Usual causes: a zip or a list that ends with the third modality, detach(), a weight that is always 0.")
    def test_every_modality_is_read(self) -> None:
        """Of one to four modalities that are present each has a gradient, and some of them in every configuration."""
        for number in (1, 2, 3, 4):
            fusion, batch = self.ready(dict(list(WIDTHS.items())[:number])).eval(), encoded_configurations(number)
            leaves = as_leaves(batch)
            answer = self._answer_if_able(fusion, leaves)
            if not answer:
                return
            read = torch.stack(
                [
                    (gradient_to(part.pooled, *answer) != 0).any(dim=1)
                    | (gradient_to(part.states, *answer) != 0).any(dim=2).any(dim=1)
                    for part in leaves[0].values()
                ],
                dim=1,
            )
            read = read.view(-1, CONTENTS, number).any(dim=1)  # [configurations, M]
            for present, these in zip(batch[1][::CONTENTS], read, strict=True):
                names = "+".join(name for name, here in zip(leaves[0], present, strict=True) if here)
                among = f"Of {number} modalities ({', '.join(leaves[0])})"
                expect(bool(these.any()), f"{among} nothing of a sample of {names} has a gradient.")
            unread = [name for name, each in zip(leaves[0], read[-1], strict=True) if not bool(each)]
            expect(not unread, f"Of {number} modalities {' and '.join(unread)} has no gradient.")

    @law("Look for detach(), no_grad() and .data on the way from a modality to the vector.")
    def test_no_gradient_is_cut(self) -> None:
        """Each pooled vector and each state that changes the answer has a gradient from it."""
        fusion, batch = self._fusion(), as_leaves(encoded_configurations(3))
        before = _answer(self._fuse(fusion, batch))
        for name, part in batch[0].items():
            for which, leaf in (("pooled", part.pooled), ("states", part.states)):
                reached = (gradient_to(leaf, *before) != 0).any(dim=-1).any(dim=0)  # [] or [T']
                for step in range(max(reached.numel(), 1)):
                    place = leaf if which == "pooled" else leaf[:, step]
                    moved = leaf.detach().clone()
                    (moved if which == "pooled" else moved[:, step]).add_(0.01 * torch.randn(place.shape))
                    encoded = batch[0] | {name: part._replace(**{which: moved})}
                    with torch.no_grad():
                        after = _answer(self._fuse(fusion, (encoded, batch[1])))
                    heard = any(
                        bool((now - then).abs().max() > TOLERANCE * then.abs().max().clamp(min=0.1))
                        for now, then in zip(after, before, strict=True)
                    )
                    where = "The pooled vector" if which == "pooled" else f"State {step}"
                    cut = heard and not bool(reached.flatten()[step])
                    expect(not cut, f"{where} of {name} changes the answer and has no gradient from it.")

    @law_in_both("Usual cause: squeeze() without a dimension.", "Usual cause: BatchNorm. Use LayerNorm.")
    def test_batch_of_one(self, training: bool) -> None:
        """A batch of one sample has the shapes of any other, and finite numbers."""
        fusion, batch = self._fusion(training), encoded_batch()
        fused, many = self._fuse(fusion, take(batch, slice(0, 1))), self._fuse(fusion, batch)
        shape, expected = list(fused.vector.shape), [1, *many.vector.shape[1:]]
        expect(shape == expected, f"A batch of one sample gives a vector of the shape {shape}, not {expected}.")
        expect(finite(fused.vector, fused.weights), "A batch of one sample gives NaN or infinity.")

    @law_in_both(
        "Usual causes: a mean or a softmax over dimension 0, attention without batch_first=True.",
        "Usual causes: BatchNorm (use LayerNorm), a mean over the batch; to mix samples is an augmentation's.",
    )
    def test_samples_do_not_mix(self, training: bool) -> None:
        """The vector and weights of a sample do not depend on the others in its batch."""
        fusion, batch = self._comparable(training), encoded_batch()
        first, last = slice(0, 2), slice(4, 7)
        before = self._fuse(fusion, batch)
        others = self._fuse(fusion, take(batch, torch.tensor([1, 0, 3, 2, 4, 5, 6])))
        _expect_same(take_fused(others, last), take_fused(before, last), "the samples before it were changed")
        fusion = self._comparable(training, resized=True)
        before = self._fuse(fusion, batch)
        alone = self._fuse(fusion, take(batch, first))._replace(loss=None)
        _expect_same(alone, take_fused(before, first), "the samples after it were taken out of the batch")

    @law_in_both(
        "Something depends on a sample's place in the batch.", "Something depends on a sample's place in the batch."
    )
    def test_batch_order_does_not_matter(self, training: bool) -> None:
        """Samples in another order give the same vectors and weights in that order."""
        fusion, batch = self._comparable(training, resized=True), encoded_batch()
        order = torch.tensor([2, 0, 6, 1, 5, 3, 4])
        before = take_fused(self._fuse(fusion, batch), order)
        after = self._fuse(fusion, take(batch, order))._replace(loss=None)
        _expect_same(after, before, "the batch was put in another order")

    @law("Something random runs in eval(): give F.dropout training=self.training, or use nn.Dropout.")
    def test_deterministic_in_eval(self) -> None:
        """In eval() the result does not depend on the random seed."""
        fusion, batch = self._fusion(), encoded_batch()
        before = self._fuse(fusion, batch)
        _expect_same(self._fuse(fusion, batch, seed=2), before, "only the random seed was another")

    @law(DRAW_BY_TORCH)
    def test_seed_repeats_it(self) -> None:
        """In training, the same torch.manual_seed gives the same results."""
        fusion, batch = self._fusion(training=True), encoded_batch()
        before = self._fuse(fusion, batch)
        _expect_same(self._fuse(fusion, batch), before, "it ran twice from the same seed")

    @law("Work out of place: one encoding serves all configurations when a model is scored.")
    def test_does_not_change_its_input(self) -> None:
        """The tensors and the dict that were given stay as they were."""
        before, given = encoded_batch_and_empty(), encoded_batch_and_empty()
        self._fusion()(*given)
        expect(list(given[0]) == list(before[0]), f"The dict that was given holds {list(given[0])} now.")
        expect_same("The tensor `present` that was given", given[1], before[1], "it was used")
        for name, part in before[0].items():
            for which, original, now in zip(Encoded._fields, part, given[0][name], strict=True):
                expect_same(f"The tensor `{which}` of {name} that was given", now, original, "it was used")

    @law("Is it used in forward? Remove it if not; look for detach(), no_grad() and .data if it is.")
    def test_every_parameter_learns(self) -> None:
        """Each trainable parameter gets a gradient other than zero from the vector, the weights or the loss."""
        fusion = self._fusion().train()
        silent = [name for name, _ in trainable(fusion)]
        neighbours = VIDEOS if isinstance(fusion, ContextFusion) else None
        for batch, videos in (
            (encoded_batch(), neighbours),
            (encoded_batch_and_empty(), None),
        ):  # the second for what is learned for samples without any modality
            if silent:
                reached = self._gradients(fusion, batch, videos)
                silent = [name for name in silent if not bool((reached[name] != 0).any())]
        expect(not silent, f"No gradient reaches {', '.join(silent)}.")

    @law("Keep what makes up the result in parameters, buffers (register_buffer) and modules (ModuleList, not list).")
    def test_state_dict_round_trip(self) -> None:
        """A new fusion that loads the state_dict of one that was initialised and trained gives the same results."""
        batch, old = encoded_batch(), self._fusion()
        with contextlib.suppress(unittest.SkipTest):  # its weights are not here
            initialised(old)
        for rows in (slice(0, 4), slice(3, 7)):
            old.train()(*take(batch, rows))
        seed_torch(7)
        new = self.ready(THREE)
        new.load_state_dict(old.state_dict())
        for training in (False, True):
            now, then = (self._fuse(fusion.train(training), batch) for fusion in (new, old))
            repeats = not training or self._repeats(new)  # where it does not, another law says so
            _expect_same(now if repeats else then, then, "the state_dict was loaded by a new fusion")

    @law("Take the modalities and their widths from in_features, never by name or number.")
    def test_any_number_of_modalities(self) -> None:
        """One, two, three and four modalities of different widths work, forward and backward."""
        for number in (1, 2, 3, 4):
            widths = dict(list(WIDTHS.items())[:number])
            fusion, batch = self.ready(widths).eval(), encoded_batch(number)
            fused, expected = self._fuse(fusion, batch), [len(PRESENT), fusion.out_features]
            expect(
                list(fused.vector.shape) == expected,
                f"{number} modalities give {list(fused.vector.shape)}, not {expected}.",
            )
            expect(finite(*fused), f"{number} modalities give NaN or infinity.")
            expect_finite(gradients(fusion, total(*fused)), f"with {number} modalities")

    @law("Usual causes: results of two types in one tensor, a number too large, or a difference of large ones.")
    def test_runs_in_bfloat16_autocast(self) -> None:
        """Under bfloat16 autocast the results are those of float32 but for a tenth of the largest; gradients finite."""
        fusion, batch = self._fusion(training=True), encoded_batch()
        with autocast(torch.device("cpu"), "bf16"):
            fused = self._fuse(fusion, batch)
        expect(finite(fused.vector, fused.weights, fused.logits), "Under autocast the result is NaN or infinite.")
        expect_finite(gradients(fusion, total(*fused)), "under autocast")
        fusion.eval()
        for given in (batch, encoded_of_length(LONG)):
            expected = self._answer_if_able(fusion, given)
            with torch.no_grad(), autocast(torch.device("cpu"), "bf16"):
                came = self._answer_if_able(fusion, in_bfloat16(given))
            steps = given[0]["text"].mask.shape[1]
            for now, then in zip(came, expected, strict=True) if came and expected else ():
                expect_same("The vector", now, then, f"{steps} states ran in bfloat16", BF16_TOLERANCE)

    @law("Write (self, in_features: dict[str, int], *, option: type = default): the registry reads help from it.")
    def test_options_are_explicit(self) -> None:
        """The constructor takes `in_features`, then options that are keyword-only, typed and have defaults."""
        expect_options(self.make(THREE), self.positional)

    @law("Return a list of ParameterGroup: parameters of its own, each in one group, factors of at least 0.")
    def test_parameter_groups_are_its_own(self) -> None:
        """The parameter groups hold its own parameters, each once, and factors of the learning rate from 0 on."""
        fusion = self._fusion()
        if isinstance(fusion, Fusion):  # another law says so
            fault = wrong_groups(fusion, fusion.parameter_groups())
            expect(fault is None, f"It {fault}.")

    @law("Usual cause: a tensor made in forward without a device, or kept without register_buffer.")
    def test_same_on_cuda(self) -> None:
        """On a GPU, where there is one, the results are those of the CPU."""
        device = cuda()
        fusion, (encoded, present) = self._fusion(), encoded_batch()
        before = self._fuse(fusion, (encoded, present))
        moved = {name: Encoded(*(tensor.to(device) for tensor in part)) for name, part in encoded.items()}
        after = self._fuse(fusion.to(device), (moved, present.to(device)))
        _expect_same(after, before, "it ran on a GPU", CUDA_TOLERANCE)

    @law("Give logits [B, space.size] for every kind of labels, or raise SettingsError in make_heads.")
    def test_answers_every_kind(self) -> None:
        """One that answers itself gives finite logits for a kind of labels, with and without a prior, or refuses."""
        for kind in KINDS:
            try:
                fusion = self.ready(THREE, kind)
            except SettingsError:
                continue
            if not isinstance(fusion, AnsweringFusion):
                return
            for prior in (None, None if kind == "regression" else PRIOR):
                if prior is not None:
                    fusion.take_prior(prior)
                logits = self._fuse(fusion.eval(), encoded_batch_and_empty()).logits
                expect(finite(logits), f"Of the kind {kind} a logit is NaN or infinite.")

    @law("Copy the prior into a buffer that make_heads has registered.")
    def test_prior_is_kept(self) -> None:
        """The prior that a fusion which answers itself has taken is in its state_dict."""
        batch, old, new = encoded_batch_and_empty(), self._fusion(), self._fusion()
        if not isinstance(old, AnsweringFusion):
            return
        old.take_prior(PRIOR)
        new.load_state_dict(old.state_dict())
        _expect_same(self._fuse(new, batch), self._fuse(old, batch), "the state_dict was loaded by a new fusion")

    @law_in_both(
        "Read the samples with the same number in `videos` alone: layers.videos has their sequences and masks.",
        "It reads other videos in train() alone: usual causes are BatchNorm and a mean over the batch.",
    )
    def test_videos_do_not_mix(self, training: bool) -> None:
        """Of one that sees neighbours, the answer to a video does not depend on the other videos of its batch."""
        fusion, batch = self._context(training), encoded_batch()
        before = self._fuse(fusion, batch, videos=VIDEOS)
        order = torch.tensor([6, 5, 3, 4, 0, 1, 2])
        after = take_fused(self._fuse(fusion, take(batch, order), videos=VIDEOS[order]), order.argsort())
        _expect_same(after, take_fused(before, slice(None)), "the videos of the batch were put in another order")
        own = slice(0, 3)
        alone = self._fuse(fusion, take(batch, own), videos=VIDEOS[own])._replace(loss=None)
        _expect_same(alone, take_fused(before, own), "the other videos were taken out of the batch")

    @law("`videos` may be None: `video_sequences(videos, …)` makes a video of each sample then.")
    def test_alone_is_a_video_of_one(self) -> None:
        """One that sees neighbours answers the same without `videos` and with a number for each sample, any number."""
        fusion, batch = self._context(False), encoded_batch()
        before = self._fuse(fusion, batch)
        for numbers in (torch.arange(len(batch[1])), 5 + 3 * torch.arange(len(batch[1])).flip(0)):
            after = self._fuse(fusion, batch, videos=numbers)
            _expect_same(after, before, f"each sample had a video of its own, {numbers.tolist()}")

    @law("Pass what it makes of each sample through something that reads the video, or derive it from Fusion.")
    def test_neighbours_are_read(self) -> None:
        """One that sees neighbours gives a gradient from a sample's answer to the content of another of its video."""
        fusion, batch = self._context(False), as_leaves(encoded_of_length(3, samples=len(VIDEOS)))
        answer = [tensor[0] for tensor in _answer(self._fuse(fusion, batch, videos=VIDEOS))]
        read = torch.zeros(len(VIDEOS), dtype=torch.bool)
        for part in batch[0].values():
            for leaf in (part.pooled, part.states):
                read |= (gradient_to(leaf, *answer) != 0).flatten(1).any(dim=1)
        expect(bool(read[1:3].any()), "The answer to a sample has no gradient to any other sample of its video.")

    @law("What is absent from a neighbour is not read either: torch.where(present, …) before anything else.")
    def test_absent_content_of_neighbours_does_not_matter(self) -> None:
        """Of one that sees neighbours, what stands in their absent modalities and padding changes nothing."""
        fusion, batch = self._context(False), encoded_batch_and_empty()
        videos = torch.cat([VIDEOS, VIDEOS[-1:]])
        before = self._fuse(fusion, batch, videos=videos)
        expect(finite(*before), "Beside a sample without any modality a number is NaN or infinite.")
        for content in OTHER_CONTENTS:
            after = self._fuse(fusion, fill_padding(fill_absent(batch, content), content), videos=videos)
            _expect_same(after, before, f"absent modalities and masked steps of a video held {content}")

    def once(self) -> Fusion:
        """A new fusion that has been used once in training."""
        used: Fusion = self.use(self.ready(THREE))
        return used

    def fresh(self) -> Fusion:
        """A new fusion that has not been used."""
        return self.ready(THREE)

    def use(self, part: Any) -> Any:
        """The fusion, used once in training."""
        part.train()(*encoded_batch())
        return part

    def ready(self, in_features: dict[str, int], kind: ObjectiveKind = "single") -> Fusion:
        """A new fusion; one that answers itself has been told what to. SettingsError where it refuses."""
        fusion = self.make(dict(in_features))
        if isinstance(fusion, AnsweringFusion):
            fusion.answer(OutputSpace(kind, CLASSES))
        return fusion

    def _fusion(self, training: bool = False) -> Fusion:
        return self.ready(THREE).train(training)

    def _comparable(self, training: bool, resized: bool = False) -> Fusion:
        """A new fusion without torch's own dropout, so that its results can be compared with each other.

        Not tried where the same seed gives others, of which another law tells; of batches of several sizes or orders
        (`resized`) also where it draws in a way of its own.
        """
        fusion = self._fusion(training)
        if training:
            switch_dropout_off(fusion)
            if not self._repeats(fusion, 2 if resized else 1):
                raise not_tried("it draws in train() in a way of its own")
        return fusion

    def _context(self, training: bool) -> Fusion:
        """A new fusion that sees neighbours; not tried with others."""
        fusion = self._comparable(training, resized=True)
        if not isinstance(fusion, ContextFusion):
            raise not_tried("it sees each sample alone")
        return fusion

    def _repeats(self, fusion: Fusion, seed: int = 1) -> bool:
        """Tell whether it gives the same twice, from the seed 1 and from this one; whatever is NaN is not looked at."""
        first, again = (self._fuse(fusion, encoded_batch(), number) for number in (1, seed))
        pairs = [(now, then) for now, then in zip(first, again, strict=True) if now is not None and then is not None]
        return all(torch.equal(now, then) or not finite(now, then) for now, then in pairs)

    def _fuse(self, fusion: Fusion, batch: FusionBatch, seed: int = 1, videos: Tensor | None = None) -> Fused:
        seed_torch(seed)  # so that only the law about randomness sees any
        neighbours = () if videos is None else (videos.clone(),)
        with buffers_kept(fusion):
            return Fused(*fusion(dict(batch[0]), batch[1].clone(), *neighbours))

    def _answer_if_able(self, fusion: Fusion, batch: FusionBatch) -> list[Tensor]:
        """Its answer; nothing where it cannot take the states or the modalities, as another law says."""
        try:
            return _answer(self._fuse(fusion, batch))
        except Exception:
            return []

    def _gradients(self, fusion: Fusion, batch: FusionBatch, videos: Tensor | None = None) -> dict[str, Tensor]:
        """Of the parameters, and of the states and the pooled vector of each modality."""
        leaves = as_leaves(batch)
        by_name = gradients(fusion, total(*self._fuse(fusion, leaves, videos=videos)))
        for name, part in leaves[0].items():
            for which, leaf in (("states", part.states), ("pooled", part.pooled)):
                by_name[f"{name}.{which}"] = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
        return by_name


def _answer(fused: Fused) -> list[Tensor]:
    """The tensors [B, …] that decide: neither the shares nor the loss."""
    decide = {name: tensor for name, tensor in fused._asdict().items() if name not in ("weights", "loss")}
    return [tensor for tensor in decide.values() if tensor is not None]


def _expect_same(now: Fused, before: Fused, when: str, tolerance: float = TOLERANCE) -> None:
    for name, after, expected in zip(Fused._fields, now, before, strict=True):
        expect_same(f"The {name}", after, expected, when, tolerance)
