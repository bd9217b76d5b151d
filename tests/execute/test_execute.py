"""Executors: every job is carried out once, a death costs one job, and what is stopped keeps what it has."""

import errno
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from emotiwave_core.errors import PackageNotHere, ResourceError, SettingsError
from emotiwave_core.execute import executor as room
from emotiwave_core.execute import local, slurm_array
from emotiwave_core.execute.executor import (
    Execution,
    Executor,
    JobRunner,
    Witness,
    carry_out,
    in_chunks,
    opened,
    read_slurm,
    work,
)
from emotiwave_core.execute.job import Job, JobAnswer, Program, Resumed, TextFile
from emotiwave_core.execute.process import ProgramProcess, Slot
from emotiwave_core.monitor import SILENT, Monitor

ECHO = "echo_program"
LINES = Program(ECHO, opening="hello")


class Heard(Monitor):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        """Keep a line."""
        self.said.append(text)


class Scripted(Executor):
    """An executor whose jobs end as a list says."""

    def __init__(self, *answers: JobAnswer) -> None:
        self.answers, self.jobs = list(answers), [Job("", LINES)][:0]

    def submit(self, jobs: Any) -> None:
        """Take them."""
        self.jobs += jobs

    def stop(self, job: Job) -> None:
        """It ends as the list says."""

    def ended(self) -> list[tuple[Job, JobAnswer]]:
        """The next one."""
        return [(self.jobs.pop(0), self.answers.pop(0))]

    @property
    def running(self) -> int:
        """All."""
        return len(self.jobs)

    def close(self) -> None:
        """Nothing runs."""


def carried_out(jobs: list[Job], executor: Executor, monitor: Monitor = SILENT) -> dict[str, JobAnswer]:
    """The answers of jobs."""
    answers: dict[str, JobAnswer] = {}

    def ended(job: Job, answer: JobAnswer) -> bool:
        assert job.name not in answers
        answers[job.name] = answer
        return answer.code == 0 or answer.line is not None

    carry_out(jobs, executor, monitor, "Jobs", ended)
    return answers


def test_a_job_is_begun_anew_as_often_as_it_may_be() -> None:
    """A killed process as often as the job says, a lost worker three times; one that cannot work ends all."""
    job, killed, lost, well = Job("a", LINES, retries=1), JobAnswer(-9), JobAnswer(lost="gone"), JobAnswer(0)
    heard = Heard()
    assert carried_out([job], Scripted(killed, well), heard) == {"a": well}
    assert heard.said == ["a: its process was killed (SIGKILL); it is taken up again."]
    assert carried_out([job], Scripted(killed, killed)) == {"a": killed}
    assert carried_out([job], Scripted(lost, lost, lost, well)) == {"a": well}
    assert carried_out([job], Scripted(lost, lost, lost, lost)) == {"a": lost}
    with pytest.raises(ResourceError, match="no disk"):
        carried_out([job], Scripted(JobAnswer(unfit="no disk")))


def test_a_worker_says_what_it_cannot_see(tmp_path: Path) -> None:
    """A folder that is not there, or another version, is one sentence, and no job is begun."""
    token = tmp_path / "token"
    assert f"cannot see {tmp_path}: put it on a disk that all machines share" in Witness(token, ()).problem()
    token.touch()
    assert Witness(token, (tmp_path,)).problem() == ""
    assert f"cannot see {tmp_path / 'no'}: put it" in Witness(token, (tmp_path, tmp_path / "no")).problem()
    assert "not 0.0.0: install the same" in Witness(token, (), "0.0.0").problem()
    (answer,) = work([Job("a", Program(ECHO, ("say", str(tmp_path / "a"))))], Witness(tmp_path / "no", ()))
    assert "cannot see" in answer["unfit"]
    assert not (tmp_path / "a").exists()


def test_a_sentence_is_found_in_what_was_said() -> None:
    """The last line that is an error of ours, else the last line, else the exit code."""
    assert JobAnswer(3, said="x\nError: no file.\nbye\n").sentence == "no file."
    assert JobAnswer(1, said="x\ny\n\n").sentence == "y"
    assert JobAnswer(7).sentence == "it ended with exit code 7"
    told = {
        -9: "SIGKILL",
        -99: "signal 99",
        9: "",
        0: "",
        128: "",
        137: "",
        143: "SIGTERM",
        130: "SIGINT",
        129: "SIGHUP",
    }
    assert {code: JobAnswer(code).killed for code in told} == told


