"""A coverage-guided fuzzer of every reader: `make fuzz`, or `python tests/helpers/fuzz.py TARGET --seconds N`.

It begins with whole files and with those of tests/corpus. What breaks the law of the targets (`fuzz_targets.py`), takes
10 s or 2 GiB ends the fuzzer with the bytes that did it in the working folder as `crash-…`, `timeout-…` or `oom-…`:
mend it, and keep them as tests/corpus/TARGET/NAME.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import atheris

FOLLOWED = ["emotiwave_core", "tomllib", "cattrs", "fuzz_targets"]
with contextlib.nullcontext() if "all" in sys.argv[1:2] else atheris.instrument_imports(include=FOLLOWED):
    from fuzz_targets import TARGETS, kept


def every(seconds: int) -> int:
    """Fuzz the targets one after the other, each in a process; 1 where one has found something."""
    found = []
    for name in TARGETS:
        command = [sys.executable, __file__, name, "--seconds", str(seconds)]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        units = done.stderr.partition("stat::number_of_executed_units:")[2].split()
        print(
            f"{name:14} {units[0] if units else '':>9} files, {'found something' if done.returncode else 'nothing'}",
            flush=True,
        )
        if done.returncode:
            found.append(name)
            print(done.stderr[-3000:], file=sys.stderr)
    return 1 if found else 0


def fuzz(name: str, seconds: int) -> None:
    """Fuzz one target. The fuzzer ends the process."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["EMOTIWAVE_CACHE"] = f"{folder}/cache"
        room, corpus = Path(folder) / "room", Path(folder) / "corpus"
        room.mkdir()
        corpus.mkdir()
        target, seeds = TARGETS[name](room)
        for number, seed in enumerate([*seeds, *kept(name)]):
            (corpus / str(number)).write_bytes(seed)
            target(seed)
        most = max(4096, 2 * max(map(len, seeds)))
        limits = [f"-max_total_time={seconds}", "-timeout=10", "-rss_limit_mb=2048", f"-max_len={most}"]
        atheris.Setup([sys.argv[0], str(corpus), *limits, "-print_final_stats=1", "-verbosity=0"], target)
        atheris.Fuzz()


def main() -> None:
    """Fuzz one target, or all of them, for so many seconds each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=["all", *TARGETS])
    parser.add_argument("--seconds", type=int, default=60)
    asked = parser.parse_args()
    if asked.target == "all":
        sys.exit(every(asked.seconds))
    fuzz(asked.target, asked.seconds)


if __name__ == "__main__":
    main()
