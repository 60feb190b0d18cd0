import socket
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from embedded import EmbeddedServiceError, Services, server
from embedded.account import service_account
from embedded.processes import all_gone, is_alive, processes_in
from embedded.tests.checkouts import (
    USER,
    connect,
    execute,
    postmaster,
    redis_process,
    script,
    unrelated_process,
    value,
)
from embedded.tests.test_use import RUNNING, STOPPED


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def ask_redis(services: Services, command: str) -> str:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(services.redis.socket))
        connection.sendall(command.encode() + b"\r\n")
        return connection.recv(1000).decode().strip()


def kill(process: psutil.Process) -> None:
    process.kill()
    assert all_gone([process], patience=10)


def test_what_a_killed_user_left_running_ends_with_the_next_user(
    services: Services, local: Path
) -> None:
    with script(USER, local) as killed:
        assert killed.line() == "in"
        before = postmaster(services).pid
        killed.kill()
    left = services.state()

    with services.in_use():
        assert postmaster(services).pid == before

    assert left == RUNNING
    assert services.state() == STOPPED


def test_nothing_is_lost_when_both_servers_are_killed(local: Path) -> None:
    services = Services(local)
    services.start()
    execute(services, "CREATE TABLE note AS SELECT 'kept' AS text")
    assert ask_redis(services, "SET note kept") == "+OK"

    kill(postmaster(services))
    kill(redis_process(services))
    killed = services.state()
    services.start()

    assert killed == STOPPED
    assert value(services, "SELECT text FROM note") == "kept"
    assert ask_redis(services, "GET note") == "$4\r\nkept"


def test_a_session_that_outlives_the_killed_server_is_ended(services: Services) -> None:
    services.start()
    connection = connect(services)
    # A busy session looks for its server only between two queries.
    connection.pgconn.send_query(b"DO 'BEGIN LOOP END LOOP; END'")
    backend = psutil.Process(connection.info.backend_pid)
    kill(postmaster(services))
    left = is_alive(backend)
    stopped = services.state()

    services.start()
    connection.close()

    assert (left, stopped["postgres"]) == (True, "stopped")
    assert not is_alive(backend)
    assert services.state() == RUNNING


def test_a_stale_pid_file_that_names_another_process_is_harmless(services: Services) -> None:
    services.start()
    pid_file = services.postgres.folder / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    kill(postmaster(services))

    with unrelated_process(uid=service_account().uid) as unrelated:
        text = "\n".join([str(unrelated.pid), *lines[1:], ""])
        pid_file.write_text(text)
        lock = services.postgres.socket.with_name(services.postgres.socket.name + ".lock")
        lock.write_text(text)
        stopped = services.state()
        services.start()
        running = services.state()
        services.stop()

        assert (stopped["postgres"], running) == ("stopped", RUNNING)
        assert is_alive(unrelated)


def test_a_starter_killed_while_it_makes_the_database_leaves_no_half_of_one(
    services: Services, local: Path
) -> None:
    with script("services.start()", local) as killed:
        assert eventually(lambda: bool([*local.glob("**/postgres-*/cluster/global")]))
        killed.kill()
    services.start()
    answer = value(services, "SELECT 1")

    def nothing_is_left_after_a_restart() -> bool:
        services.stop()
        services.start()
        return [path.name for path in local.glob("postgres*")] == ["postgres"]

    assert answer == 1
    # The killed starter's initdb may still write for a moment.
    assert eventually(nothing_is_left_after_a_restart)


def test_a_server_whose_socket_was_deleted_is_restarted(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_BIND_PATIENCE", 0)
    services.start()
    before = (postmaster(services).pid, redis_process(services).pid)
    services.postgres.socket.unlink()
    services.redis.socket.unlink()

    services.start()

    assert services.state() == RUNNING
    assert not {postmaster(services).pid, redis_process(services).pid} & {*before}


def test_a_server_that_cannot_start_is_quoted(services: Services) -> None:
    services.start()
    services.stop()
    (services.postgres.folder / "PG_VERSION").write_text("9\n")

    with pytest.raises(EmbeddedServiceError, match=r"(?s)PostgreSQL ended.*not compatible"):
        services.start()

    assert processes_in(services.postgres.folder, "postgres") == []
    (services.postgres.folder / "PG_VERSION").write_text("18\n")


def test_a_database_without_its_password_is_not_started(services: Services, local: Path) -> None:
    services.start()
    services.stop()
    (local / "secrets" / "postgres").unlink()

    with pytest.raises(EmbeddedServiceError, match="has lost its password"):
        services.start()

    assert services.state() == STOPPED


def test_the_servers_do_not_hear_the_terminal_of_the_starter(services: Services) -> None:
    services.start()

    for process in (postmaster(services), redis_process(services)):
        assert process.terminal() is None
        assert process.ppid() != psutil.Process().pid
