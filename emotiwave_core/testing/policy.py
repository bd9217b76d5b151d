"""The laws of a dropout policy."""

import torch

from emotiwave_core.interfaces import DropoutPolicy, Tensors
from emotiwave_core.masking import present_in
from emotiwave_core.testing.batches import SAMPLES, masks_of_samples
from emotiwave_core.testing.laws import Contract, cuda, expect, expect_options, law

MIDDLE = 0.5  # of training


class DropoutPolicyContract(Contract):
    """The laws that every dropout policy keeps. A subclass makes the policy that is checked."""

    drops = True  # a policy that never drops anything says False

    def make(self) -> DropoutPolicy:
        """A new policy, in the way it is used in training."""
        raise NotImplementedError("The contract needs the method make(self) -> DropoutPolicy.")

    @law("Derive from emotiwave_core.DropoutPolicy.")
    def test_is_a_dropout_policy(self) -> None:
        """A dropout policy derives from DropoutPolicy."""
        policy = self.make()
        expect(isinstance(policy, DropoutPolicy), f"{type(policy).__name__} is not a DropoutPolicy.")

    @law("Return a dict with the names of the one given, in the same order, each mask [B, T] bool.")
    def test_returns_shapes_and_types(self) -> None:
        """The masks come back under the same names, in the same order, with the same shapes and of type bool."""
        masks = masks_of_samples()
        after = self._drop(self.make(), masks)
        expect(list(after) == list(masks), f"The modalities {list(masks)} came back as {list(after)}.")
        for name, mask in masks.items():
            shape, due = list(after[name].shape), list(mask.shape)
            expect(shape == due, f"The mask of {name} came back with the shape {shape}, not {due}.")
            expect(after[name].dtype == torch.bool, f"The mask of {name} came back as {after[name].dtype}, not bool.")

    @law("Combine what is drawn with the mask that was given: mask & kept.")
    def test_only_clears(self) -> None:
        """No step is set that was not set before."""
        masks = masks_of_samples()
        for name, mask in self._drop(self.make(), masks).items():
            more = int((mask.bool() & ~masks[name]).sum())
            expect(more == 0, f"{more} steps of {name} were set that were not set before.")

    @law("Draw among the present modalities of each sample (emotiwave_core.masking.draw_nonempty does it exactly).")
    def test_never_empties_a_sample(self) -> None:
        """A sample that has a step keeps a step."""
        policy, masks = self.make(), masks_of_samples()
        emptied = sum(int((~present_in(self._drop(policy, masks, seed)).any(1)).sum()) for seed in range(20))
        expect(emptied == 0, f"{emptied} of {20 * SAMPLES} samples lost their last step.")

    @law("Return the masks as they are if not self.training.")
    def test_identity_in_eval(self) -> None:
        """In eval() the masks come back as they were."""
        masks = masks_of_samples()
        for name, mask in self._drop(self.make().eval(), masks).items():
            cleared = int((mask != masks[name]).sum())
            expect(cleared == 0, f"{cleared} steps of {name} changed in eval().")

    @law("Draw with torch from its global generator, not with random, numpy or a generator of your own.")
    def test_seed_repeats_it(self) -> None:
        """The same torch.manual_seed gives the same masks."""
        masks = masks_of_samples()
        first, second = self._drop(self.make(), masks), self._drop(self.make(), masks)
        differ = sum(int((first[name] != second[name]).sum()) for name in masks)
        expect(differ == 0, f"{differ} steps differ between two runs from the same seed.")

    @law("Work out of place: mask & kept, not mask &= kept or mask[rows] = False.")
    def test_does_not_change_its_input(self) -> None:
        """The masks that were given, and their dict, stay as they were."""
        masks = masks_of_samples()
        given = dict(masks)
        torch.manual_seed(1)
        self.make().train()(given, torch.tensor(MIDDLE))
        expect(list(given) == list(masks), f"The dict that was given holds {list(given)} now.")
        for name, mask in masks_of_samples().items():
            changed = int((given[name] != mask).sum())
            expect(changed == 0, f"{changed} steps of {name} changed in the mask that was given.")

    @law("Usual cause: a draw among no modalities, such as torch.multinomial of zeros.")
    def test_survives_empty_samples(self) -> None:
        """Samples without any step come back as they were, alone or among others."""
        policy, masks = self.make(), masks_of_samples()
        empty = {name: mask & (torch.arange(SAMPLES) % 2 == 0)[:, None] for name, mask in masks.items()}
        for batch in (empty, {name: torch.zeros_like(mask) for name, mask in masks.items()}):
            after = present_in(self._drop(policy, batch))
            wrong = int((after.any(1) & ~present_in(batch).any(1)).sum())
            expect(wrong == 0, f"{wrong} samples without any step came back with one.")

    @law("If that is what it is for, say drops = False in the class of the contract.")
    def test_drops_something(self) -> None:
        """In training, some of the samples lose something."""
        policy, masks = self.make(), masks_of_samples()
        lost = 0
        for seed, progress in enumerate((MIDDLE, MIDDLE, 1.0, 1.0)):
            after = self._drop(policy, masks, seed, progress)
            lost += sum(int((masks[name] & ~after[name].bool()).sum()) for name in masks)
        expect(lost > 0 or not self.drops, f"None of {4 * SAMPLES} samples lost a step in training.")

    @law("Usual cause: a division by, or a logarithm of, progress or 1 - progress.")
    def test_accepts_progress_from_0_to_1(self) -> None:
        """Progress 0 (the first step) and 1 (the end of training) give masks like any other."""
        masks = masks_of_samples()
        for progress in (0.0, 1.0):
            after = self._drop(self.make(), masks, progress=progress)
            emptied = int((~present_in(after).any(dim=1)).sum())
            expect(emptied == 0, f"{emptied} of {SAMPLES} samples lost their last step at progress {progress}.")

    @law("Take the modalities from the dict that is given, never by name or number.")
    def test_any_number_of_modalities(self) -> None:
        """One, two, three and four modalities work."""
        for number in (1, 2, 3, 4):
            after = self._drop(self.make(), masks_of_samples(number))
            expect(len(after) == number, f"{number} modalities came back as {len(after)}.")

    @law("Usual cause: squeeze() without a dimension.")
    def test_batch_of_one(self) -> None:
        """A batch of one sample gives masks of the shapes given."""
        masks = {name: mask[:1] for name, mask in masks_of_samples().items()}
        for name, mask in self._drop(self.make(), masks).items():
            shape, due = list(mask.shape), list(masks[name].shape)
            expect(shape == due, f"A batch of one sample gives a mask of the shape {shape} for {name}, not {due}.")

    @law("Write (self, *, option: type = default): the registry reads help and recipes from it.")
    def test_options_are_explicit(self) -> None:
        """The constructor takes options only, and they are keyword-only, typed and have defaults."""
        expect_options(self.make(), [])

    @law("Draw on the device of the masks: torch.rand(…, device=mask.device).")
    def test_works_on_cuda(self) -> None:
        """Masks on a GPU, where there is one, come back on that GPU."""
        if (device := cuda()) is None:
            return
        masks = {name: mask.to(device) for name, mask in masks_of_samples().items()}
        policy = self.make().to(device)
        for name, mask in policy.train()(dict(masks), torch.tensor(MIDDLE, device=device)).items():
            expect(mask.device == masks[name].device, f"The mask of {name} came back on {mask.device}.")

    def _drop(self, policy: DropoutPolicy, masks: Tensors, seed: int = 1, progress: float = MIDDLE) -> Tensors:
        torch.manual_seed(seed)
        after: Tensors = policy({name: mask.clone() for name, mask in masks.items()}, torch.tensor(progress))
        return after
