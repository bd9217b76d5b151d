"""Faulty plugins: what a plugin writes to stdout does not reach it: with --json that is for the answer alone."""

import json
import os
import sys
from functools import partial
from pathlib import Path

import pytest
from faulty_plugins import command, plugin
from forked import Ended, emotiwave, forked
from trusted import trust_here

from emotiwave_core.parts.stdout import quiet

WRITES = "print('python'); os.write(1, b'descriptor'); os.system('echo child'); sys.stdout.write('half a line')"
C = "import ctypes; ctypes.CDLL(None).puts(b'from C')"
CLOSES = "sys.stdout.close()"
REPLACES = "sys.stdout = open(os.devnull, 'w')"
LOUD = ["python", "descriptor", "child", "half a line", "from C"]


def loudly(*codes: str) -> int:
    """Code that speaks, and then the answer."""
    with quiet():
        for code in codes:
            exec(code, {"os": os, "sys": sys})
    print('{"answer": 1}')
    return 0


def loud_run(*words: str) -> int:
    """A command with --json."""
    return emotiwave(*words, "--json")


def check_answer(ended: Ended) -> None:
    """Stdout is JSON and nothing else; what was written beside it stands on stderr."""
    assert ended.code == 0, ended.err
    assert json.loads(ended.out)
    for word in LOUD:
        assert word in ended.err


@pytest.mark.parametrize("last", ["pass", CLOSES, REPLACES])
def test_the_answer_stands_alone(tmp_path: Path, last: str) -> None:
    """Python's stdout, the descriptor, a child process and C's own buffer all end up in stderr; then stdout is back."""
    ended = forked(partial(loudly, WRITES, C, last), folder=tmp_path)
    check_answer(ended)
    assert ended.out == '{"answer": 1}\n'


def test_without_an_stderr_the_answer_is_still_given(tmp_path: Path) -> None:
    """A process without a stderr, as a service may be, answers and loses the rest."""
    ended = forked(partial(_without_stderr, WRITES), folder=tmp_path)
    assert (ended.code, ended.out) == (0, '{"answer": 1}\n')


def _without_stderr(code: str) -> int:
    os.close(2)
    return loudly(code)


@pytest.mark.stress
def test_a_loud_plugin_and_json(tiny: Path, tmp_path: Path) -> None:
    """Of a plugin that writes at import, construction and in forward, `--json` of each command is JSON."""
    loud = f"{WRITES}; {C}"
    (tmp_path / "registry.toml").write_text('[plugins]\nlocal = "mine.py"\n')
    (tmp_path / "mine.py").write_text(plugin(at_import=loud, construct=loud, forward=loud, when="self.step == 3"))
    trust_here(tmp_path)
    where = {"EMOTIWAVE_CACHE": str(tmp_path / "cache")}
    check_answer(forked(partial(loud_run, *command(tiny, "encoder")), folder=tmp_path, environment=where))
    for words in (("evaluate", "there"), ("explain", "there"), ("evaluate", "there", "--protocol", "noise")):
        check_answer(forked(partial(loud_run, *words), folder=tmp_path, environment=where))
