"""The laws of a dropout policy."""

import inspect
import math
from collections import Counter

import torch
from torch import Tensor

from emotiwave_core.errors import SettingsError
from emotiwave_core.interfaces import DropoutPolicy, Tensors
from emotiwave_core.layers.masking import prepare_policies, present_in
from emotiwave_core.testing.batches import LENGTHS, SAMPLES, masks_of_samples
from emotiwave_core.testing.laws import DRAW_BY_TORCH, Remark, buffers_kept, cuda, expect, law, not_tried, seed_torch
from emotiwave_core.testing.shared import PluginContract, expect_options

MIDDLE = 0.5  # of training
DRAWS = 1000
FEW_DRAWS = 200
CHANCES = ("p", "rate", "drop", "dropout", "probability")  # names of options that say how much is lost
Kept = tuple[bool, ...]  # which modalities, in the order of the masks


class DropoutPolicyContract(PluginContract):
    """The laws that every dropout policy keeps. A subclass makes the policy that is checked."""

    granted = ("is_a_dropout_policy", "returns_shapes_and_types")
    drops: bool | None = True  # a policy that never drops anything says False; None: nobody has said, and it is told

    def rates(self, present: Kept) -> dict[Kept, float] | None:
        """Probability of each configuration that a lone sample with these modalities keeps half way through training.

        A policy that makes such a promise says it here, and is held to it: the probabilities sum to 1.
        """
        return None

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
        after = self._drop(self._made(), masks)
        expect(list(after) == list(masks), f"The modalities {list(masks)} came back as {list(after)}.")
        for name, mask in masks.items():
            shape, expected = list(after[name].shape), list(mask.shape)
            expect(shape == expected, f"The mask of {name} came back with the shape {shape}, not {expected}.")
            expect(after[name].dtype == torch.bool, f"The mask of {name} came back as {after[name].dtype}, not bool.")

    @law("Combine what is drawn with the mask that was given: mask & kept.")
    def test_only_clears(self) -> None:
        """No step is set that was not set before."""
        masks = masks_of_samples()
        for name, mask in self._drop(self._made(), masks).items():
            more = int((mask.bool() & ~masks[name]).sum())
            expect(more == 0, f"{more} steps of {name} were set that were not set before.")

    @law("Draw among the present modalities of each sample (layers.masking.draw_nonempty does it exactly).")
    def test_never_empties_a_sample(self) -> None:
        """A sample that has a step keeps a step."""
        policy, masks = self._made(), masks_of_samples()
        emptied = sum(int((~present_in(self._drop(policy, masks, seed)).any(1)).sum()) for seed in range(20))
        expect(emptied == 0, f"{emptied} of {20 * SAMPLES} samples lost their last step.")

    @law("Return the masks as they are if not self.training.")
    def test_identity_in_eval(self) -> None:
        """In eval() the masks come back as they were."""
        masks = masks_of_samples()
        for name, mask in self._drop(self._made().eval(), masks).items():
            cleared = int((mask != masks[name]).sum())
            expect(cleared == 0, f"{cleared} steps of {name} changed in eval().")

    @law(DRAW_BY_TORCH)
    def test_seed_repeats_it(self) -> None:
        """The same torch.manual_seed gives the same masks, of a new policy and of one that has drawn before."""
        masks, policy = masks_of_samples(), self._made()
        first = self._drop(policy, masks)
        for other, which in ((self._made(), "two policies"), (policy, "two draws of a policy")):
            again = self._drop(other, masks)
            differ = sum(int((first[name] != again[name]).sum()) for name in masks)
            expect(differ == 0, f"{differ} steps differ between {which} from the same seed.")

    @law("Work out of place: mask & kept, not mask &= kept or mask[rows] = False.")
    def test_does_not_change_its_input(self) -> None:
        """The masks that were given, and their dict, stay as they were."""
        masks = masks_of_samples()
        given = dict(masks)
        seed_torch(1)
        self._made().train()(given, torch.tensor(MIDDLE))
        expect(list(given) == list(masks), f"The dict that was given holds {list(given)} now.")
        for name, mask in masks_of_samples().items():
            changed = int((given[name] != mask).sum())
            expect(changed == 0, f"{changed} steps of {name} changed in the mask that was given.")

    @law("Usual cause: a draw among no modalities, such as torch.multinomial of zeros.")
    def test_survives_empty_samples(self) -> None:
        """Samples without any step come back as they were, alone or among others."""
        policy, masks = self._made(), masks_of_samples()
        empty = {name: mask & (torch.arange(SAMPLES) % 2 == 0)[:, None] for name, mask in masks.items()}
        for batch in (empty, {name: torch.zeros_like(mask) for name, mask in masks.items()}):
            after = present_in(self._drop(policy, batch))
            wrong = int((after.any(1) & ~present_in(batch).any(1)).sum())
            expect(wrong == 0, f"{wrong} samples without any step came back with one.")

    @law("If that is what it is for, say drops = False in the class of the contract.")
    def test_drops_something(self) -> None:
        """In training, some of the samples lose something."""
        if self.drops is False:
            raise not_tried("it is said to drop nothing")
        policy, masks = self._made(), masks_of_samples()
        lost = 0
        for seed, progress in enumerate((MIDDLE, MIDDLE, 1.0, 1.0)):
            after = self._drop(policy, masks, seed, progress)
            lost += sum(int((masks[name] & ~after[name].bool()).sum()) for name in masks)
        if lost == 0 and self.drops is None:
            raise Remark(f"None of {4 * SAMPLES} samples lost a step in training: {_measured(policy)}.")
        expect(lost > 0, f"None of {4 * SAMPLES} samples lost a step in training.")

    @law("Draw for each sample anew, among all that it has.")
    def test_loses_by_chance(self) -> None:
        """A complete sample loses one thing in one draw and another in the next, and no modality always or alone."""
        policy, complete = self._made().train(), (True, True, True)
        steps = {tuple(kept.tolist()) for kept in self._lone_draws(policy)}
        if len(steps) == 1:
            if all(next(iter(steps))):
                return  # it loses nothing, as another law says
            raise Remark(f"In {FEW_DRAWS} draws of a complete sample it lost the same each time: {_measured(policy)}.")
        counts = Counter(kept_draws(policy, complete, FEW_DRAWS))
        never = [str(m + 1) for m in range(len(complete)) if not any(kept[m] for kept in counts)]
        if never:
            lost = f"it always lost modality {' and '.join(never)}"
            raise Remark(f"In {FEW_DRAWS} draws of a complete sample {lost}: {_measured(policy)}.")
        ever = [str(m + 1) for m in range(len(complete)) if not all(kept[m] for kept in counts)]
        if len(ever) == 1:
            lost = f"it never lost a modality but {ever[0]}"
            raise Remark(f"In {FEW_DRAWS} draws of a complete sample {lost}: {_measured(policy)}.")

    @law("Let p be the probability of losing, as nn.Dropout has it.")
    def test_more_p_loses_more(self) -> None:
        """With a larger value of an option that is called p, rate, drop, dropout or probability more is lost."""
        policy = self._made()
        parameters = inspect.signature(type(policy).__init__).parameters
        for name in [name for name in CHANCES if name in parameters and isinstance(parameters[name].default, float)]:
            lost = {}
            for value in (0.1, 0.9):
                try:
                    made = type(policy)(**{name: value})
                    prepare_policies(made, tuple(LENGTHS)[:3])
                except Exception:
                    raise not_tried(f"it is not made with {name} = {value} alone") from None
                lost[value] = 1.0 - float(torch.stack(self._lone_draws(made.train())).float().mean())
            if lost[0.9] < lost[0.1]:
                raise Remark(
                    f"With {name} = 0.1 a complete sample loses {lost[0.1]:.0%} of its steps, with {name} = 0.9 "
                    f"{lost[0.9]:.0%}: does {name} say what is kept? For nn.Dropout p is what is lost."
                )

    @law(
        "Usual causes: a draw that forgets what the sample lacks, or that it must keep something; or rates() is wrong."
    )
    def test_rates_are_what_it_says(self) -> None:
        """In the long run each configuration is kept as often as `rates` says."""
        policy = self._made().train()
        for present in ((True, True, True), (True, False, True)):
            promised = self.rates(present)
            if promised is None:
                raise not_tried("its author has not said what they are: the method `rates` of the contract's class")
            counts = Counter(kept_draws(policy, present, DRAWS))
            whole = sum(promised.values())
            expect(abs(whole - 1.0) < 1e-6, f"The rates for {name_kept(present)} sum to {whole:.4g} and not to 1.")
            for remaining in {*promised, *counts}:
                rate, share = promised.get(remaining, 0.0), counts[remaining] / DRAWS
                expect(
                    _agree(counts[remaining], rate),
                    f"Of the modalities {name_kept(present)} it keeps {name_kept(remaining)} in {share:.1%} of {DRAWS} "
                    f"draws where {rate:.1%} is said.",
                )

    @law("Keep what `observe` learns in buffers (register_buffer), so that a run that resumes draws the same.")
    def test_state_dict_round_trip(self) -> None:
        """A new policy that loads the state_dict of one that has observed some batches draws the same."""
        old, masks = self._made(), masks_of_samples()
        for step in range(5):
            seed_torch(step)
            old.observe(
                present_in(self._drop(old, masks, seed=step)), torch.rand(SAMPLES) * torch.arange(1, SAMPLES + 1)
            )
        seed_torch(7)
        new = self._made()
        new.load_state_dict(old.state_dict())
        for seed in range(4):
            expected, again, came = (self._drop(policy, masks, seed) for policy in (old, old, new))
            repeats = all(torch.equal(expected[name], again[name]) for name in masks)  # else another law is broken
            differ = sum(int((expected[name] != came[name]).sum()) for name in masks) if repeats else 0
            expect(differ == 0, f"{differ} steps differ between a policy and a new one that loaded its state_dict.")

    @law("Usual cause: a division by, or a logarithm of, progress or 1 - progress.")
    def test_accepts_progress_from_0_to_1(self) -> None:
        """Progress 0 (the first step) and 1 (the end of training) give masks like any other."""
        masks = masks_of_samples()
        for progress in (0.0, 1.0):
            after = self._drop(self._made(), masks, progress=progress)
            emptied = int((~present_in(after).any(dim=1)).sum())
            expect(emptied == 0, f"{emptied} of {SAMPLES} samples lost their last step at progress {progress}.")

    @law("Take the modalities from the dict that is given, never by name or number.")
    def test_any_number_of_modalities(self) -> None:
        """One, two, three and four modalities work, unless it says that it is for others."""
        for number in (1, 2, 3, 4):
            try:
                policy = self._made(number)
            except SettingsError:
                continue
            after = self._drop(policy, masks_of_samples(number))
            expect(len(after) == number, f"{number} modalities came back as {len(after)}.")

    @law("Usual cause: squeeze() without a dimension.")
    def test_batch_of_one(self) -> None:
        """A batch of one sample gives masks of the shapes given."""
        masks = {name: mask[:1] for name, mask in masks_of_samples().items()}
        for name, mask in self._drop(self._made(), masks).items():
            shape, expected = list(mask.shape), list(masks[name].shape)
            expect(
                shape == expected,
                f"A batch of one sample gives a mask of the shape {shape} for {name}, not {expected}.",
            )

    @law("Write (self, *, option: type = default): the registry reads help and recipes from it.")
    def test_options_are_explicit(self) -> None:
        """The constructor takes options only, and they are keyword-only, typed and have defaults."""
        expect_options(self.make(), self.positional)

    @law("Draw on the device of the masks: torch.rand(…, device=mask.device).")
    def test_works_on_cuda(self) -> None:
        """Masks on a GPU, where there is one, come back on that GPU."""
        device = cuda()
        masks = {name: mask.to(device) for name, mask in masks_of_samples().items()}
        policy = self._made().to(device)
        policy.observe(present_in(masks), torch.ones(SAMPLES, device=device))
        for name, mask in policy.train()(dict(masks), torch.tensor(MIDDLE, device=device)).items():
            expect(mask.device == masks[name].device, f"The mask of {name} came back on {mask.device}.")

    def once(self) -> DropoutPolicy:
        """A new policy that has been used once."""
        policy = self._made().train()
        policy(masks_of_samples(), torch.tensor(MIDDLE))
        return policy

    def _made(self, modalities: int = 3) -> DropoutPolicy:
        policy = self.make()
        if isinstance(policy, DropoutPolicy):  # another law says so
            prepare_policies(policy, tuple(LENGTHS)[:modalities])
        return policy

    def _drop(self, policy: DropoutPolicy, masks: Tensors, seed: int = 1, progress: float = MIDDLE) -> Tensors:
        seed_torch(seed)
        with buffers_kept(policy):
            after: Tensors = policy({name: mask.clone() for name, mask in masks.items()}, torch.tensor(progress))
        return after

    def _lone_draws(self, policy: DropoutPolicy) -> list[Tensor]:
        """The steps [9] that a policy leaves of three modalities of a lone complete sample, draw after draw."""
        seed_torch(1)
        draws = (policy(_lone((True, True, True)), torch.tensor(MIDDLE)) for _ in range(FEW_DRAWS))
        return [torch.cat([mask.flatten() for mask in draw.values()]) for draw in draws]


