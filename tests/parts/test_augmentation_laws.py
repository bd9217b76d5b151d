"""Each law of an augmentation catches the plugin that breaks it, and no other law is set off by it."""

import contextlib
import unittest
from typing import Any

import broken_augmentations
import pytest

from emotiwave_core.testing import AugmentationContract, BrokenLaw

pytestmark = [pytest.mark.full, pytest.mark.usefixtures("warm_children")]

PLUGINS: list[Any] = [part for part in vars(broken_augmentations).values() if hasattr(part, "breaks")]


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda plugin: plugin.__name__)
def test_a_defect_breaks_its_laws_and_no_others(plugin: Any) -> None:
    """The laws that are broken are those that the plugin says, and a message tells what came."""
    checked: type[AugmentationContract] = type("Checked", (AugmentationContract,), {"make": lambda self: plugin()})
    broken = {}
    for law in checked.laws():
        try:
            with contextlib.suppress(unittest.SkipTest):
                law.check()
        except BrokenLaw as error:
            broken[law.name] = str(error)
    assert set(broken) == set(plugin.breaks), broken


def test_every_law_has_a_plugin_that_breaks_it() -> None:
    """No law of the kind's own, but the one that needs a GPU, is without a plugin that breaks it."""
    names = {name.removeprefix("test_") for name in vars(AugmentationContract) if name.startswith("test_")}
    assert names - {law for plugin in PLUGINS for law in plugin.breaks} == {"works_on_cuda"}
