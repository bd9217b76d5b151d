"""Each law of an objective catches the plugin that breaks it, and no other law is set off by it."""

import contextlib
import unittest
from typing import Any

import broken_objectives
import pytest

from emotiwave_core.testing import BrokenLaw, ObjectiveContract

pytestmark = [pytest.mark.full, pytest.mark.usefixtures("warm_children")]

PLUGINS: list[Any] = [part for part in vars(broken_objectives).values() if hasattr(part, "breaks")]


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda plugin: plugin.__name__)
def test_a_defect_breaks_its_laws_and_no_others(plugin: Any) -> None:
    """The laws that are broken are those that the plugin says, and a message tells what came."""
    ways = {"make": lambda self, classes: plugin(classes)}
    checked: type[ObjectiveContract] = type("Checked", (ObjectiveContract,), ways)
    broken = {}
    for law in checked.laws():
        try:
            with contextlib.suppress(unittest.SkipTest):
                law.check()
        except BrokenLaw as error:
            broken[law.name] = str(error)
    assert set(broken) == set(plugin.breaks), broken


def test_every_law_has_a_plugin_that_breaks_it() -> None:
    """No law of the kind's own, but the one that needs a GPU, is without a plugin that breaks it alone."""
    names = {name.removeprefix("test_") for name in vars(ObjectiveContract) if name.startswith("test_")}
    alone = {plugin.breaks[0] for plugin in PLUGINS if len(plugin.breaks) == 1}
    many = {law for plugin in PLUGINS for law in plugin.breaks}
    assert names - many == {"same_on_cuda"}
    assert names - alone <= {"same_on_cuda", "is_an_objective", "gives_each_sample_a_loss", "logits_are_enough"}