def _lone(present: Kept) -> Tensors:
    """The masks of a lone sample with these modalities, three steps each."""
    return {name: torch.full((1, 3), here) for name, here in zip(LENGTHS, present, strict=False)}


def _measured(policy: DropoutPolicy) -> str:
    """Say how often which modalities of a complete sample of three are kept."""
    counts = Counter(kept_draws(policy, (True, True, True), FEW_DRAWS))
    return ", ".join(f"{name_kept(kept)} is kept in {count / FEW_DRAWS:.0%}" for kept, count in counts.most_common())


def _batched(masks: Tensors) -> Tensors:
    """Masks of one sample [1, T], whatever their shape: of a wrong one another law tells."""
    return {name: mask.reshape(1, -1) for name, mask in masks.items()}


def kept_draws(policy: DropoutPolicy, present: Kept, draws: int) -> list[Kept]:
    """Draw what a lone sample with these modalities keeps, so many times."""
    seed_torch(1)
    progress = torch.tensor(MIDDLE)
    kept = (present_in(_batched(policy(_lone(present), progress)))[0] for _ in range(draws))
    return [tuple(row.tolist()) for row in kept]


def name_kept(remaining: Kept) -> str:
    """Name a configuration by the numbers of its modalities, as `1+3`."""
    return "+".join(str(number) for number, here in enumerate(remaining, start=1) if here) or "none"


def _agree(count: int, rate: float) -> bool:
    """Tell whether a count agrees with a rate: within 5 standard deviations, and never where the rate is 0."""
    deviation = math.sqrt(DRAWS * rate * (1.0 - rate))
    return abs(count - DRAWS * rate) <= 5.0 * deviation + 1e-6
