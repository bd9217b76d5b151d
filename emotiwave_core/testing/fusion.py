"""The laws of a fusion."""

import torch
from torch import Tensor

from emotiwave_core.errors import SettingsError
from emotiwave_core.interfaces import AnsweringFusion, Encoded, Fused, Fusion, ObjectiveKind, OutputSpace
from emotiwave_core.layers.parameters import wrong_groups
from emotiwave_core.testing.batches import (
    PRESENT,
    WIDTHS,
    FusionBatch,
    append_steps,
    encoded_batch,
    encoded_batch_and_empty,
    encoded_of_length,
    fill_absent,
    fill_padding,
    take,
    take_fused,
)
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

THREE = {name: WIDTHS[name] for name in ("text", "audio", "visual")}
CLASSES = 4  # that a fusion is told to answer, where it answers itself
KINDS: tuple[ObjectiveKind, ...] = ("single", "multi", "regression")
PRIOR = torch.tensor([0.4, 0.3, 0.2, 0.1]).log()


class FusionContract(PluginContract):
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
        """The loss, if any, is a finite number in training and in eval()."""
        fusion = self._fusion()
        for training in (False, True):
            loss = self._fuse(fusion.train(training), encoded_batch()).loss
            expect(finite(loss), f"The loss is {loss} in {'train()' if training else 'eval()'}.")

    @law("Choose with torch.where(present, …): multiplication by 0 does not hide NaN.")
    def test_absent_content_does_not_matter(self) -> None:
        """The content of the states and the pooled vector of an absent modality changes nothing, NaN included."""
        fusion, batch = self._fusion(), encoded_batch()
        before = self._fuse(fusion, batch)
        for content in OTHER_CONTENTS:
            after = self._fuse(fusion, fill_absent(batch, content))
            _expect_same(after, before, f"absent modalities held {content}")

    @law("Pass the states through zero_masked(states, mask) first, and mask every softmax over steps.")
    def test_padding_content_does_not_matter(self) -> None:
        """The content of masked steps of a present modality changes nothing, NaN and infinity included."""
        fusion, batch = self._fusion(), encoded_batch()
        before = self._fuse(fusion, batch)
        for content in OTHER_CONTENTS:
            after = self._fuse(fusion, fill_padding(batch, content))
            _expect_same(after, before, f"masked steps held {content}")

    @law("The fusion counts or reads padding: use the masks, and not the number of steps T'.")
    def test_padding_length_does_not_matter(self) -> None:
        """Masked steps appended to the states change nothing."""
        fusion, (encoded, present) = self._fusion(), encoded_batch()
        before = self._fuse(fusion, (encoded, present))
        longer = {
            name: Encoded(append_steps(part.states, steps), part.pooled, append_steps(part.mask, steps))
            for steps, (name, part) in enumerate(encoded.items(), start=2)
        }
        _expect_same(self._fuse(fusion, (longer, present)), before, "masked steps were appended")

    @law("Choose with torch.where before a norm, root or division too: hiding its result keeps NaN in the gradient.")
    def test_absent_content_does_not_reach_gradients(self) -> None:
        """An absent modality gets no gradient, and what stands in it reaches the gradient of nothing else."""
        fusion, batch = self._fusion().train(), encoded_batch()
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
        """Sequences of one state, and of a thousand, give finite numbers in the shapes of any other."""
        fusion = self._fusion()
        for steps in (1, 1000):
            fused, expected = self._fuse(fusion, encoded_of_length(steps)), [2, fusion.out_features]
            expect(
                list(fused.vector.shape) == expected, f"{steps} states give {list(fused.vector.shape)}, not {expected}."
            )
            expect(finite(*fused), f"{steps} states give NaN or infinity.")

    @law("Usual cause: squeeze() without a dimension.")
    def test_batch_of_one(self) -> None:
        """A batch of one sample has the shapes of any other, and finite numbers."""
        fusion = self._fusion()
        fused, many = self._fuse(fusion, take(encoded_batch(), slice(0, 1))), self._fuse(fusion, encoded_batch())
        shape, expected = list(fused.vector.shape), [1, *many.vector.shape[1:]]
        expect(shape == expected, f"A batch of one sample gives a vector of the shape {shape}, not {expected}.")
        expect(finite(*fused), "A batch of one sample gives NaN or infinity.")

    @law("Usual causes: a mean or a softmax over dimension 0, attention without batch_first=True.")
    def test_samples_do_not_mix(self) -> None:
        """The vector and weights of a sample do not depend on the others in its batch."""
        fusion, batch = self._fusion(), encoded_batch()
        before = self._fuse(fusion, batch)
        first, last = slice(0, 2), slice(4, 7)
        alone = self._fuse(fusion, take(batch, first))._replace(loss=None)
        _expect_same(alone, take_fused(before, first), "the samples after it were taken out of the batch")
        others = self._fuse(fusion, take(batch, torch.tensor([1, 0, 3, 2, 4, 5, 6])))
        _expect_same(take_fused(others, last), take_fused(before, last), "the samples before it were changed")

    @law("Something depends on a sample's place in the batch.")
    def test_batch_order_does_not_matter(self) -> None:
        """Samples in another order give the same vectors and weights in that order."""
        fusion, batch = self._fusion(), encoded_batch()
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

    @law("Draw with torch from its global generator (nn.Dropout does), not with random, numpy or one of your own.")
    def test_seed_repeats_it(self) -> None:
        """In training, the same torch.manual_seed gives the same results."""
        fusion, batch = self._fusion().train(), encoded_batch()
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
        for batch in (
            encoded_batch(),
            encoded_batch_and_empty(),
        ):  # the second for what is learned for samples without any modality
            if silent:
                reached = self._gradients(fusion, batch)
                silent = [name for name in silent if not bool((reached[name] != 0).any())]
        expect(not silent, f"No gradient reaches {', '.join(silent)}.")

    @law("Keep what makes up the result in parameters, buffers (register_buffer) and modules (ModuleList, not list).")
    def test_state_dict_round_trip(self) -> None:
        """A new fusion that loads the state_dict of another gives the same results."""
        batch, old = encoded_batch(), self._fusion()
        seed_torch(7)
        new = self.ready(THREE).eval()
        new.load_state_dict(old.state_dict())
        _expect_same(self._fuse(new, batch), self._fuse(old, batch), "the state_dict was loaded by a new fusion")

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

    @law("Usual causes: results of two types in one tensor, or a constant too large for the type.")
    def test_runs_in_bfloat16_autocast(self) -> None:
        """Under bfloat16 autocast, forward and backward give finite numbers."""
        fusion, batch = self._fusion().train(), encoded_batch()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            fused = self._fuse(fusion, batch)
        expect(finite(fused.vector, fused.weights, fused.logits), "Under autocast the result is NaN or infinite.")
        expect_finite(gradients(fusion, total(*fused)), "under autocast")

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

    def once(self) -> Fusion:
        """A new fusion that has been used once in training."""
        fusion = self.ready(THREE).train()
        fusion(*encoded_batch())
        return fusion

    def ready(self, in_features: dict[str, int], kind: ObjectiveKind = "single") -> Fusion:
        """A new fusion; one that answers itself has been told what to. SettingsError where it refuses."""
        fusion = self.make(dict(in_features))
        if isinstance(fusion, AnsweringFusion):
            fusion.answer(OutputSpace(kind, CLASSES))
        return fusion

    def _fusion(self) -> Fusion:
        return self.ready(THREE).eval()

    def _fuse(self, fusion: Fusion, batch: FusionBatch, seed: int = 1) -> Fused:
        seed_torch(seed)  # so that only the law about randomness sees any
        return Fused(*fusion(dict(batch[0]), batch[1].clone()))

    def _gradients(self, fusion: Fusion, batch: FusionBatch) -> dict[str, Tensor]:
        """Of the parameters, and of the states and the pooled vector of each modality."""
        leaves = {
            name: Encoded(part.states.clone().requires_grad_(), part.pooled.clone().requires_grad_(), part.mask)
            for name, part in batch[0].items()
        }
        by_name = gradients(fusion, total(*self._fuse(fusion, (leaves, batch[1]))))
        for name, part in leaves.items():
            for which, leaf in (("states", part.states), ("pooled", part.pooled)):
                by_name[f"{name}.{which}"] = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
        return by_name


def _expect_same(now: Fused, before: Fused, when: str, tolerance: float = TOLERANCE) -> None:
    for name, after, expected in zip(Fused._fields, now, before, strict=True):
        expect_same(f"The {name}", after, expected, when, tolerance)
