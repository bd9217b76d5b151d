"""The laws of an encoder."""

import contextlib
import unittest
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from emotiwave_core.compute.device import autocast
from emotiwave_core.config.options import bare, signature_options
from emotiwave_core.errors import PluginError
from emotiwave_core.interfaces import Encoded, Encoder, Tensors
from emotiwave_core.layers.parameters import wrong_groups
from emotiwave_core.layers.sequence import zero_masked
from emotiwave_core.testing.batches import (
    CONTENTS,
    FEATURES,
    HOLES,
    PADDING,
    PATTERNS,
    STEPS,
    append_steps,
    sequences,
    sequences_and_empty,
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


class EncoderContract(LearnedPartContract):
    """The laws that every encoder keeps. A subclass makes the encoder that is checked."""

    positional = ("in_features",)
    arguments = (FEATURES,)
    granted = ("is_an_encoder", "returns_shapes_and_types")
    base: type = Encoder

    nothing: float | Tensor = 0.0  # of a step
    other_contents: Sequence[float | Tensor] = OTHER_CONTENTS  # what may stand in a step that nobody should look at

    def make(self, in_features: int) -> Encoder:
        """A new encoder for sequences of this many features, small enough to be quick."""
        raise NotImplementedError("The contract needs the method make(self, in_features: int) -> Encoder.")

    def sequences(self) -> tuple[Tensor, Tensor]:
        """Sequences x [4, 7, F] with mask MASK, zero where masked."""
        return sequences()

    def sequences_and_empty(self) -> tuple[Tensor, Tensor]:
        """The same with an empty sequence as the last row."""
        return sequences_and_empty()

    def contents(self, samples: int, steps: int) -> Tensor:
        """The content of sequences without padding, x [samples, steps, F], the same at each call."""
        return torch.randn(samples, steps, FEATURES, generator=torch.Generator().manual_seed(0))

    def other(self, x: Tensor) -> Tensor:
        """Sequences of another content, in every step."""
        return 1.0 - 3.0 * x

    @law("Derive from emotiwave_core.Encoder and set self.out_features in the constructor.")
    def test_is_an_encoder(self) -> None:
        """An encoder derives from Encoder and says how wide its output is in `out_features`."""
        encoder = self.make(*self.arguments)
        expect(isinstance(encoder, self.base), f"{type(encoder).__name__} is not of the class {self.base.__name__}.")
        expect(
            isinstance(encoder.out_features, int),
            f"The attribute out_features is {encoder.out_features!r} and not a whole number.",
        )

    @law("Return Encoded(states [B, T', D], pooled [B, D], mask [B, T'] bool) with D = out_features.")
    def test_returns_shapes_and_types(self) -> None:
        """The states, the pooled vector and the mask have the shapes and types of Encoded, in eval() and in train()."""
        for training in (False, True):
            self._expect_encoded(self._encoder(training))

    @law_in_both(
        "Pass the states through emotiwave_core.layers.sequence.zero_masked as the last thing.",
        "Noise, too, comes before emotiwave_core.layers.sequence.zero_masked.",
    )
    def test_masked_states_are_zero(self, training: bool) -> None:
        """States are exactly zero where the returned mask is not set."""
        states, _, new_mask = self._encode(self._encoder(training), *self.sequences())
        largest = float(states.detach()[~new_mask].abs().max()) if (~new_mask).any() else 0.0
        expect(largest == 0.0, f"A state is {largest:.3g} where the mask is not set.")

    @law_in_both(
        "A row without a step comes back without one, a row with a step keeps at least one.",
        "To drop steps in training is a dropout policy's.",
    )
    def test_mask_tells_empty_rows(self, training: bool) -> None:
        """The returned mask has no step set in a row if, and only if, the mask given had none."""
        x, mask = self.sequences_and_empty()
        encoder, steps = self._encoder(training), x.shape[1]
        single = torch.eye(steps, dtype=torch.bool)  # one step, at every place
        for given, masks in ((x, mask), (x[:1].expand(steps, -1, -1), single)):
            new_mask = self._encode(encoder, given, masks).mask
            expect(
                torch.equal(new_mask.any(1), masks.any(1)),
                f"Rows with a step: {new_mask.any(1).tolist()} came of {masks.any(1).tolist()}.",
            )

    @law_in_both(
        "The encoder counts or reads padding: use the mask, and not the number of steps T.",
        "Usual causes: a BatchNorm, a mean or a softmax over all steps, padding among them, in train() alone.",
    )
    def test_padding_length_does_not_matter(self, training: bool) -> None:
        """Masked steps appended to all sequences change nothing."""
        encoder, (x, mask) = self._comparable(training, resized=True), self.sequences()
        before = self._encode(encoder, x, mask)
        after = self._encode(encoder, append_steps(x, 3), append_steps(mask, 3))
        steps = before.mask.shape[1]
        longer = after.mask[:, steps:].any()
        expect(not bool(longer), "The returned mask has steps set where masked steps were appended.")
        _expect_same(_first_steps(after, steps), before, "3 masked steps were appended")

    @law_in_both(
        "The encoder reads padding: apply zero_masked(x, mask) first (multiplication is no mask, NaN * 0 is NaN).",
        "The encoder reads padding in train() alone: apply zero_masked(x, mask) first there too.",
    )
    def test_padding_content_does_not_matter(self, training: bool) -> None:
        """The content after the last step of a sequence changes nothing, NaN and infinity included."""
        self._expect_unread(PADDING, "the padding", training)

    @law_in_both(
        "The encoder reads lost steps inside a sequence: use the whole mask, and not only a length made of it.",
        "The encoder reads lost steps in train() alone: apply zero_masked(x, mask) first there too.",
    )
    def test_hole_content_does_not_matter(self, training: bool) -> None:
        """The content of masked steps before and between others changes nothing, NaN and infinity included."""
        self._expect_unread(HOLES, "the masked steps inside the sequence", training)

    @law("Apply zero_masked(x, mask) before any parameter: hiding a result keeps NaN * 0 = NaN in the gradient.")
    def test_masked_content_does_not_reach_gradients(self) -> None:
        """The gradients of the parameters do not depend on what stands in masked steps."""
        encoder, (x, mask) = self._comparable(training=True), self.sequences()
        before = self._gradients(encoder, x, mask)
        for content in self.other_contents:
            after = self._gradients(encoder, torch.where(mask[..., None], x, content), mask)
            for name, gradient in after.items():
                expect_same(f"The gradient of {name}", gradient, before[name], f"masked steps held {content}")

    @law("Usual causes: a mean over no step, a softmax over nothing, pack_padded_sequence (refuses length 0).")
    def test_empty_sequence_is_finite(self) -> None:
        """A row without a step gives finite numbers, forward and backward, alone or among others."""
        encoder = self._encoder()
        x, mask = self.sequences_and_empty()
        odd_x = torch.where(mask.any(dim=1)[:, None, None], x, self.other_contents[0])
        for rows, which in ((slice(None), "among others"), (slice(4, 5), "alone")):
            zeros = self._encode(encoder, x[rows], mask[rows])
            expect(finite(zeros.states, zeros.pooled), f"An empty sequence {which} gives NaN or infinity.")
            odd = self._encode(encoder, odd_x[rows], mask[rows])
            _expect_same(odd, zeros, "an empty sequence held NaN")
            expect_finite(self._gradients(encoder, x[rows], mask[rows]), f"with an empty sequence {which}")

    @law(
        "Return masked_softmax(scores, mask) as [B, T], or None; a state of several steps shares its weight among them."
    )
    def test_attention_is_a_share_of_steps(self) -> None:
        """Attention over the steps, if any, sums to 1 over those that are set, whatever others hold."""
        encoder = self._encoder()
        if not isinstance(encoder, Encoder):
            return  # another law says so
        x, mask = self.sequences_and_empty()
        for content in (self.nothing, *self.other_contents):
            attention = encoder.attention_over_steps(torch.where(mask[..., None], x, content), mask.clone())
            if attention is None:
                return
            shares = attention.detach()
            shape, where = list(shares.shape), f"where masked steps hold {content}"
            expect(shape == list(mask.shape), f"The attention is {shape} where [B, T] is {list(mask.shape)}.")
            expect(finite(shares) and bool((shares >= 0).all()), f"A share is not a number of at least 0 {where}.")
            expect(not bool(shares[~mask].any()), f"A masked step has a share {where}.")
            apart = float((shares.sum(dim=1) - mask.any(dim=1).float()).abs().max())
            expect(
                apart <= TOLERANCE, f"The shares of a row are {apart:.2g} away from a sum of 1, or 0 if empty, {where}."
            )

    @law("Usual causes: a convolution without padding, a table of positions that ends, statistics of one step.")
    def test_any_number_of_steps(self) -> None:
        """Sequences of one step, padded or not, and of a thousand give finite numbers; of one sample in train() too."""
        encoder = self._encoder()
        for steps in (1, LONG):
            x = self.contents(2, steps)
            states, pooled, new_mask = self._encode(encoder, x, torch.ones(2, steps, dtype=torch.bool))
            shapes, expected = (
                [list(states.shape), list(pooled.shape)],
                [[*new_mask.shape, pooled.shape[1]], [2, len(pooled[0])]],
            )
            expect(
                shapes == expected and new_mask.shape[1] >= 1,
                f"Sequences of {steps} steps give the shapes {shapes}.",
            )
            expect(finite(states, pooled), f"Sequences of {steps} steps give NaN or infinity.")
        single, one = x[:, :1], torch.ones(2, 1, dtype=torch.bool)
        alone, padded, longer = (
            self._encode(encoder, append_steps(single, more), append_steps(one, more)) for more in (0, 6, 9)
        )
        if torch.allclose(padded.pooled, longer.pooled, atol=TOLERANCE):  # else it reads padding, as another law says
            with cured("Look for what T = 1 decides, such as squeeze() or a statistic of one step: it may be padded."):
                _expect_same(_first_steps(padded, alone.mask.shape[1]), alone, "a single step was padded")
        shortest = self._encode(encoder.train(), x[:1, :1], torch.ones(1, 1, dtype=torch.bool))  # the end of an epoch
        expect(finite(shortest.states, shortest.pooled), "In train() one sample of one step gives NaN or infinity.")

    @law("Usual causes: x[:, :512], a window that is too short, only every tenth step.")
    def test_reads_all_of_a_long_sequence(self) -> None:
        """Of a thousand steps no ten in a row are without a gradient, and the pooled vector's is not cut off."""
        x = torch.randn(8, LONG, FEATURES, generator=torch.Generator().manual_seed(0)).requires_grad_()
        encoded = self._encode_long(self._encoder(), x)
        if encoded is None:
            return
        pooled = gradient_to(x, encoded.pooled).abs().amax(dim=(0, 2))
        if not bool(_in_tens(pooled).all()):
            end = cut_at(pooled)
            expect(end is None, f"The pooled vector reads the first {end} of {LONG} steps alone.")
            read = _in_tens(pooled + gradient_to(x, encoded.states).abs().amax(dim=(0, 2)))
            first = 10 * int(read.int().argmin())
            whole = bool(read.all()) or not bool(read.any())  # where there is none at all, another law says so
            expect(whole, f"Of {LONG} steps those from {first} to {first + 9} have no gradient at all.")

    @law("Usual causes: detach() or no_grad() for some rows, an index such as states[:, 0] that is masked in others.")
    def test_every_row_is_read(self) -> None:
        """The pooled vector reads each row with a step, and of one with holes the last step, if that of a whole row."""
        read = self._read_steps()
        for mask, steps in zip(PATTERNS, read, strict=True):
            row, last = "".join("x" if step else "." for step in mask), int(mask.nonzero()[-1])
            with cured("Usual cause: states[:, mask.sum(1) - 1], the last step of rows without holes only: last_step."):
                lost = bool(read[0, -1]) and "." in row.rstrip(".") and not bool(steps[last])
                expect(not lost, f"In a row with the steps {row} the pooled vector reads nothing of the last one.")
            expect(
                bool(steps.any()),
                f"The pooled vector of a row with the steps {row} takes no gradient from it, or nothing.",
            )

    @law("Look for detach(), no_grad() and .data on the way from one step to another, such as a hidden state's.")
    def test_no_gradient_is_cut(self) -> None:
        """Each step that changes the first state, the last one or the pooled vector has a gradient from it."""
        generator, encoder = torch.Generator().manual_seed(0), self._encoder()
        x = torch.randn(CONTENTS, STEPS, FEATURES, generator=generator).requires_grad_()
        nudge = 0.01 * torch.randn(CONTENTS, STEPS, FEATURES, generator=generator)
        # [CONTENTS · STEPS, T, F]: each content with each of its steps changed by a little.
        moved = (x[:, None] + torch.eye(STEPS)[..., None] * nudge[:, None]).detach().flatten(0, 1)
        masks = (torch.ones(one.shape[:2], dtype=torch.bool) for one in (x, moved))
        before, after = (_ends(self._encode(encoder, one, mask)) for one, mask in zip((x, moved), masks, strict=True))
        for name, result in before.items():
            changes = (after[name].view(CONTENTS, STEPS, -1) - result[:, None]).detach().abs().amax(dim=(0, 2))
            heard = changes > TOLERANCE * float(result.detach().abs().max().clamp(min=0.1))
            reached = (gradient_to(x, result) != 0).any(dim=2).any(dim=0)
            silent = heard & ~reached
            expect(
                not bool(silent.any() and reached.any()),  # where there is none at all, another law says so
                f"Step {int(silent.int().argmax())} of {STEPS} changes the {name} and has no gradient from it.",
            )

    @law_in_both("Usual cause: squeeze() without a dimension.", "Usual cause: BatchNorm. Use LayerNorm.")
    def test_batch_of_one(self, training: bool) -> None:
        """A batch of one sample has the shapes of any other, and finite numbers."""
        encoder, (x, mask) = self._encoder(training), self.sequences()
        alone, many = self._encode(encoder, x[:1], mask[:1]), self._encode(encoder, x, mask)
        shapes, expected = [list(tensor.shape) for tensor in alone], [[1, *tensor.shape[1:]] for tensor in many]
        expect(shapes == expected, f"A batch of one sample gives the shapes {shapes}, not {expected}.")
        expect(finite(alone.states, alone.pooled), "A batch of one sample gives NaN or infinity.")

    @law_in_both(
        "Usual causes: an LSTM without batch_first=True, a mean or a softmax over dimension 0.",
        "Usual causes: BatchNorm (use LayerNorm), a mean over the batch; to mix samples is an augmentation's.",
    )
    def test_samples_do_not_mix(self, training: bool) -> None:
        """The result of a sample does not depend on the others in its batch."""
        encoder, (x, mask) = self._comparable(training), self.sequences()
        before = self._encode(encoder, x, mask)
        others = self._encode(encoder, torch.cat([self.other(x[:2]), x[2:]]), mask)
        last, expected = (Encoded(*(tensor[2:] for tensor in result)) for result in (others, before))
        _expect_same(last, expected, "the samples before it were changed")
        encoder = self._comparable(training, resized=True)
        before = self._encode(encoder, x, mask)
        first = Encoded(*(tensor[:2] for tensor in before))
        _expect_same(self._encode(encoder, x[:2], mask[:2]), first, "the samples after it were taken out of the batch")

    @law_in_both(
        "Something depends on a sample's place in the batch.", "Something depends on a sample's place in the batch."
    )
    def test_batch_order_does_not_matter(self, training: bool) -> None:
        """Samples in another order give the same results in that order."""
        encoder, (x, mask) = self._comparable(training, resized=True), self.sequences()
        order = torch.tensor([2, 0, 3, 1])
        before = Encoded(*(tensor[order] for tensor in self._encode(encoder, x, mask)))
        _expect_same(self._encode(encoder, x[order], mask[order]), before, "the batch was put in another order")

    @law("Something random runs in eval(): give F.dropout training=self.training, or use nn.Dropout.")
    def test_deterministic_in_eval(self) -> None:
        """In eval() the result does not depend on the random seed."""
        encoder, (x, mask) = self._encoder(), self.sequences()
        before = self._encode(encoder, x, mask)
        _expect_same(self._encode(encoder, x, mask, seed=2), before, "only the random seed was another")

    @law(DRAW_BY_TORCH)
    def test_seed_repeats_it(self) -> None:
        """In training, the same torch.manual_seed gives the same results."""
        encoder, (x, mask) = self._encoder().train(), self.sequences()
        before = self._encode(encoder, x, mask)
        _expect_same(self._encode(encoder, x, mask), before, "it ran twice from the same seed")

    @law("Work out of place: x + 1 or torch.where, not x += 1, x[~mask] = 0 or masked_fill_.")
    def test_does_not_change_its_input(self) -> None:
        """The sequences and the mask that were given stay as they were."""
        x, mask = self.sequences()
        x = torch.where(mask[..., None], x, self.other(x))
        given = (x.clone(), mask.clone())
        for training in (False, True):
            self._encoder().train(training)(*given)
            for name, now, before in zip(("x", "mask"), given, (x, mask), strict=True):
                changed = int((now != before).sum())
                expect(changed == 0, f"{changed} numbers changed in the {name} that was given.")

    @law("Is it used in forward? Remove it if not; look for detach(), no_grad() and .data if it is.")
    def test_every_parameter_learns(self) -> None:
        """Each trainable parameter gets a gradient other than zero from the states or the pooled vector."""
        encoder = self._encoder().train()
        silent = [name for name, _ in trainable(encoder)]
        # The second of these for what is learned for empty sequences.
        for x, mask in (self.sequences(), self.sequences_and_empty()):
            if silent:
                reached = self._gradients(encoder, x, mask)
                silent = [name for name in silent if not bool((reached[name] != 0).any())]
        expect(not silent, f"No gradient reaches {', '.join(silent)}.")

    @law("Keep what makes up the result in parameters, buffers (register_buffer) and modules (ModuleList, not list).")
    def test_state_dict_round_trip(self) -> None:
        """A new encoder that loads the state_dict of one that was initialised, fitted and trained does the same."""
        (x, mask), old = self.sequences(), self._encoder()
        with contextlib.suppress(unittest.SkipTest):  # its weights are not here
            initialised(old)
        _fit(old, x, mask)
        for content in (x, self.other(x)):
            old.train()(content, mask)
        seed_torch(7)
        new = self.make(*self.arguments)
        new.load_state_dict(old.state_dict())
        for training in (False, True):
            now, then = (self._encode(encoder.train(training), x, mask) for encoder in (new, old))
            repeats = not training or self._repeats(new)  # where it does not, another law says so
            _expect_same(now if repeats else then, then, "the state_dict was loaded by a new encoder")

    @law(
        "Usual causes: float32 results written into a tensor made like x, a number too large for bfloat16, or a "
        "difference of large ones."
    )
    def test_runs_in_bfloat16_autocast(self) -> None:
        """Under bfloat16 autocast the results are those of float32 but for a tenth of the largest; gradients finite."""
        x, mask = self.sequences()
        encoder = self._encoder(training=True)
        with autocast(torch.device("cpu"), "bf16"):
            trained = self._encode(encoder, x, mask)
        expect(finite(trained.states, trained.pooled), "Under autocast the result is NaN or infinite.")
        expect_finite(gradients(encoder, total(trained.states, trained.pooled)), "under autocast")
        encoder.eval()
        for steps in (STEPS, LONG):
            given = self.contents(2, steps)
            with torch.no_grad(), autocast(torch.device("cpu"), "bf16"):
                encoded = self._encode_long(encoder, given)
            before = self._encode_long(encoder, given)
            if encoded is not None and before is not None:
                _expect_same(encoded, before, f"{steps} steps ran in bfloat16", BF16_TOLERANCE)

    @law("Write (self, in_features: int, *, option: type = default): the registry reads help and recipes from it.")
    def test_options_are_explicit(self) -> None:
        """The constructor takes `in_features`, then options that are keyword-only, typed and have defaults."""
        expect_options(self.make(*self.arguments), self.positional)

    @law("Return a list of ParameterGroup: parameters of its own, each in one group, factors of at least 0.")
    def test_parameter_groups_are_its_own(self) -> None:
        """The parameter groups hold its own parameters, each once, and factors of the learning rate from 0 on."""
        encoder = self._encoder()
        if isinstance(encoder, Encoder):  # another law says so
            fault = wrong_groups(encoder, encoder.parameter_groups())
            expect(fault is None, f"It {fault}.")

    @law("Usual cause: an encoder that holds another one has no fit() of its own: self.encoder.fit(batches) in it.")
    def test_fit_reaches_an_encoder_inside(self) -> None:
        """An encoder that is an option of it sees the training fold in fit() too, all of it in each loop."""
        part = type(self.make(*self.arguments))
        try:
            options = signature_options(part, 1)
        except PluginError:
            return  # another law says so
        for name in (option.name for option in options.values() if bare(option.kind) is Encoder):
            defaults = {option.name: option.default for option in options.values()}
            inner = _Fitted(part.inner_features(*self.arguments, defaults))
            outer = part(*self.arguments, **{name: inner}).eval()
            x, mask = self.sequences()
            with torch.no_grad():
                outer.fit([(x[:2], mask[:2]), (x[2:], mask[2:])])
            expect(inner.seen == [2, 2], f"The encoder given as '{name}' sees {len(inner.seen)} of 2 batches in fit().")

    @law("Usual cause: a tensor made in forward without device=x.device, or kept without register_buffer.")
    def test_same_on_cuda(self) -> None:
        """On a GPU, where there is one, the results are those of the CPU."""
        device = cuda()
        encoder, (x, mask) = self._encoder(), self.sequences()
        before = self._encode(encoder, x, mask)
        after = self._encode(encoder.to(device), x.to(device), mask.to(device))
        _expect_same(after, before, "it ran on a GPU", CUDA_TOLERANCE)

    def once(self) -> Encoder:
        """A new encoder that has been used once in training."""
        used: Encoder = self.use(self.make(*self.arguments))
        return used

    def use(self, part: Any) -> Any:
        """The encoder, fitted, and used once in training."""
        x, mask = self.sequences()
        _fit(part, x, mask)
        part.train()(x, mask)
        return part

    def _encoder(self, training: bool = False) -> Encoder:
        return self.make(*self.arguments).train(training)

    def _comparable(self, training: bool, resized: bool = False) -> Encoder:
        """A new encoder without torch's own dropout, so that its results can be compared with each other.

        Not tried where the same seed gives others, of which another law tells; of batches of several sizes or orders
        (`resized`) also where it draws in a way of its own.
        """
        encoder = self._encoder(training)
        if training:
            switch_dropout_off(encoder)
            if not self._repeats(encoder, 2 if resized else 1):
                raise not_tried("it draws in train() in a way of its own")
        return encoder

    def _repeats(self, encoder: Encoder, seed: int = 1) -> bool:
        """Tell whether it gives the same twice, from the seed 1 and from this one."""
        first, again = (self._encode(encoder, *self.sequences(), seed=number) for number in (1, seed))
        return all(torch.equal(now, then) for now, then in zip(first, again, strict=True))

    def _encode(self, encoder: Encoder, x: Tensor, mask: Tensor, seed: int = 1) -> Encoded:
        seed_torch(seed)  # so that only the law about randomness sees any
        with buffers_kept(encoder):
            return Encoded(*encoder(x.clone(), mask.clone()))

    def _encode_long(self, encoder: Encoder, x: Tensor) -> Encoded | None:
        """Encode sequences without padding; None where they are too long for it, as another law says."""
        try:
            return self._encode(encoder, x, torch.ones(x.shape[:2], dtype=torch.bool))
        except Exception:
            return None

    def _read_steps(self) -> Tensor:
        """The steps of each of `PATTERNS` that give the pooled vector a gradient, whatever is in them: [patterns, T].

        Where none does, as in an encoder that holds a frozen one, those that change the pooled vector.
        """
        encoder, masks = self._encoder(), PATTERNS.repeat_interleave(CONTENTS, 0)
        contents = torch.randn(CONTENTS, STEPS, FEATURES, generator=torch.Generator().manual_seed(0))
        x = zero_masked(contents.repeat(len(PATTERNS), 1, 1), masks).requires_grad_()
        pooled = self._encode(encoder, x, masks).pooled
        read = (gradient_to(x, pooled) != 0).any(dim=2)
        if not bool(read.any()):
            moved = (zero_masked(torch.where(place, 1.0 - x, x), masks) for place in torch.eye(STEPS).bool()[..., None])
            changes = ((self._encode(encoder, one, masks).pooled != pooled).any(dim=1) for one in moved)
            read = torch.stack(list(changes), dim=1)
        return read.view(len(PATTERNS), CONTENTS, STEPS).any(dim=1)

    def _expect_encoded(self, encoder: Encoder) -> None:
        x, mask = self.sequences()
        result = encoder(x, mask)
        expect_type(result, Encoded)
        states, pooled, new_mask = result
        B, D = len(x), encoder.out_features
        expect(tuple(pooled.shape) == (B, D), f"The pooled vector is {list(pooled.shape)} where [B, D] is {[B, D]}.")
        expect(
            new_mask.dim() == 2 and len(new_mask) == B,
            f"The mask is {list(new_mask.shape)} where [B, T'] has B = {B}.",
        )
        expected = (*new_mask.shape, D)
        expect(
            tuple(states.shape) == expected,
            f"The states are {list(states.shape)} where [B, T', D] is {list(expected)}.",
        )
        expect(new_mask.dtype == torch.bool, f"The mask is of type {new_mask.dtype} where torch.bool is due.")
        for name, tensor in (("states", states), ("pooled", pooled)):
            expect(tensor.dtype == torch.float32, f"The type of {name} is {tensor.dtype} where torch.float32 is due.")

    def _gradients(self, encoder: Encoder, x: Tensor, mask: Tensor) -> dict[str, Tensor]:
        encoded = self._encode(encoder, x, mask)
        return gradients(encoder, total(encoded.states, encoded.pooled))

    def _expect_unread(self, where: Tensor, held_by: str, training: bool) -> None:
        encoder, (x, mask) = self._comparable(training), self.sequences()
        before = self._encode(encoder, x, mask)
        for content in self.other_contents:
            after = self._encode(encoder, torch.where(where[..., None], content, x), mask)
            _expect_same(after, before, f"{held_by} held {content}")


class _Fitted(Encoder):
    """An encoder for another one to hold, which keeps what it sees in fit()."""

    def __init__(self, in_features: int) -> None:
        super().__init__()
        self.linear = nn.Linear(in_features, in_features)
        self.out_features = in_features
        self.seen: list[int] = []  # samples of each batch

    def fit(self, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
        self.seen = [len(x) for x, _ in batches]

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        states = zero_masked(self.linear(zero_masked(x, mask)), mask)
        return Encoded(states, states.sum(dim=1), mask)


def _first_steps(encoded: Encoded, steps: int) -> Encoded:
    return Encoded(encoded.states[:, :steps], encoded.pooled, encoded.mask[:, :steps])


def _ends(encoded: Encoded) -> Tensors:
    """The pooled vector, the first state and the last, of sequences without padding: {name: [B, D]}."""
    states, pooled, _ = encoded
    return {"pooled vector": pooled, "first state": states[:, 0], "last state": states[:, -1]}


def _in_tens(strength: Tensor) -> Tensor:
    """Tell for each ten steps in a row whether one has a gradient: [T] -> [T / 10] bool."""
    return (strength > 0).view(-1, 10).any(dim=1)


def _fit(encoder: Any, x: Tensor, mask: Tensor) -> None:
    """Let an encoder see a training fold of one batch, as a training does before its first step."""
    if isinstance(encoder, Encoder):  # else another law says so
        with torch.no_grad():
            encoder.fit([(x, mask)])


def _expect_same(now: Encoded, before: Encoded, when: str, tolerance: float = TOLERANCE) -> None:
    real_steps = before.mask[..., None]
    expect_same("The returned mask", now.mask, before.mask, when)
    expect_same("The pooled vector of a sample", now.pooled, before.pooled, when, tolerance)
    expected = torch.where(real_steps, before.states, 0.0)
    expect_same("A state of a sample", torch.where(real_steps, now.states.cpu(), 0.0), expected, when, tolerance)
