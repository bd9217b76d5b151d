"""The laws of an augmentation."""

import torch

from emotiwave_core.interfaces import Augmentation, Augmented, Tensors
from emotiwave_core.testing.batches import SAMPLES, masks_of_samples
from emotiwave_core.testing.laws import DRAW_BY_TORCH, cuda, expect, expect_same, expect_type, finite, law, seed_torch
from emotiwave_core.testing.shared import PluginContract, expect_options

WIDTH = 6
NAN = float("nan")


class AugmentationContract(PluginContract):
    """The laws that every augmentation keeps. A subclass makes the augmentation that is checked."""

    granted = ("is_an_augmentation", "returns_shapes_and_types")

    def make(self) -> Augmentation:
        """A new augmentation, in the way it is used in training."""
        raise NotImplementedError("The contract needs the method make(self) -> Augmentation.")

    @law("Derive from emotiwave_core.Augmentation.")
    def test_is_an_augmentation(self) -> None:
        """An augmentation derives from Augmentation."""
        part = self.make()
        expect(isinstance(part, Augmentation), f"{type(part).__name__} is not an Augmentation.")

    @law("Return Augmented(inputs, masks) with the names, shapes and types of what was given.")
    def test_returns_shapes_and_types(self) -> None:
        """An Augmented comes back, with the names, shapes and types that were given."""
        inputs, masks = features_of_samples()
        came = self._augment(self.make(), inputs, masks)
        for what, given, tensors in (("features", inputs, came.inputs), ("mask", masks, came.masks)):
            expect(list(tensors) == list(given), f"The streams {list(given)} came back as {list(tensors)}.")
            for name, tensor in given.items():
                now, shape = tensors[name], list(tensor.shape)
                expect(list(now.shape) == shape, f"The {what} of {name} came back as {list(now.shape)}, not {shape}.")
                expect(now.dtype == tensor.dtype, f"The {what} of {name} came back as {now.dtype}, not {tensor.dtype}.")

    @law("Combine what is drawn with the mask that was given: mask & kept.")
    def test_only_clears(self) -> None:
        """No step is set that was not set before."""
        inputs, masks = features_of_samples()
        for name, mask in self._augment(self.make(), inputs, masks).masks.items():
            more = int((mask & ~masks[name]).sum())
            expect(more == 0, f"{more} steps of {name} were set that were not set before.")

    @law("Keep the old mask where the new one has no step: to take whole modalities is a dropout policy's.")
    def test_leaves_every_stream_a_step(self) -> None:
        """A sample that has a step of a stream keeps one."""
        inputs, masks = features_of_samples()
        part = self.make()
        for seed in range(20):
            for name, mask in self._augment(part, inputs, masks, seed).masks.items():
                emptied = int((masks[name].any(1) & ~mask.any(1)).sum())
                expect(emptied == 0, f"{emptied} of {SAMPLES} samples lost their last step of {name}.")

    @law("Return Augmented(inputs, masks) as they are if not self.training.")
    def test_identity_in_eval(self) -> None:
        """In eval() all comes back as it was, without a mixture."""
        inputs, masks = features_of_samples()
        came = self._augment(self.make().eval(), inputs, masks)
        expect(came.mixture is None, "A mixture came back in eval().")
        for name in masks:
            expect(torch.equal(came.masks[name], masks[name]), f"The mask of {name} changed in eval().")
            expect_same(f"The features of {name}", came.inputs[name], inputs[name], "in eval()", tolerance=0.0)

    @law("If it does nothing with these options, give make() others.")
    def test_changes_something(self) -> None:
        """In training, some features, or steps, of some samples change."""
        inputs, masks = features_of_samples()
        part = self.make()
        came = [self._augment(part, inputs, masks, seed) for seed in range(4)]
        changed = sum(_differences(inputs, masks, one) for one in came)
        expect(changed > 0, f"Nothing of {4 * SAMPLES} samples changed in training.")

    @law(DRAW_BY_TORCH)
    def test_seed_repeats_it(self) -> None:
        """The same torch.manual_seed gives the same batch."""
        inputs, masks = features_of_samples()
        first, second = self._augment(self.make(), inputs, masks), self._augment(self.make(), inputs, masks)
        differ = _differences(first.inputs, first.masks, second)
        expect(differ == 0, f"{differ} numbers differ between two batches from the same seed.")

    @law("Keep nothing from one batch to the next, no generator either: a run that resumes begins with new ones.")
    def test_keeps_no_state(self) -> None:
        """A batch is augmented alike by a new one and by one that has seen others; it has no parameters."""
        inputs, masks = features_of_samples()
        old, new = self.make(), self.make()
        for seed in (3, 4):
            self._augment(old, {name: 2.0 * x for name, x in inputs.items()}, masks, seed)
        expected, came = self._augment(new, inputs, masks), self._augment(old, inputs, masks)
        differ = _differences(expected.inputs, expected.masks, came)
        expect(differ == 0, f"{differ} numbers differ between a new one and one that has seen two batches.")
        names = [name for name, _ in old.named_parameters()]
        expect(not names, f"It has the parameters {', '.join(names)}, which nothing trains.")

    @law("Work out of place: x + noise, not x += noise.")
    def test_does_not_change_its_input(self) -> None:
        """The tensors that were given, and their dicts, stay as they were."""
        inputs, masks = features_of_samples()
        given, of = dict(inputs), dict(masks)
        seed_torch(1)
        self.make().train()(given, of)
        before, before_masks = features_of_samples()
        expect(list(given) == list(before) and list(of) == list(before_masks), "The dicts that were given changed.")
        for name in before:
            expect(torch.equal(given[name], before[name]), f"The features of {name} that were given have changed.")
            expect(torch.equal(of[name], before_masks[name]), f"The mask of {name} that was given has changed.")

    @law("Read masked steps by torch.where alone: NaN * 0 is NaN.")
    def test_never_reads_masked_steps(self) -> None:
        """The steps that are left are the same whatever stands where the mask is not set."""
        inputs, masks = features_of_samples()
        filled = {name: torch.where(masks[name].unsqueeze(-1), x, NAN) for name, x in inputs.items()}
        expected, came = self._augment(self.make(), inputs, masks), self._augment(self.make(), filled, masks)
        for name, left in expected.masks.items():
            expect(torch.equal(left, came.masks[name]), f"The mask of {name} depends on masked steps.")
            mask = left & masks[name]
            expect_same(
                f"What is left of {name}",
                came.inputs[name][mask],
                expected.inputs[name][mask],
                "NaN stood in masked steps",
            )
            expect(finite(expected.inputs[name][mask]), f"What is left of {name} is NaN or infinite.")

    @law("Give mixtures only with `mixes = True`; partner is an index into the batch [B], share lies in 0 to 1.")
    def test_mixture_is_of_the_batch(self) -> None:
        """A mixture names a partner in the batch and a share from 0 to 1 for every sample."""
        inputs, masks = features_of_samples()
        part = self.make()
        mixture = self._augment(part, inputs, masks).mixture
        expect((mixture is not None) == part.mixes, f"`mixes` is {part.mixes}, and a mixture came: {not part.mixes}.")
        if mixture is None:
            return
        partner, share = mixture
        expect(partner.dtype == torch.int64, f"The partners are {partner.dtype}, not torch.int64.")
        for what, each, top in (("partner", partner, SAMPLES - 1), ("share", share, 1)):
            expect(list(each.shape) == [SAMPLES], f"The {what}s have the shape {list(each.shape)}, not [{SAMPLES}].")
            outside = int(((each < 0) | (each > top) | each.isnan()).sum())
            expect(outside == 0, f"{outside} of {SAMPLES} {what}s are not from 0 to {top}.")

    @law("Usual cause: a draw among no steps, or a division by their number.")
    def test_survives_empty_samples(self) -> None:
        """Samples without any step come back without one, alone or among others, and nothing is NaN."""
        inputs, masks = features_of_samples()
        half = {name: mask & (torch.arange(SAMPLES) % 2 == 0)[:, None] for name, mask in masks.items()}
        for batch in (half, {name: torch.zeros_like(mask) for name, mask in masks.items()}):
            blank = {name: torch.where(batch[name].unsqueeze(-1), x, 0.0) for name, x in inputs.items()}
            came = self._augment(self.make(), blank, batch)
            for name, mask in came.masks.items():
                expect(not bool((mask & ~batch[name]).any()), f"Samples without {name} came back with a step of it.")
                expect(finite(came.inputs[name][mask]), f"What is left of {name} is NaN or infinite.")

    @law("Take the streams from the dict that is given, never by name or number.")
    def test_any_number_of_streams(self) -> None:
        """One, two, three and four streams work."""
        for number in (1, 2, 3, 4):
            came = self._augment(self.make(), *features_of_samples(number))
            expect(len(came.inputs) == number, f"{number} streams came back as {len(came.inputs)}.")

    @law("Usual cause: squeeze() without a dimension, or a partner that a lone sample does not have.")
    def test_batch_of_one(self) -> None:
        """A batch of one sample, of one step, comes back with its shapes."""
        inputs, masks = features_of_samples()
        for steps in (None, 1):
            alone = {name: x[:1, :steps] for name, x in inputs.items()}
            of_one = {name: torch.ones_like(mask[:1, :steps]) for name, mask in masks.items()}
            came = self._augment(self.make(), alone, of_one)
            for name, x in alone.items():
                shape = list(came.inputs[name].shape)
                expect(shape == list(x.shape), f"A batch of one gives {shape} for {name}, not {list(x.shape)}.")

    @law("Write (self, *, option: type = default): the registry reads help and recipes from it.")
    def test_options_are_explicit(self) -> None:
        """The constructor takes options only, and they are keyword-only, typed and have defaults."""
        expect_options(self.make(), self.positional)

    @law("Draw on the device of the inputs: torch.rand(…, device=x.device).")
    def test_works_on_cuda(self) -> None:
        """A batch on a GPU, where there is one, comes back on that GPU."""
        device = cuda()
        inputs, masks = ({name: x.to(device) for name, x in each.items()} for each in features_of_samples())
        came = self.make().to(device).train()(inputs, masks)
        for name, x in inputs.items():
            expect(came.inputs[name].device == x.device, f"The features of {name} came back on another device.")
            expect(came.masks[name].device == x.device, f"The mask of {name} came back on another device.")

    def once(self) -> Augmentation:
        """A new augmentation that has been used once."""
        part = self.make().train()
        part(*features_of_samples())
        return part

    def _augment(self, part: Augmentation, inputs: Tensors, masks: Tensors, seed: int = 1) -> Augmented:
        seed_torch(seed)
        given = {name: x.clone() for name, x in inputs.items()}, {name: mask.clone() for name, mask in masks.items()}
        came = part(*given)
        expect_type(came, Augmented)
        assert isinstance(came, Augmented)
        return came


def features_of_samples(streams: int = 3) -> tuple[Tensors, Tensors]:
    """Standardised features {stream: [64, T, 6]}, zero where masked, and masks: some samples lack streams, none all."""
    masks = masks_of_samples(streams)
    generator = torch.Generator().manual_seed(2)
    drawn = {name: torch.randn(*mask.shape, WIDTH, generator=generator) for name, mask in masks.items()}
    return {name: torch.where(masks[name].unsqueeze(-1), x, 0.0) for name, x in drawn.items()}, masks


def _differences(inputs: Tensors, masks: Tensors, came: Augmented) -> int:
    """The number of features, of the steps that both have, and of steps that are not the same."""
    count = 0
    for name, mask in masks.items():
        both = (mask & came.masks[name]).unsqueeze(-1)
        count += int(((inputs[name] != came.inputs[name]) & both).sum()) + int((mask != came.masks[name]).sum())
    return count
