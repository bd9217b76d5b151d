"""Each law of encoders of words catches the plugin that breaks it."""

import unittest
from typing import Any

import broken_word_encoders
import pytest

from emotiwave_core.testing import BrokenLaw, EncoderContract, WordEncoderContract

pytestmark = [pytest.mark.full, pytest.mark.usefixtures("warm_children")]
PLUGINS = [part for part in vars(broken_word_encoders).values() if isinstance(part, type) and "breaks" in vars(part)]


def broken_laws(part: Any) -> dict[str, str]:
    """The laws that a part breaks."""
    contract = type("Checked", (WordEncoderContract,), {"make": lambda self, *arguments: part(*arguments)})
    broken = {}
    for law in contract.laws():
        try:
            law.check()
        except BrokenLaw as error:
            broken[law.name] = str(error)
        except unittest.SkipTest:
            continue
    return broken


@pytest.mark.parametrize("part", PLUGINS, ids=lambda part: part.__name__)
def test_a_defect_breaks_its_law(part: Any) -> None:
    """A part with one defect breaks the law that is named, in a sentence, and a sound one breaks none."""
    broken = broken_laws(part)
    assert set(part.breaks) <= set(broken), broken
    assert part.breaks or not broken
    for message in broken.values():
        assert message.endswith(".")
        assert 40 < len(message) < 400, message


def test_every_law_of_words_catches_a_plugin() -> None:
    """No law that encoders of words have of their own is without a part that breaks it."""
    own = {name.removeprefix("test_") for name in vars(WordEncoderContract) if name.startswith("test_")}
    caught = {law for part in PLUGINS for law in part.breaks}
    assert own - {"no_gradient_is_cut"} <= caught
    assert {law.name for law in EncoderContract.laws()} <= {law.name for law in WordEncoderContract.laws()}
