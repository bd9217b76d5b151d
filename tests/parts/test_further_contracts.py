"""Each law of augmentations, objectives and metrics catches the plugin that breaks it, and no other law is set off."""

import contextlib
import unittest
from types import ModuleType
from typing import Any, NamedTuple

import broken_augmentations
import broken_metrics
import broken_objectives
import pytest

from emotiwave_core.testing import AugmentationContract, BrokenLaw, Contract, MetricContract, ObjectiveContract

pytestmark = [pytest.mark.full, pytest.mark.usefixtures("warm_children")]


class Battery(NamedTuple):
    """The plugins that break a contract, and the laws of its own that none of them breaks, or none alone."""

    contract: type[Contract]
    module: ModuleType
    unbroken: frozenset[str] = frozenset()
    never_alone: frozenset[str] | None = None  # None: a plugin may break several laws

    @property
    def plugins(self) -> list[Any]:
        """Each with the names of the laws that it `breaks`."""
        return [part for part in vars(self.module).values() if hasattr(part, "breaks")]


BATTERIES = [
    Battery(AugmentationContract, broken_augmentations, frozenset({"works_on_cuda"})),
    Battery(MetricContract, broken_metrics),
    Battery(
        ObjectiveContract,
        broken_objectives,
        frozenset({"same_on_cuda"}),
        frozenset({"same_on_cuda", "is_an_objective", "gives_each_sample_a_loss", "logits_are_enough"}),
    ),
]
CASES = [(battery.contract, plugin) for battery in BATTERIES for plugin in battery.plugins]


@pytest.mark.parametrize(("contract", "plugin"), CASES, ids=lambda value: value.__name__)
def test_a_defect_breaks_its_laws_and_no_others(contract: type[Contract], plugin: Any) -> None:
    """The laws that are broken are those that the plugin says, and a message tells what came."""
    checked: type[Contract] = type("Checked", (contract,), {"make": lambda self, *arguments: plugin(*arguments)})
    broken = {}
    for law in checked.laws():
        try:
            with contextlib.suppress(unittest.SkipTest):
                law.check()
        except BrokenLaw as error:
            broken[law.name] = str(error)
    assert set(broken) == set(plugin.breaks), broken


@pytest.mark.parametrize("battery", BATTERIES, ids=lambda battery: battery.contract.__name__)
def test_every_law_has_a_plugin_that_breaks_it(battery: Battery) -> None:
    """No law of the kind's own is without a plugin that breaks it, but the one that needs a GPU."""
    own = {name.removeprefix("test_") for name in vars(battery.contract) if name.startswith("test_")}
    assert own - {law for plugin in battery.plugins for law in plugin.breaks} == battery.unbroken
    if battery.never_alone is not None:
        alone = {plugin.breaks[0] for plugin in battery.plugins if len(plugin.breaks) == 1}
        assert own - alone <= battery.never_alone
