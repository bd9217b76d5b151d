"""Fixtures of the tests of training."""

from killed_runs import whole as whole
