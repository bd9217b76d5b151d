"""The corruptions: every file of this package is one, and its name is what `evaluate --protocol` takes.

Listing the names imports none of them, so that the command line stays quick.
"""

import importlib
import pkgutil
from typing import TYPE_CHECKING

from emotiwave_core.errors import SettingsError, choices, short

if TYPE_CHECKING:
    from emotiwave_core.evaluate.corruption import Corruption

CONFIGURATIONS = (
    "configurations"  # the default of `--protocol`: every configuration is scored, and nothing is corrupted
)


def corruption_names() -> list[str]:
    """Names of all corruptions, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def find_corruption(name: str) -> "type[Corruption]":
    """The corruption of this name; SettingsError where there is none."""
    from emotiwave_core.evaluate.corruption import Corruption

    if name not in (names := corruption_names()):
        raise SettingsError(f"There is no protocol {short(name)}.{choices(name, names)}")
    module = importlib.import_module(f"{__name__}.{name}")
    defined = [value for value in vars(module).values() if getattr(value, "__module__", "") == module.__name__]
    corruptions = [value for value in defined if isinstance(value, type) and issubclass(value, Corruption)]
    if len(corruptions) != 1:
        raise TypeError(f"{module.__file__} must hold one subclass of Corruption, and has {len(corruptions)}.")
    return corruptions[0]