def test_lines_go_in_pieces_and_programs_alone() -> None:
    """Every job is in one piece, and in the order given; there are no more pieces of lines than asked for."""
    alone = [Job("x", Program(ECHO)), Job("y", Program(ECHO))]
    for count, sizes in ((30, [10, 10, 10]), (7, [7]), (17, [8, 8, 1]), (0, [])):
        lines = [Job(f"{n}", LINES, f"{n}") for n in range(count)]
        programs, pieces = in_chunks([*lines, *alone], 3)[:2], in_chunks([*lines, *alone], 3)[2:]
        assert programs == [[job] for job in alone]
        assert [len(piece) for piece in pieces] == sizes
        assert [job for piece in pieces for job in piece] == lines


def test_wrong_choices_are_one_sentence() -> None:
    """What does not go together, or is not written as it should be, names the way out."""
    for execution, sentence in (
        (Execution("rey"), "Did you mean 'ray'"),
        (Execution(address="auto"), "add --executor ray"),
        (Execution(slurm={"time": "3"}), "add --executor slurm"),
    ):
        with pytest.raises(SettingsError, match=sentence):
            execution.checked()
    assert read_slurm(["--mail-user=a=b", "time = 3"]) == {"mail_user": "a=b", "time": "3"}
    for flag in ("time", "=3", "time="):
        with pytest.raises(SettingsError, match="--slurm takes KEY=VALUE"):
            read_slurm([flag])


