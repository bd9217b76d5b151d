"""The parts of a recipe, looked up once: a model is assembled and described, and errors are told, from these alone."""

import contextlib
import hashlib
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from emotiwave_core.config.recipe import ALL, ObjectiveSettings, Part, Recipe, part_table
from emotiwave_core.errors import EmotiwaveError, PluginError, ResourceError, short
from emotiwave_core.modalities import setting_of
from emotiwave_core.parts.guard import forbid_exit, preserve_global_state
from emotiwave_core.parts.kinds import ENCODER

if TYPE_CHECKING:  # torch is not imported to list parts
    from emotiwave_core.objectives import Objective

COMMON = {"builtins", "abc", "typing", "torch", "emotiwave_core"}  # what all parts derive from, of a version of its own


@attrs.frozen(eq=False)
class ResolvedPart:
    """A part that was found: its class, who provides it, and all of its options."""

    kind: str
    name: str
    part: type
    origin: str  # the distribution, or the path of the user's file
    version: str
    values: dict[str, Any]  # its options, checked and completed, as its constructor takes them but for `inner`
    inner: dict[str, "list[ResolvedPart] | ResolvedPart | None"]  # the options that are parts themselves

    @property
    def who(self) -> str:
        """The part as the subject of a sentence."""
        return f"The {self.kind} '{self.name}'"

    @property
    def source_sha256(self) -> str | None:
        """The SHA-256 of its code: of the file of its class and of those of the classes that it derives from.

        Those of `COMMON` do not count. None where a file cannot be read.
        """
        digest = hashlib.sha256()
        for base in self.part.__mro__:
            if base.__module__.partition(".")[0] not in COMMON:
                file = getattr(sys.modules.get(base.__module__), "__file__", None)
                try:
                    digest.update(hashlib.sha256(Path(str(file)).read_bytes()).digest())
                except OSError:
                    return None
        return digest.hexdigest()

    @property
    def settings(self) -> Part:
        """The part as a recipe has it: parts inside it are tables."""
        tables = {option: _each(inner, lambda part: part_table(part.settings)) for option, inner in self.inner.items()}
        return Part(self.name, self.values | tables)

    def with_inner(self) -> "Iterator[ResolvedPart]":
        """The part and all parts inside it, each before those inside it."""
        yield self
        for inner in self.inner.values():
            for part in inner if isinstance(inner, list) else [inner]:
                if part is not None:
                    yield from part.with_inner()

    def construct(self, *arguments: Any) -> Any:
        """Call the constructor, with parts inside it that are new at each call.

        A part of its own kind inside it is made for the same `arguments`; an encoder for what the outer one shows it.
        """
        inside = arguments
        if self.kind == ENCODER:
            inside = tuple(self.part.inner_features(width, self.values) for width in arguments)  # type: ignore[attr-defined]

        def make(part: ResolvedPart) -> Any:
            return part.make(*inside) if part.kind == self.kind else part.make()

        made = {option: _each(inner, make) for option, inner in self.inner.items()}
        return self.part(*arguments, **self.values | made)

    def make(self, *arguments: Any) -> Any:
        """Construct the part; it may draw its weights, and leaves no other trace in what all parts share.

        Errors as of `constructing`.
        """
        with self.constructing():
            return self.construct(*arguments)

    @contextlib.contextmanager
    def constructing(self) -> Iterator[None]:
        """Within it the part makes itself, or more of itself.

        PluginError where that fails on options that are right by their types, or ends the program; ResourceError where
        memory is short.
        """
        failed = f"{self.who} fails at construction"
        with forbid_exit(failed), preserve_global_state(self.who, "when it is constructed", drawing="weights"):
            try:
                yield
            except EmotiwaveError:
                raise
            except Exception as error:
                options = self.settings.options
                if isinstance(error, MemoryError) or "can't allocate memory" in str(error):  # as torch says it
                    raise ResourceError(
                        f"There is not the memory for the {self.kind} '{self.name}' with {short(options)}; make it "
                        "smaller."
                    ) from error
                raise PluginError(f"{failed} with {options}: {type(error).__name__}: {error}") from error


@attrs.frozen(eq=False)
class ResolvedParts:
    """The parts of a recipe, as a registry has found them (`Registry.resolve`)."""

    recipe: Recipe
    encoders: dict[str, ResolvedPart]  # by stream or modality, `ALL` for those that are not named
    fusion: ResolvedPart
    dropout: ResolvedPart
    augmentation: list[ResolvedPart]  # in the order in which they work
    objective: ResolvedPart | None = None  # None: that of its kind, without a plugin

    def encoder_of(self, stream: str) -> ResolvedPart:
        """The encoder of a stream, as `Recipe.encoder_of`; SettingsError where the recipe has none."""
        self.recipe.encoder_of(stream)
        return setting_of(stream, self.encoders) or self.encoders[ALL]

    def used_by(self, streams: Iterable[str]) -> list[tuple[ResolvedPart, str | None]]:
        """The parts of a model of these streams, each encoder with its own, and the parts inside parts."""
        encoders = [(part, s) for s in streams for part in self.encoder_of(s).with_inner()]
        others = (self.fusion, self.dropout, *self.augmentation, *([] if self.objective is None else [self.objective]))
        return [*encoders, *((inner, None) for part in others for inner in part.with_inner())]

    def completed(self) -> Recipe:
        """The recipe with every option of every part written out."""
        return attrs.evolve(
            self.recipe,
            encoder={modality: part.settings for modality, part in self.encoders.items()},
            fusion=self.fusion.settings,
            dropout=self.dropout.settings,
            augmentation=[part.settings for part in self.augmentation],
            objective=self._completed_objective(),
        )

    def _completed_objective(self) -> ObjectiveSettings:
        """The settings of the objective, with the kind and the options of one that is named."""
        if self.objective is None:
            return self.recipe.objective
        options = {key: value for key, value in part_table(self.objective.settings).items() if key != "name"}
        kind = self.objective.part.kind  # type: ignore[attr-defined]
        return attrs.evolve(self.recipe.objective, kind=kind, options=options or None)

    def make_objective(self, targets: tuple[str, ...]) -> "Objective":
        """The objective of the recipe, whose settings are settled, for a data set's targets."""
        from emotiwave_core.objectives.settle import make_objective

        if self.objective is None:
            return make_objective(self.recipe.objective, targets)
        from emotiwave_core.parts.guarded_objective import guard_objective

        return guard_objective(make_objective(self.recipe.objective, targets, self.objective.make), self.objective.who)


def _each(inner: Any, change: Any) -> Any:
    """A part inside a part, or each of a list of them, changed; None stays."""
    if isinstance(inner, list):
        return [change(part) for part in inner]
    return None if inner is None else change(inner)
