"""Hostile files that each break one rule: refused for that reason, and no other file is opened."""

import contextlib
from pathlib import Path

import h5py
import pytest
from datasets import read_all
from hostile_csd import write
from hostile_csd_rules import RULES, Rule
from opened_files import opened

from emotiwave_core.errors import DataError


def read_by_h5py(path: Path) -> None:
    """All that a file holds, as a trusting program would read it."""
    with h5py.File(path) as file, contextlib.suppress(KeyError, OSError):
        for name in file["anything/metadata"]:
            file["anything/metadata"][name][()]
        for entry in file["anything/data"].values():
            assert entry["features"][()].size
            assert entry["intervals"][()].size


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_what_breaks_one_rule_is_refused_for_that_reason(tmp_path: Path, rule: Rule) -> None:
    """The one sentence names the file and the rule that was broken, and no other file is opened before."""
    path = write(rule.make, tmp_path / "hostile.csd", tmp_path / "other")
    with opened(tmp_path / "other") as names, pytest.raises(DataError) as refused:
        read_all(path)
    assert rule.reason in str(refused.value)
    assert str(path) in str(refused.value)
    assert names == []


def test_what_breaks_no_rule_is_read(tmp_path: Path) -> None:
    """The file that the hostile ones are made of is read: each is refused for what was done to it."""
    read_all(write(lambda file, other: None, tmp_path / "whole.csd", tmp_path / "other"))


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.leads], ids=lambda rule: rule.name)
def test_h5py_would_open_the_other_file_and_the_watch_would_see_it(tmp_path: Path, rule: Rule) -> None:
    """A file that is refused for leading elsewhere does lead there: else the law above could not fail."""
    path = write(rule.make, tmp_path / "hostile.csd", tmp_path / "other")
    with opened(tmp_path / "other") as names:
        read_by_h5py(path)
    assert set(names) & {"secret.csd", "raw"}


def test_the_rules_are_many() -> None:
    """At least twenty rules are tested alone, and no two under one name."""
    assert len({rule.name for rule in RULES}) == len(RULES) > 20
