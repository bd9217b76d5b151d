"""The laws of an encoder."""

import torch
from torch import Tensor

from emotiwave_core.interfaces import Encoded, Encoder
from emotiwave_core.layers.parameters import wrong_groups
from emotiwave_core.testing.batches import FEATURES, HOLES, PADDING, append_steps, sequences, sequences_and_empty
from emotiwave_core.testing.laws import (
    CUDA_TOLERANCE,
    OTHER_CONTENTS,
    TOLERANCE,
    cuda,
    expect,
    expect_finite,
    expect_same,
    expect_type,
    finite,
    gradients,
    law,
    seed_torch,
    total,
    trainable,
)
from emotiwave_core.testing.shared import PluginContract, expect_options


class EncoderContract(PluginContract):
    """The laws that every encoder keeps. A subclass makes the encoder that is checked."""

    positional = ("in_features",)
    arguments = (FEATURES,)
    granted = ("is_an_encoder", "returns_shapes_and_types")

    def make(self, in_features: int) -> Encoder:
        """A new encoder for sequences of this many features, small enough to be quick."""
        raise NotImplementedError("The contract needs the method make(self, in_features: int) -> Encoder.")

    @law("Derive from emotiwave_core.Encoder and set self.out_features in the constructor.")
    def test_is_an_encoder(self) -> None:
        """An encoder derives from Encoder and says how wide its output is in `out_features`."""
        encoder = self.make(FEATURES)
        expect(isinstance(encoder, Encoder), f"{type(encoder).__name__} is not an Encoder.")
        expect(
            isinstance(encoder.out_features, int),
            f"The attribute out_features is {encoder.out_features!r} and not a whole number.",
        )

    @law("Return Encoded(states [B, T', D], pooled [B, D], mask [B, T'] bool) with D = out_features.")
    def test_returns_shapes_and_types(self) -> None:
        """The states, the pooled vector and the mask have the shapes and types of Encoded."""
        encoder, (x, mask) = self._encoder(), sequences()
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
            expect(tensor.dtype == x.dtype, f"The type of {name} is {tensor.dtype} where that of x, {x.dtype}, is due.")

    @law("Pass the states through emotiwave_core.layers.sequence.zero_masked as the last thing.")
    def test_masked_states_are_zero(self) -> None:
        """States are exactly zero where the returned mask is not set."""
        states, _, new_mask = self._encode(self._encoder(), *sequences())
        largest = float(states.detach()[~new_mask].abs().max()) if (~new_mask).any() else 0.0
        expect(largest == 0.0, f"A state is {largest:.3g} where the mask is not set.")

    @law("A row without a step comes back without one, a row with a step keeps at least one.")
    def test_mask_tells_empty_rows(self) -> None:
        """The returned mask has no step set in a row if, and only if, the mask given had none."""
        x, mask = sequences_and_empty()
        encoder, steps = self._encoder(), x.shape[1]
        single = torch.eye(steps, dtype=torch.bool)  # one step, at every place
        for given, masks in ((x, mask), (x[:1].expand(steps, -1, -1), single)):
            new_mask = self._encode(encoder, given, masks).mask
            expect(
                torch.equal(new_mask.any(1), masks.any(1)),
                f"Rows with a step: {new_mask.any(1).tolist()} came of {masks.any(1).tolist()}.",
            )

    @law("The encoder counts or reads padding: use the mask, and not the number of steps T.")
    def test_padding_length_does_not_matter(self) -> None:
        """Masked steps appended to all sequences change nothing."""
        encoder, (x, mask) = self._encoder(), sequences()
        before = self._encode(encoder, x, mask)
        after = self._encode(encoder, append_steps(x, 3), append_steps(mask, 3))
        steps = before.mask.shape[1]
        longer = after.mask[:, steps:].any()
        expect(not bool(longer), "The returned mask has steps set where masked steps were appended.")
        shorter = Encoded(after.states[:, :steps], after.pooled, after.mask[:, :steps])
        _expect_same(shorter, before, "3 masked steps were appended")

    @law("The encoder reads padding: apply zero_masked(x, mask) first (multiplication is no mask, NaN * 0 is NaN).")
    def test_padding_content_does_not_matter(self) -> None:
        """The content after the last step of a sequence changes nothing, NaN and infinity included."""
        self._expect_unread(PADDING, "the padding")

    @law("The encoder reads lost steps inside a sequence: use the whole mask, and not only a length made of it.")
    def test_hole_content_does_not_matter(self) -> None:
        """The content of masked steps before and between others changes nothing, NaN and infinity included."""
        self._expect_unread(HOLES, "the masked steps inside the sequence")

    @law("Apply zero_masked(x, mask) before any parameter: hiding a result keeps NaN * 0 = NaN in the gradient.")
    def test_masked_content_does_not_reach_gradients(self) -> None:
        """The gradients of the parameters do not depend on what stands in masked steps."""
        encoder, (x, mask) = self._encoder().train(), sequences()
        before = self._gradients(encoder, x, mask)
        for content in OTHER_CONTENTS:
            after = self._gradients(encoder, torch.where(mask[..., None], x, content), mask)
            for name, gradient in after.items():
                expect_same(f"The gradient of {name}", gradient, before[name], f"masked steps held {content}")

    @law("Usual causes: a mean over no step, a softmax over nothing, pack_padded_sequence (refuses length 0).")
    def test_empty_sequence_is_finite(self) -> None:
        """A row without a step gives finite numbers, forward and backward, alone or among others."""
        encoder = self._encoder()
        x, mask = sequences_and_empty()
        odd_x = torch.where(mask.any(dim=1)[:, None, None], x, torch.nan)
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
        x, mask = sequences_and_empty()
        for content in (0.0, *OTHER_CONTENTS):
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

    @law("Usual causes: a convolution without padding, a table of positions that ends, BatchNorm (use LayerNorm).")
    def test_any_number_of_steps(self) -> None:
        """Sequences of one step, and of a thousand, give finite numbers; one step of one sample too, in train()."""
        encoder = self._encoder()
        for steps in (1, 1000):
            x = torch.randn(2, steps, FEATURES, generator=torch.Generator().manual_seed(0))
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
        shortest = self._encode(encoder.train(), x[:1, :1], torch.ones(1, 1, dtype=torch.bool))  # the end of an epoch
        expect(finite(shortest.states, shortest.pooled), "In train() one sample of one step gives NaN or infinity.")

    @law("Usual cause: squeeze() without a dimension.")
    def test_batch_of_one(self) -> None:
        """A batch of one sample has the shapes of any other, and finite numbers."""
        encoder, (x, mask) = self._encoder(), sequences()
        alone, many = self._encode(encoder, x[:1], mask[:1]), self._encode(encoder, x, mask)
        shapes, expected = [list(tensor.shape) for tensor in alone], [[1, *tensor.shape[1:]] for tensor in many]
        expect(shapes == expected, f"A batch of one sample gives the shapes {shapes}, not {expected}.")
        expect(finite(alone.states, alone.pooled), "A batch of one sample gives NaN or infinity.")

    @law("Usual causes: an LSTM without batch_first=True, a mean or a softmax over dimension 0.")
    def test_samples_do_not_mix(self) -> None:
        """The result of a sample does not depend on the others in its batch."""
        encoder, (x, mask) = self._encoder(), sequences()
        before = self._encode(encoder, x, mask)
        first = Encoded(*(tensor[:2] for tensor in before))
        _expect_same(self._encode(encoder, x[:2], mask[:2]), first, "the samples after it were taken out of the batch")
        others = self._encode(encoder, torch.cat([1.0 - 3.0 * x[:2], x[2:]]), mask)
        last, expected = (Encoded(*(tensor[2:] for tensor in result)) for result in (others, before))
        _expect_same(last, expected, "the samples before it were changed")

    @law("Something depends on a sample's place in the batch.")
    def test_batch_order_does_not_matter(self) -> None:
        """Samples in another order give the same results in that order."""
        encoder, (x, mask) = self._encoder(), sequences()
        order = torch.tensor([2, 0, 3, 1])
        before = Encoded(*(tensor[order] for tensor in self._encode(encoder, x, mask)))
        _expect_same(self._encode(encoder, x[order], mask[order]), before, "the batch was put in another order")

    @law("Something random runs in eval(): give F.dropout training=self.training, or use nn.Dropout.")
    def test_deterministic_in_eval(self) -> None:
        """In eval() the result does not depend on the random seed."""
        encoder, (x, mask) = self._encoder(), sequences()
        before = self._encode(encoder, x, mask)
        _expect_same(self._encode(encoder, x, mask, seed=2), before, "only the random seed was another")

    @law("Draw with torch from its global generator (nn.Dropout does), not with random, numpy or one of your own.")
    def test_seed_repeats_it(self) -> None:
        """In training, the same torch.manual_seed gives the same results."""
        encoder, (x, mask) = self._encoder().train(), sequences()
        before = self._encode(encoder, x, mask)
        _expect_same(self._encode(encoder, x, mask), before, "it ran twice from the same seed")

    @law("Work out of place: x + 1 or torch.where, not x += 1, x[~mask] = 0 or masked_fill_.")
    def test_does_not_change_its_input(self) -> None:
        """The sequences and the mask that were given stay as they were."""
        x, mask = sequences()
        x = torch.where(mask[..., None], x, 1.0)
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
        for x, mask in (sequences(), sequences_and_empty()):  # the second for what is learned for empty sequences
            if silent:
                reached = self._gradients(encoder, x, mask)
                silent = [name for name in silent if not bool((reached[name] != 0).any())]
        expect(not silent, f"No gradient reaches {', '.join(silent)}.")

    @law("Keep what makes up the result in parameters, buffers (register_buffer) and modules (ModuleList, not list).")
    def test_state_dict_round_trip(self) -> None:
        """A new encoder that loads the state_dict of another gives the same results."""
        (x, mask), old = sequences(), self._encoder()
        seed_torch(7)
        new = self.make(FEATURES).eval()
        new.load_state_dict(old.state_dict())
        _expect_same(
            self._encode(new, x, mask), self._encode(old, x, mask), "the state_dict was loaded by a new encoder"
        )

    @law("Usual causes: float32 results written into a tensor made like x, or a constant too large for the type.")
    def test_runs_in_bfloat16_autocast(self) -> None:
        """Under bfloat16 autocast, forward and backward give finite numbers."""
        encoder, (x, mask) = self._encoder().train(), sequences()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            encoded = self._encode(encoder, x, mask)
        expect(finite(encoded.states, encoded.pooled), "Under autocast the result is NaN or infinite.")
        expect_finite(gradients(encoder, total(encoded.states, encoded.pooled)), "under autocast")

    @law("Write (self, in_features: int, *, option: type = default): the registry reads help and recipes from it.")
    def test_options_are_explicit(self) -> None:
        """The constructor takes `in_features`, then options that are keyword-only, typed and have defaults."""
        expect_options(self.make(FEATURES), self.positional)

    @law("Return a list of ParameterGroup: parameters of its own, each in one group, factors of at least 0.")
    def test_parameter_groups_are_its_own(self) -> None:
        """The parameter groups hold its own parameters, each once, and factors of the learning rate from 0 on."""
        encoder = self._encoder()
        if isinstance(encoder, Encoder):  # another law says so
            fault = wrong_groups(encoder, encoder.parameter_groups())
            expect(fault is None, f"It {fault}.")

    @law("Usual cause: a tensor made in forward without device=x.device, or kept without register_buffer.")
    def test_same_on_cuda(self) -> None:
        """On a GPU, where there is one, the results are those of the CPU."""
        device = cuda()
        encoder, (x, mask) = self._encoder(), sequences()
        before = self._encode(encoder, x, mask)
        after = self._encode(encoder.to(device), x.to(device), mask.to(device))
        _expect_same(after, before, "it ran on a GPU", CUDA_TOLERANCE)

    def once(self) -> Encoder:
        """A new encoder that has been used once in training."""
        encoder = self.make(FEATURES).train()
        encoder(*sequences())
        return encoder

    def _encoder(self) -> Encoder:
        return self.make(FEATURES).eval()

    def _encode(self, encoder: Encoder, x: Tensor, mask: Tensor, seed: int = 1) -> Encoded:
        seed_torch(seed)  # so that only the law about randomness sees any
        return Encoded(*encoder(x.clone(), mask.clone()))

    def _gradients(self, encoder: Encoder, x: Tensor, mask: Tensor) -> dict[str, Tensor]:
        encoded = self._encode(encoder, x, mask)
        return gradients(encoder, total(encoded.states, encoded.pooled))

    def _expect_unread(self, where: Tensor, held_by: str) -> None:
        encoder, (x, mask) = self._encoder(), sequences()
        before = self._encode(encoder, x, mask)
        for content in OTHER_CONTENTS:
            after = self._encode(encoder, torch.where(where[..., None], content, x), mask)
            _expect_same(after, before, f"{held_by} held {content}")


def _expect_same(now: Encoded, before: Encoded, when: str, tolerance: float = TOLERANCE) -> None:
    real_steps = before.mask[..., None]
    expect_same("The returned mask", now.mask, before.mask, when)
    expect_same("The pooled vector of a sample", now.pooled, before.pooled, when, tolerance)
    expected = torch.where(real_steps, before.states, 0.0)
    expect_same("A state of a sample", torch.where(real_steps, now.states.cpu(), 0.0), expected, when, tolerance)