@pytest.mark.parametrize("name", ["ray", "slurm"])
def test_a_missing_package_names_its_extra(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra there is one sentence with the line that installs it, and nothing is left in the folder."""
    monkeypatch.setitem(sys.modules, {"ray": "ray", "slurm": "submitit"}[name], None)
    with (
        pytest.raises(PackageNotHere, match=rf'pip install "emotiwave\[{name}\]"'),
        opened(Execution(name), tmp_path / "out", [], 1.0, 1, SILENT),
    ):
        pass
    assert list((tmp_path / "out").iterdir()) == []


def test_as_many_processes_as_memory_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    """One for each processor that there is memory for, at least one, and it is said; or one for each GPU."""
    heard = Heard()
    monkeypatch.setattr(local, "processors", lambda: 8)
    for free, count in ((None, 8), (16e9, 8), (7.9e9, 3), (0.1e9, 1)):
        monkeypatch.setattr(local, "free_memory", lambda free=free: free)
        assert local.default_jobs(0, 2e9, heard) == count
    assert heard.said[0] == "3 of 8 processors are used: 7.9 GB of memory are free, and a process is taken to need 2.0."
    assert local.default_jobs(4, 2e9, heard) == 4
    told = room.free_memory()
    assert told is None or 0 <= told < 1e14


def test_each_process_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several GPUs are shared out; one that is named is left to the program; a CPU has none."""
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv(local.VISIBLE, raising=False)
    assert local.visible_gpus("cpu") == []
    assert local.visible_gpus("cuda:1") == ["cuda:1"]
    assert local.visible_gpus("auto") == ["0", "1"]
    with local.LocalExecutor(Execution(jobs=3), 1.0, 9, SILENT) as executor:
        assert [slot.environment for slot in executor._slots] == [{local.VISIBLE: n} for n in "010"]
    monkeypatch.setenv(local.VISIBLE, "5,7")
    assert local.visible_gpus("auto") == ["5", "7"]


@pytest.mark.full
def test_local_jobs_are_carried_out(tmp_path: Path) -> None:
    """Programs with their files, sentences of those that fail, one that is killed once, and lines, in two processes."""
    jobs = [Job(f"{n}", Program(ECHO, ("say", str(tmp_path / f"{n}"), TextFile("x", f"{n}")))) for n in range(3)]
    jobs += [Job("bad", Program(ECHO, ("fail", "no file.")))]
    jobs += [Job("dead", Program(ECHO, ("die", str(tmp_path / "died"))), retries=1)]
    jobs += [Job("resumed", Program(ECHO, ("fail", "x"), Resumed(tmp_path, ("say", str(tmp_path / "r"), "on"))))]
    lines = [Job(name, LINES, name) for name in ("one", "two", "die", "three")]
    with opened(Execution(jobs=2), tmp_path, [], 1.0, 9, SILENT) as executor:
        answers = carried_out(jobs, executor)
        said = carried_out(lines, executor)
    assert [(tmp_path / f"{n}").read_text().split()[-1] for n in range(3)] == ["0", "1", "2"]
    assert (answers["bad"].code, answers["bad"].sentence) == (1, "no file.")
    assert answers["dead"].code == answers["resumed"].code == 0
    assert (tmp_path / "r").read_text().strip() == "on"
    assert said.pop("die").code == -signal.SIGKILL
    assert {name: (answer.line or "").split()[-1] for name, answer in said.items()} == {n: n for n in said}
    assert all((answer.opening or "").endswith(" hello\n") for answer in said.values())


@pytest.mark.full
def test_a_program_that_others_stop_goes_on(tmp_path: Path) -> None:
    """One that keeps its step at a SIGTERM from elsewhere, and leaves, is begun anew as one that was killed is."""
    job = Job("a", Program(ECHO, ("wait", str(tmp_path / "a"))), retries=1)
    heard = Heard()
    with opened(Execution(jobs=1), tmp_path, [], 1.0, 1, heard) as executor:
        runner = JobRunner(executor, heard)
        executor.submit([job])
        settled: list[tuple[Job, JobAnswer]] = []
        end, is_hit = time.monotonic() + 60, False
        while time.monotonic() < end and not settled:
            settled += runner.settled()
            if not is_hit and (tmp_path / "a").exists():
                (process,) = [slot._process for slot in executor._slots]  # type: ignore[attr-defined]
                os.kill(process._process.pid, signal.SIGTERM)
                is_hit = True
    assert [(one.name, answer.code) for one, answer in settled] == [("a", 0)]
    assert heard.said == ["a: its process was killed (SIGTERM); it is taken up again."]


@pytest.mark.full
@pytest.mark.parametrize("what", ["subprocess.Popen", "tempfile.mkdtemp"])
def test_a_system_without_room_for_a_process_is_one_sentence(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no process can be started the reason and the way out are told, and no scratch is left."""

    def refused(*_: object, **__: object) -> None:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(what, refused)
    with pytest.raises(ResourceError, match=r"No process can be started: Resource temporarily unavailable\..*--jobs"):
        ProgramProcess(Program(ECHO, ("say", "x")))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.full
@pytest.mark.parametrize(
    "text", ['[{"code":"0"}]', '[{"said":5}]', '[{"lost":["x"]}]', "[[]]", "{}", '[{"x":1}]', "[" * 9999]
)
def test_answers_that_are_none_are_a_lost_job(text: str, tmp_path: Path) -> None:
    """A file of answers that no worker has written is a job that has ended without an answer."""
    (tmp_path / "answers.json").write_text(text)
    entry = slurm_array.ArrayEntry((Job("a", Program(ECHO)),), Witness(tmp_path, ()), tmp_path / "answers.json")
    (answer,) = slurm_array._answers(SimpleNamespace(state="FAILED", stderr=lambda: None), entry)
    assert answer == JobAnswer(lost="its job has ended without an answer (failed)")


@pytest.mark.full
def test_a_program_that_answers_stays_for_the_next_line(tmp_path: Path) -> None:
    """One process answers all lines of its program; another program has another process."""
    with Slot() as slot:
        answers = [slot.do(Job("", LINES, line)) for line in "ab"] + [slot.do(Job("", Program(ECHO, opening="x"), "c"))]
    pids = [(answer.line or "").split()[0] for answer in answers]
    assert pids[0] == pids[1] != pids[2]
    assert not list(tmp_path.iterdir())


@pytest.mark.full
def test_leaving_keeps_what_is_at_work(tmp_path: Path) -> None:
    """An executor that is left asks its programs to end, waits for what they keep, and begins no other."""
    names = ["a", "b", "c"]
    jobs = [Job(name, Program(ECHO, ("wait", str(tmp_path / name)))) for name in names]
    with opened(Execution(jobs=2), tmp_path, [], 1.0, 9, SILENT) as executor:
        executor.submit(jobs)
        end = time.monotonic() + 60
        while time.monotonic() < end and not all((tmp_path / name).exists() for name in "ab"):
            executor.ended()
        assert executor.running == 2
    assert [(tmp_path / name).read_text() for name in "ab"] == ["kept", "kept"]
    assert not (tmp_path / "c").exists()


@pytest.mark.full
@pytest.mark.parametrize(
    "execution",
    [Execution(jobs=2), Execution("slurm", slurm={"cluster": "local"})],
    ids=lambda execution: execution.executor,
)
def test_one_job_is_stopped_alone(execution: Execution, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It keeps what it is at, is answered for once, and is not begun anew; the others go on."""
    if execution.executor == "slurm":
        pytest.importorskip("submitit", reason="the extra [slurm] is not installed")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    stopped, other = (Job(name, Program(ECHO, ("wait", str(tmp_path / name))), retries=1) for name in "ab")
    heard = Heard()
    with opened(execution, tmp_path / "out", [], 1.0, 9, heard) as executor:
        runner = JobRunner(executor, heard)
        executor.submit([stopped, other])
        end = time.monotonic() + 120
        while time.monotonic() < end and not all((tmp_path / name).exists() for name in "ab"):
            assert list(runner.settled()) == []
        runner.stop(stopped)
        settled: list[tuple[Job, JobAnswer]] = []
        while time.monotonic() < end and not settled:
            settled += runner.settled()
        assert [job.name for job, _ in settled] == ["a"]
        assert ((tmp_path / "a").read_text(), (tmp_path / "b").read_text() == "kept") == ("kept", False)
        executor.submit([Job("c", Program(ECHO, ("say", str(tmp_path / "c"), "x")))])
        while time.monotonic() < end and not (tmp_path / "c").exists():
            executor.ended()
    assert (tmp_path / "c").exists()
    assert not [line for line in heard.said if "taken up again" in line]


@pytest.mark.full
def test_a_program_ends_with_its_parent(tmp_path: Path) -> None:
    """However the parent dies, its program is asked to end: no run goes on unseen."""
    code = (
        "from emotiwave_core.execute.process import ProgramProcess\nfrom emotiwave_core.execute.job import Program\n"
        f"ProgramProcess(Program('{ECHO}', ('wait', '{tmp_path / 'a'}')))\nimport time\ntime.sleep(600)"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    parent = subprocess.Popen([sys.executable, "-c", code], env=environment)
    end = time.monotonic() + 60
    while time.monotonic() < end and not (tmp_path / "a").exists():
        time.sleep(0.05)
    parent.kill()
    parent.wait()
    while time.monotonic() < end and (tmp_path / "a").read_text() != "kept":
        time.sleep(0.05)
    assert (tmp_path / "a").read_text() == "kept"


@pytest.mark.full
def test_a_process_that_does_not_end_is_killed(tmp_path: Path) -> None:
    """After its patience a stopped program is killed, and its scratch is gone."""
    process = ProgramProcess(Program(ECHO, ("wait", str(tmp_path / "a"))))
    process.end(0.0)
    assert process.has_ended()
    assert not process._scratch.exists()


@pytest.mark.full
@pytest.mark.parametrize("cluster", ["local", "debug"])
def test_an_array_of_slurm_carries_jobs_out(cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By submitit's own stand-ins for Slurm: programs, lines and deaths are answered as by local processes."""
    pytest.importorskip("submitit", reason="the extra [slurm] is not installed")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # where the program of these tests is
    jobs = [Job(f"{n}", Program(ECHO, ("say", str(tmp_path / f"{n}"), TextFile("x", f"{n}")))) for n in range(2)]
    jobs += [Job("bad", Program(ECHO, ("fail", "no file.")))]
    jobs += [Job("dead", Program(ECHO, ("die", str(tmp_path / "died"))), retries=1)]
    jobs += [Job(name, LINES, name) for name in ("one", "two")]
    out = tmp_path / "out"
    with opened(Execution("slurm", slurm={"cluster": cluster}), out, [tmp_path], 1.0, 9, SILENT) as executor:
        answers = carried_out(jobs, executor)
    assert [(tmp_path / f"{n}").read_text().split()[-1] for n in range(2)] == ["0", "1"]
    assert answers["bad"].sentence == "no file."
    assert answers["dead"].code == 0
    assert (answers["two"].line or "").endswith(" two\n")
    assert list(out.iterdir()) == []


@pytest.mark.full
def test_a_job_whose_time_is_over_is_queued_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the signal that Slurm sends before the end its program keeps what it is at; queued again, the job ends."""
    pytest.importorskip("submitit", reason="the extra [slurm] is not installed")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    job = Job("a", Program(ECHO, ("wait", str(tmp_path / "a"))))
    with opened(Execution("slurm", slurm={"cluster": "local"}), tmp_path / "out", [], 1.0, 1, SILENT) as executor:
        executor.submit([job])
        end = time.monotonic() + 120
        while time.monotonic() < end and not (tmp_path / "a").exists():
            assert executor.ended() == []
        (entry,) = [int(path.parent.name) for path in Path("/proc").glob("[0-9]*/cmdline") if is_entry(path, tmp_path)]
        os.kill(entry, signal.SIGUSR2)
        found: list[tuple[Job, JobAnswer]] = []
        while time.monotonic() < end and not found:
            found = executor.ended()
    assert [(job.name, answer.code) for job, answer in found] == [("a", 0)]
    assert (tmp_path / "a").read_text() == "kept"


def is_entry(cmdline: Path, folder: Path) -> bool:
    """True of the process of an entry of an array whose folder is in this one."""
    try:
        words = cmdline.read_bytes()
    except OSError:
        return False
    return b"submitit.core._submit" in words and str(folder).encode() in words


def test_wrong_options_of_slurm_are_one_sentence(tmp_path: Path) -> None:
    """An option that Slurm does not have names the nearest one; without Slurm, the way to try it."""
    pytest.importorskip("submitit", reason="the extra [slurm] is not installed")
    for slurm, error, sentence in (
        ({"cluster": "local", "partitoin": "x"}, SettingsError, "Did you mean 'partition'"),
        ({"cluster": "remote"}, SettingsError, "one of slurm, local, debug"),
        ({}, ResourceError, "There is no Slurm on this machine"),
    ):
        with pytest.raises(error, match=sentence), opened(Execution("slurm", slurm=slurm), tmp_path, [], 1, 1, SILENT):
            pass
