"""The hooks that a plugin can implement: this file is their table of contents."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from emotiwave_core.interfaces import DropoutPolicy, Encoder, Fusion

hookspec = pluggy.HookspecMarker("emotiwave")
hookimpl = pluggy.HookimplMarker("emotiwave")


@hookspec
def register_encoders(register: "Callable[[str, type[Encoder]], None]") -> None:
    """Offer encoders: call `register("name", MyEncoder)` for each."""


@hookspec
def register_fusions(register: "Callable[[str, type[Fusion]], None]") -> None:
    """Offer fusions: call `register("name", MyFusion)` for each."""


@hookspec
def register_dropout_policies(register: "Callable[[str, type[DropoutPolicy]], None]") -> None:
    """Offer dropout policies: call `register("name", MyPolicy)` for each."""
