"""Each law of a metric catches the plugin that breaks it, and no other law is set off by it."""

import contextlib
import unittest
from typing import Any

import broken_metrics
import pytest

from emotiwave_core.testing import BrokenLaw, MetricContract

pytestmark = [pytest.mark.full, pytest.mark.usefixtures("warm_children")]

PLUGINS: list[Any] = [part for part in vars(broken_metrics).values() if hasattr(part, "breaks")]


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda plugin: plugin.__name__)
def test_a_defect_breaks_its_laws_and_no_others(plugin: Any) -> None:
    """The laws that are broken are those that the plugin says, and a message tells what came."""
    checked: type[MetricContract] = type("Checked", (MetricContract,), {"make": lambda self: plugin()})
    broken = {}
    for law in checked.laws():
        try:
            with contextlib.suppress(unittest.SkipTest):
                law.check()
        except BrokenLaw as error:
            broken[law.name] = str(error)
    assert set(broken) == set(plugin.breaks), broken


def test_every_law_has_a_plugin_that_breaks_it() -> None:
    """No law of the kind's own is without a plugin that breaks it."""
    names = {name.removeprefix("test_") for name in vars(MetricContract) if name.startswith("test_")}
    assert not names - {law for plugin in PLUGINS for law in plugin.breaks}
