"""The laws of an objective."""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from emotiwave_core.interfaces import Output
from emotiwave_core.objectives import Objective
from emotiwave_core.objectives.multi import MultiLabel
from emotiwave_core.objectives.regression import Regression
from emotiwave_core.objectives.single import SingleLabel
from emotiwave_core.testing.laws import (
    CUDA_TOLERANCE,
    cuda,
    expect,
    expect_same,
    finite,
    law,
    seed_torch,
)
from emotiwave_core.testing.shared import PluginContract, expect_options

NAMES = ("happy", "sad", "anger", "fear")
SAMPLES, WIDTH = 12, 5
FAR = 1000.0  # a logit that is out of all proportion
CONFIDENT = 6.0


class Learned(NamedTuple):
    """An objective that is fitted, and a batch: what the model says of it, and what there is to learn."""

    objective: Objective
    output: Output
    targets: Tensor


class ObjectiveContract(PluginContract):
    """The laws that every objective keeps. A subclass makes the objective that is checked."""

    positional = ("classes",)
    arguments = (NAMES,)
    granted = ("is_an_objective", "gives_each_sample_a_loss")

    def make(self, classes: tuple[str, ...]) -> Objective:
        """A new objective over these outputs."""
        raise NotImplementedError("The contract needs the method make(self, classes: tuple[str, ...]) -> Objective.")

    @law("Derive from SingleLabel, MultiLabel or Regression of emotiwave_core.")
    def test_is_an_objective(self) -> None:
        """An objective derives from SingleLabel, MultiLabel or Regression."""
        objective = self.make(NAMES)
        known = isinstance(objective, SingleLabel | MultiLabel | Regression)
        expect(known, f"{type(objective).__name__} is none of these.")

    @law("Return a tensor [B]: take the mean over classes, and leave that over samples to the training.")
    def test_gives_each_sample_a_loss(self) -> None:
        """The loss has a finite number in float32 for each sample of a batch."""
        losses, due = self._losses(self._learned()), [SAMPLES]
        expect(isinstance(losses, Tensor), f"The loss is a {type(losses).__name__}, not a tensor.")
        expect(list(losses.shape) == due, f"The loss has the shape {list(losses.shape)}, not {due}.")
        expect(losses.dtype == torch.float32, f"The loss is {losses.dtype}, not torch.float32.")
        expect(finite(losses), "The loss of a sample is NaN or infinite.")

    @law("Leave weights to encoders and fusions: those of an objective would be neither trained nor saved.")
    def test_learns_nothing(self) -> None:
        """It has no parameters."""
        names = [name for name, _ in self.make(NAMES).named_parameters()]
        expect(not names, f"It has the parameters {', '.join(names)}.")

    @law("Look at the sign, and at what counts as the target.")
    def test_right_is_better_than_wrong(self) -> None:
        """Logits that say the truth have a lower loss than logits that say something else."""
        learned = self._learned()
        right, wrong = (float(self._losses(_saying(learned, shift)).mean()) for shift in (0, 1))
        expect(right < wrong, f"The mean loss of the truth is {right:.3g}, and that of something else {wrong:.3g}.")

    @law("Usual causes: the logarithm of a probability that is 0 (take log_softmax), a power of 0.")
    def test_far_logits_are_finite(self) -> None:
        """Logits of a thousand, right and wrong, give a finite loss and a finite gradient."""
        for shift in (0, 1):
            learned = _saying(self._learned(), shift, FAR)
            logits = learned.output.logits.requires_grad_()
            losses = self._losses(learned._replace(output=learned.output._replace(logits=logits)))
            losses.sum().backward()  # type: ignore[no-untyped-call]
            what = "wrong" if shift else "right"
            expect(finite(losses), f"The loss of logits of {FAR:.0f} that are {what} is NaN or infinite.")
            expect(finite(logits.grad), f"The gradient of logits of {FAR:.0f} that are {what} is NaN or infinite.")

    @law("Look for detach(), no_grad(), argmax and rounding.")
    def test_every_logit_learns(self) -> None:
        """Every sample's logits get a gradient."""
        learned = self._learned()
        logits = learned.output.logits.requires_grad_()
        self._losses(learned._replace(output=learned.output._replace(logits=logits))).sum().backward()  # type: ignore[no-untyped-call]
        gradient = torch.zeros_like(logits) if logits.grad is None else logits.grad
        silent = int((gradient == 0).all(dim=1).sum())
        expect(silent == 0, f"The logits of {silent} of {SAMPLES} samples get no gradient.")

    @law("Read output.vector and output.pooled where they are not None, and let the rest of the loss stand alone.")
    def test_logits_are_enough(self) -> None:
        """The loss of logits alone, as in validation, is finite."""
        learned = self._learned()
        alone = learned.output._replace(vector=None, pooled=None)
        expect(finite(self._losses(learned._replace(output=alone))), "The loss of logits alone is NaN or infinite.")

    @law("Set `reads_states = True` in the class: else output.vector and output.pooled are None in every run.")
    def test_says_what_it_reads(self) -> None:
        """A loss that depends on the vector or the pooled vectors says so by `reads_states`."""
        learned = self._learned()
        alone = learned.output._replace(vector=None, pooled=None)
        differs = not torch.equal(self._losses(learned), self._losses(learned._replace(output=alone)))
        says = type(learned.objective).reads_states
        expect(says or not differs, "The loss reads the vector or the pooled ones, and `reads_states` is False.")

    @law("Usual causes: squeeze() without a dimension, a mean over other samples that are not there.")
    def test_batch_of_one(self) -> None:
        """A batch of one sample has one finite loss."""
        losses = self._losses(_rows(self._learned(), torch.tensor([3])))
        expect(list(losses.shape) == [1], f"A batch of one gives a loss of the shape {list(losses.shape)}, not [1].")
        expect(finite(losses), "A batch of one gives NaN or infinity.")

    @law("Usual cause: a mean over others of the sample's class, or over other classes, where the batch has none.")
    def test_any_batch_is_finite(self) -> None:
        """A batch with one sample of each class, and one with a single class, have finite losses and gradients."""
        learned, each = self._learned(), len(NAMES)
        for rows, what in (
            (torch.arange(each), "one sample of each class"),
            (torch.arange(0, SAMPLES, each), "one class"),
        ):
            batch = _rows(learned, rows)
            logits = batch.output.logits.clone().requires_grad_()
            vector = None if batch.output.vector is None else batch.output.vector.clone().requires_grad_()
            read = batch.output._replace(logits=logits * 1.0, vector=None if vector is None else vector * 1.0)
            losses = self._losses(batch._replace(output=read))
            expect(finite(losses), f"A batch of {what} has a loss that is NaN or infinite.")
            losses.sum().backward()  # type: ignore[no-untyped-call]
            for name, x in (("logits", logits), ("vector", vector)):
                gradient = None if x is None else x.grad
                expect(
                    gradient is None or finite(gradient), f"The gradient to the {name} of {what} is NaN or infinite."
                )

    @law("Something depends on a sample's place in the batch.")
    def test_batch_order_does_not_matter(self) -> None:
        """Samples in another order have the same losses in that order."""
        learned, order = self._learned(), torch.randperm(SAMPLES, generator=torch.Generator().manual_seed(5))
        now = self._losses(_rows(learned, order))
        expect_same("The loss", now, self._losses(learned)[order], "the batch was put in another order")

    @law("Draw nothing: an encoder, a policy and an augmentation may.")
    def test_draws_nothing(self) -> None:
        """The loss does not depend on the random seed."""
        learned = self._learned()
        before = self._losses(learned)
        expect_same("The loss", self._losses(learned, seed=2), before, "only the random seed was another")

    @law("Keep nothing from one batch to the next, in buffers either: a run that goes on makes its objective anew.")
    def test_keeps_no_state(self) -> None:
        """A batch has the same loss whatever batches came before."""
        learned, other = self._learned(), self._learned(seed=9)
        before = self._losses(learned)
        for _ in range(3):
            self._losses(other._replace(objective=learned.objective))
        expect_same("The loss", self._losses(learned), before, "other batches came before")

    @law("Work out of place: the logits and targets are also read by others.")
    def test_does_not_change_its_input(self) -> None:
        """The output and the targets that were given stay as they were."""
        given, before = self._learned(), self._learned()
        self._losses(given)
        expect_same("The logits that were given", given.output.logits, before.output.logits, "they were used")
        expect_same("The vector that was given", given.output.vector, before.output.vector, "it was used")
        expect_same("The targets that were given", given.targets, before.targets, "they were used")

    @law("Give probabilities from 0 to 1, or the number of each target, and decide by them alone.")
    def test_answers_what_the_logits_say(self) -> None:
        """Answers are probabilities, or numbers, in the shape of the logits, and clear logits are decided so."""
        learned = _saying(self._learned(), 0)
        objective, logits = learned.objective, learned.output.logits
        answers = objective.answers(torch.stack([logits, logits]))
        due = [2, *logits.shape]
        expect(list(answers.shape) == due, f"Logits {due} have answers of the shape {list(answers.shape)}.")
        expect(finite(answers), "An answer is NaN or infinite.")
        if not isinstance(objective, Regression):
            outside = int(((answers < 0) | (answers > 1)).sum())
            expect(outside == 0, f"{outside} of {answers.numel()} probabilities are not from 0 to 1.")
        truth, thresholds = objective.truth(learned.targets), None
        decided = objective.decide(answers[0].double().numpy(), thresholds)
        expect(decided.shape == truth.shape, f"Decisions have the shape {decided.shape}, and the truth {truth.shape}.")
        right = float(np.isclose(decided, truth, atol=1e-3).mean())
        expect(right == 1.0, f"Of logits that clearly say the truth {right:.0%} are decided so.")

    @law("Do not answer by what fit() has seen: it is not called where a run is opened again.")
    def test_answers_need_no_fit(self) -> None:
        """One that is made anew answers and decides as one that was fitted; of numbers it is given their scale."""
        fitted, new = self._learned(), self.make(NAMES)
        if isinstance(new, Regression) and isinstance(fitted.objective, Regression):
            new.restore(fitted.objective.scale)
        logits = fitted.output.logits
        before, now = fitted.objective.answers(logits), new.answers(logits)
        expect_same("The answers", now, before, "it was made anew and not fitted")
        then, later = (each.decide(before.double().numpy(), None) for each in (fitted.objective, new))
        expect(np.array_equal(then, later), "The decisions changed when it was made anew and not fitted.")

    @law("Write (self, classes: tuple[str, ...], *, option: type = default): the registry reads help from it.")
    def test_options_are_explicit(self) -> None:
        """The constructor takes `classes`, then options that are keyword-only, typed and have defaults."""
        expect_options(self.make(NAMES), self.positional)

    @law("Usual cause: a tensor made in sample_losses without a device.")
    def test_same_on_cuda(self) -> None:
        """On a GPU, where there is one, the losses are those of the CPU."""
        device, learned = cuda(), self._learned()
        before = self._losses(learned)
        objective, (output, targets) = learned.objective.to(device), (learned.output, learned.targets)
        pooled = {m: x.to(device) for m, x in (output.pooled or {}).items()}
        moved = output._replace(
            logits=output.logits.to(device), vector=_on(output.vector, device), pooled=pooled, present=output.present
        )
        after = self._losses(Learned(objective, moved, targets.to(device)))
        expect_same("The loss", after, before, "it ran on a GPU", CUDA_TOLERANCE)

    def once(self) -> Objective:
        """A new objective that has been used once."""
        objective, output, targets = self._learned()
        objective.sample_losses(output, targets)
        return objective

    def _learned(self, seed: int = 0) -> Learned:
        """A fitted objective and a batch: each class twice at least, modalities that are absent, and random logits."""
        objective = self.make(NAMES)
        draw = torch.Generator().manual_seed(seed)
        labels = torch.rand(SAMPLES, len(NAMES), generator=draw)
        labels = labels * (1.0 + torch.eye(len(NAMES)).repeat(SAMPLES // len(NAMES), 1))
        if isinstance(objective, MultiLabel):
            labels = (labels > labels.mean()).float()
        objective.fit(targets := objective.targets(labels), objective.settings)
        present = torch.rand(SAMPLES, 2, generator=draw) < 0.8
        vector = torch.randn(SAMPLES, WIDTH, generator=draw)
        pooled = {m: torch.randn(SAMPLES, 3 + k, generator=draw) for k, m in enumerate(("text", "audio"))}
        pooled = {m: torch.where(present[:, k, None], x, 0.0) for k, (m, x) in enumerate(pooled.items())}
        logits = torch.randn(SAMPLES, len(objective.classes), generator=draw)
        return Learned(objective, Output(logits, None, None, present, None, vector, pooled), targets)

    def _losses(self, learned: Learned, seed: int = 1) -> Tensor:
        seed_torch(seed)
        return learned.objective.sample_losses(learned.output, learned.targets)


def _saying(learned: Learned, shift: int, size: float = CONFIDENT) -> Learned:
    """The same with logits that say the truth; with a shift, that of the next class, or of numbers far off."""
    objective, targets = learned.objective, learned.targets
    if isinstance(objective, Regression):
        logits = (targets - objective.mean) / objective.deviation + size * shift
    elif isinstance(objective, MultiLabel):
        logits = size * (2.0 * targets - 1.0) * (-1.0 if shift else 1.0)
    else:
        logits = size * torch.nn.functional.one_hot((targets + shift) % len(NAMES), len(NAMES)).float()
    return learned._replace(output=learned.output._replace(logits=logits))


def _rows(learned: Learned, rows: Tensor) -> Learned:
    """Some of the samples."""

    def taken(field: Any) -> Any:
        if isinstance(field, dict):
            return {name: tensor[rows] for name, tensor in field.items()}
        return None if field is None else field[rows]

    return learned._replace(output=Output(*map(taken, learned.output)), targets=learned.targets[rows])


def _on(tensor: Tensor | None, device: torch.device) -> Tensor | None:
    return None if tensor is None else tensor.to(device)
