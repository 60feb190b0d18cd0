import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from embedded import EmbeddedServiceError
from embedded.processes import all_gone, is_alive
from embedded.supervisor import AlreadyRunningError, Program, end_orphans, supervise
from embedded.tests.checkouts import PYTHON_ENVIRONMENT, unrelated_process

MAIN = """
import json, sys, time
from pathlib import Path
from embedded.supervisor import Program, supervise
local, notes, programs = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
begun = time.monotonic()
sys.exit(supervise(
    [Program(name, ["/bin/sh", "-c", command, "sh", str(notes)]) for name, command in programs],
    local=local,
    when_ready=lambda: (notes / "ready").open("a").write("ready\\n"),
    is_ready=lambda: (notes / "web").exists(),
))
"""

# Notes its own number, starts a grandchild and another one in a session of its own.
NEST = """
sleep 300 & echo $! >> "$1/{name}.all"
setsid sleep 300 & echo $! >> "$1/{name}.all"
echo $$ >> "$1/{name}.all"; echo $$ > "$1/{name}"
wait
"""


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    folder.mkdir()
    return folder


@contextmanager
def supervisor(
    local: Path, notes: Path, *programs: tuple[str, str]
) -> Iterator[subprocess.Popen[str]]:
    """A supervisor in a process of its own; it and what it left is gone after the block."""
    process = subprocess.Popen(
        [sys.executable, "-c", MAIN, str(local), str(notes), json.dumps(programs)],
        env=PYTHON_ENVIRONMENT,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        # Children hold its error stream open, so its end is no sign of the supervisor's.
        process.wait()
        end_orphans(local)
        process.communicate()


def wait_for(path: Path, lines: int = 1) -> list[int]:
    """The numbers in the file, once there are that many."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if path.exists() and len(path.read_text().split()) >= lines:
            return [int(number) for number in path.read_text().split()]
        time.sleep(0.02)
    raise AssertionError(path)


def processes(numbers: list[int]) -> list[psutil.Process]:
    return [psutil.Process(number) for number in numbers]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stop_leaves_no_child_and_no_grandchild(
    tmp_path: Path, notes: Path, number: signal.Signals
) -> None:
    programs = [(name, NEST.format(name=name)) for name in ("web", "worker")]
    with supervisor(tmp_path, notes, *programs) as running:
        started = [each for name, _ in programs for each in wait_for(notes / f"{name}.all", 3)]
        family = processes(started)
        running.send_signal(number)
        _, errors = running.communicate(timeout=20)

        assert running.returncode == 0
        assert errors == ""
        assert [each for each in family if is_alive(each)] == []


def test_programs_stop_in_reverse_order(tmp_path: Path, notes: Path) -> None:
    trap = """trap 'echo {name} >> "$1/order"; exit' TERM; echo $$ > "$1/{name}"
        while :; do sleep 0.05; done"""
    programs = [(name, trap.format(name=name)) for name in ("web", "worker", "beat")]
    with supervisor(tmp_path, notes, *programs) as running:
        for name, _ in programs:
            wait_for(notes / name)
        running.send_signal(signal.SIGINT)
        running.communicate(timeout=20)

    assert (notes / "order").read_text().split() == ["beat", "worker", "web"]


def test_a_second_interrupt_kills_at_once(tmp_path: Path, notes: Path) -> None:
    deaf = """trap '' TERM; echo $$ > "$1/web"; while :; do sleep 0.05; done"""
    with supervisor(tmp_path, notes, ("web", deaf)) as running:
        child = processes(wait_for(notes / "web"))
        begun = time.monotonic()
        running.send_signal(signal.SIGINT)
        time.sleep(0.3)
        survived = is_alive(child[0])
        running.send_signal(signal.SIGINT)
        running.communicate(timeout=20)

        assert survived
        assert time.monotonic() - begun < 5
        assert not is_alive(child[0])


def test_a_killed_program_starts_again(tmp_path: Path, notes: Path) -> None:
    with supervisor(tmp_path, notes, ("web", NEST.format(name="web"))) as running:
        grandchild, _, first = wait_for(notes / "web.all", 3)
        family = processes([grandchild, first])
        psutil.Process(first).kill()
        second = wait_for(notes / "web.all", 6)[-1]

        assert all_gone(family, patience=5)
        assert is_alive(psutil.Process(second))
        running.send_signal(signal.SIGTERM)
        _, errors = running.communicate(timeout=20)

    assert second != first
    assert errors == "web ended with code -9; it starts again in 0.5 s.\n"


def test_the_pause_before_a_restart_grows(tmp_path: Path, notes: Path) -> None:
    with supervisor(tmp_path, notes, ("web", 'echo 1 >> "$1/web"; exit 3')) as running:
        wait_for(notes / "web", 3)
        running.send_signal(signal.SIGTERM)
        _, errors = running.communicate(timeout=20)

    assert errors.splitlines()[:2] == [
        "web ended with code 3; it starts again in 0.5 s.",
        "web ended with code 3; it starts again in 1 s.",
    ]


def test_readiness_is_announced_once(tmp_path: Path, notes: Path) -> None:
    with supervisor(tmp_path, notes, ("web", NEST.format(name="web"))) as running:
        wait_for(notes / "web")
        deadline = time.monotonic() + 10
        while not (notes / "ready").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.6)
        running.send_signal(signal.SIGTERM)
        running.communicate(timeout=20)

    assert (notes / "ready").read_text() == "ready\n"


def test_what_a_killed_supervisor_left_ends_at_the_next_start(tmp_path: Path, notes: Path) -> None:
    nest = ("web", NEST.format(name="web"))
    with unrelated_process() as unrelated, supervisor(tmp_path, notes, nest) as first:
        orphans = processes(wait_for(notes / "web.all", 3))
        first.kill()
        first.wait()
        left = [is_alive(each) for each in orphans]
        with supervisor(tmp_path, notes, nest) as second:
            wait_for(notes / "web.all", 6)
            remaining = [each for each in orphans if is_alive(each)]
            second.send_signal(signal.SIGTERM)
            second.communicate(timeout=20)

        assert left == [True, True, True]
        assert remaining == []
        assert is_alive(unrelated)


def test_orphans_are_counted_and_those_of_another_checkout_stay(
    tmp_path: Path, notes: Path
) -> None:
    nest = ("web", NEST.format(name="web"))
    with supervisor(tmp_path / "one", notes, nest) as first:
        orphans = processes(wait_for(notes / "web.all", 3))
        while_alive = end_orphans(tmp_path / "one")
        first.kill()
        first.wait()

        elsewhere = end_orphans(tmp_path / "on")
        left = [is_alive(each) for each in orphans]
        here = end_orphans(tmp_path / "one")

        assert (while_alive, elsewhere, here) == (0, 0, 3)
        assert left == [True, True, True]
        assert [each for each in orphans if is_alive(each)] == []


def test_a_second_supervisor_is_refused(tmp_path: Path, notes: Path) -> None:
    with supervisor(tmp_path, notes, ("web", NEST.format(name="web"))) as first:
        child = processes(wait_for(notes / "web"))[0]

        with pytest.raises(AlreadyRunningError, match=rf"already running \(process {first.pid}\)"):
            supervise([], local=tmp_path, when_ready=None, is_ready=lambda: True)

        assert is_alive(child)
        assert first.poll() is None


def test_a_program_that_does_not_exist_stops_the_others(tmp_path: Path, notes: Path) -> None:
    programs = [
        Program("web", ["/bin/sh", "-c", NEST.format(name="other"), "sh", str(notes)]),
        Program("live", ["/nonexistent/live"]),
    ]

    with pytest.raises(EmbeddedServiceError, match="The program live cannot be started"):
        supervise(programs, local=tmp_path, when_ready=None, is_ready=lambda: True)

    assert end_orphans(tmp_path) == 0
