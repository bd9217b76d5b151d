"""`swap`: a modality comes from another sample, as the wrong person's voice (compare Breiman 2001)."""

import numpy as np

from emotiwave_core.errors import short
from emotiwave_core.evaluate.corruption import Corruption, Manifest, Sequences, Tables, must
from emotiwave_core.evaluate.drawing import NEVER, Array, SampleFacts, first_levels, philox
from emotiwave_core.modalities import by_modality, modality_of


class Swap(Corruption):
    """A share of the samples that have the modality gets it from a partner; the label stays."""

    levels = (0.0, 0.25, 0.5, 0.75, 1.0)
    unit = "share of the samples that get the modality of another sample"
    by_step = False
    tables = frozenset({"since", "partners"})
    why_untouched = "a swap needs two samples that have it"

    @classmethod
    def draw(cls, samples: SampleFacts, levels: Array, seed: int) -> Tables:
        """Draw the partner of every sample, and the order in which the samples are swapped."""
        since: dict[str, list[str]] = {}
        partners: dict[str, list[str | None]] = {}
        for modality, streams in samples.modalities.items():
            has = samples.has(modality)
            generator = np.random.Generator(philox("swap", seed, modality))
            owners = np.flatnonzero(has)
            first: list[str] = [NEVER] * len(has)
            lenders: list[str | None] = [None] * len(has)
            since |= dict.fromkeys(streams, first)
            partners |= dict.fromkeys(streams, lenders)
            if len(owners) < 2:
                continue
            for borrower, lender in partners_of([samples.videos[index] for index in owners], generator).items():
                lenders[owners[borrower]] = samples.ids[owners[lender]]
            swapped = np.rint(levels * len(owners))  # [K]
            characters = first_levels(np.arange(len(owners)) < swapped[:, None])
            for index, character in zip(generator.permutation(owners), characters, strict=True):
                first[index] = character
        return {"since": since, "partners": partners}

    @classmethod
    def check(cls, manifest: Manifest) -> None:
        """ValueError where a swapped sample has no partner, or one that cannot lend."""
        index_of = {sample: index for index, sample in enumerate(manifest.samples)}
        groups = by_modality(manifest.steps)
        for stream, partners in manifest.partners.items():
            steps = np.sum([manifest.steps[name] for name in groups[modality_of(stream)]], axis=0)
            for sample, partner, since in zip(manifest.samples, partners, manifest.since[stream], strict=True):
                if partner is None:
                    must(since == NEVER, f"{short(sample)} has no partner in {short(stream)}")
                else:
                    can_lend = partner != sample and partner in index_of and steps[index_of[partner]] > 0
                    must(can_lend, f"{short(partner)} cannot lend {short(stream)} to {short(sample)}")

    def apply(self, level: int) -> Sequences:
        """The modality as it is at a level."""
        partners, swapped = self.manifest.partners[self.modality], (self.first_level[:, 0] <= level).tolist()
        lenders = [partners[index] if hit else None for index, hit in zip(self.indices, swapped, strict=True)]
        own = [self.manifest.samples[index] for index in self.indices]
        return self.load([lender or sample for lender, sample in zip(lenders, own, strict=True)])

    def count(self, level: int) -> tuple[int, int]:
        """Number of samples that have the modality of another, and of those that have it at all."""
        has = self.clean.mask.any(dim=1)
        return int((has & (self.first_level[:, 0] <= level)).sum()), int(has.sum())


def partners_of(videos: list[str], generator: np.random.Generator) -> dict[int, int]:
    """A permutation of two or more samples without a fixed point, each to another video as far as that is possible.

    The samples are laid out video by video, in random order, and moved on by as many as the largest video has: no two
    of one video meet then, unless it has more than half of all.
    """
    names, video_of = np.unique(np.array(videos), return_inverse=True)
    rank = generator.permutation(len(names))[video_of]
    line = np.lexsort((generator.random(len(videos)), rank))  # by video, random within each
    largest = int(np.bincount(video_of).max())
    moved = np.roll(line, -(largest if len(names) > 1 else 1))
    return dict(zip(line.tolist(), moved.tolist(), strict=True))
