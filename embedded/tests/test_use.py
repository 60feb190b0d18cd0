import os
import stat
from pathlib import Path

import psycopg
import pytest

from embedded import EmbeddedServiceError, Services
from embedded.tests.checkouts import (
    USER,
    connect,
    execute,
    postmaster,
    redis_process,
    script,
    temporary_checkout,
    value,
)

STOPPED = {"postgres": "stopped", "redis": "stopped"}
RUNNING = {"postgres": "running", "redis": "running"}


def test_making_services_touches_nothing_on_disk(local: Path) -> None:
    services = Services(local)

    assert services.state() == STOPPED
    assert not local.exists()


def test_data_are_kept_over_a_restart(local: Path) -> None:
    services = Services(local)
    services.start()
    execute(services, "CREATE TABLE note AS SELECT 'kept' AS text")

    services.stop()
    stopped = services.state()
    services.start()

    assert stopped == STOPPED
    assert services.state() == RUNNING
    assert value(services, "SELECT text FROM note") == "kept"


def test_a_second_start_and_a_second_stop_change_nothing(services: Services) -> None:
    services.start()
    before = (postmaster(services).pid, redis_process(services).pid)

    services.start()
    after = (postmaster(services).pid, redis_process(services).pid)
    services.stop()
    services.stop()

    assert after == before
    assert services.state() == STOPPED


def test_the_database_is_the_one_we_promise(services: Services) -> None:
    with services.in_use():
        execute(services, "CREATE EXTENSION vector")

        version = str(value(services, "SHOW server_version"))
        vector = value(services, "SELECT extversion FROM pg_extension WHERE extname = 'vector'")

        assert version.startswith("18.")
        assert vector == "0.8.5"
        assert value(services, "SHOW listen_addresses") == ""
        assert value(services, "SHOW server_encoding") == "UTF8"
        assert value(services, "SHOW data_checksums") == "on"
        assert value(services, "SELECT lower('ÄÖÜ')") == "äöü"


def test_a_durable_database_waits_for_the_disk(local: Path) -> None:
    services = Services(local)
    with services.in_use():
        assert value(services, "SHOW fsync") == "on"
        assert value(services, "SHOW synchronous_commit") == "on"


def test_a_durable_database_notes_what_takes_long(local: Path) -> None:
    services = Services(local)
    with services.in_use():
        value(services, "SELECT pg_sleep(1.1)")

    assert "SELECT pg_sleep(1.1)" in (local / "log" / "postgres.log").read_text()


def test_a_wrong_password_is_refused(services: Services) -> None:
    with services.in_use():
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            connect(services, password="wrong")
        with pytest.raises(psycopg.OperationalError, match="no password supplied"):
            connect(services, password="")


def test_only_the_last_user_stops_the_services(services: Services, local: Path) -> None:
    with script(USER, local) as first, script(USER, local) as second:
        assert (first.line(), second.line()) == ("in", "in")

        assert first.finish() == "out"
        after_first = services.state()
        assert second.finish() == "out"

    assert after_first == RUNNING
    assert services.state() == STOPPED


def test_use_may_be_nested(services: Services) -> None:
    with services.in_use():
        with services.in_use():
            pass
        assert services.state() == RUNNING

    assert services.state() == STOPPED


def test_use_ends_when_the_block_fails(services: Services) -> None:
    with pytest.raises(ZeroDivisionError), services.in_use():
        _ = 1 / 0

    assert services.state() == STOPPED


def test_four_processes_that_start_at_once_share_one_server(
    services: Services, local: Path
) -> None:
    code = "services.start(); print(services.postgres.process().pid, services.redis.process().pid)"
    with (
        script(code, local) as first,
        script(code, local) as second,
        script(code, local) as third,
        script(code, local) as fourth,
    ):
        seen = {each.finish() for each in (first, second, third, fourth)}

    assert seen == {f"{postmaster(services).pid} {redis_process(services).pid}"}


def test_two_checkouts_run_side_by_side(services: Services) -> None:
    with temporary_checkout() as other_local:
        other = Services(other_local, durable=False)
        with services.in_use(), other.in_use():
            execute(services, "CREATE TABLE mine ()")

            assert services.postgres.host != other.postgres.host
            assert value(services, "SELECT to_regclass('mine')::text") == "mine"
            assert value(other, "SELECT to_regclass('mine')::text") is None
        assert other.state() == STOPPED


def test_a_secret_is_made_once_and_only_for_its_owner(local: Path) -> None:
    code = "print(services.password('app'))"
    with script(code, local) as first, script(code, local) as second:
        seen = {first.finish(), second.finish()}

    secret = Services(local).password("app")
    assert seen == {secret}
    assert len(secret) == 64
    assert Services(local).password("owner") != secret
    assert stat.S_IMODE((local / "secrets").stat().st_mode) == 0o700
    assert stat.S_IMODE((local / "secrets" / "app").stat().st_mode) == 0o600
    assert sorted(path.name for path in (local / "secrets").iterdir()) == ["app", "owner"]


def test_a_secret_must_have_a_plain_name(local: Path) -> None:
    with pytest.raises(EmbeddedServiceError, match="is no name for a secret"):
        Services(local).password("../app")

    assert not local.exists()


def test_the_sockets_lie_in_a_short_closed_folder(services: Services) -> None:
    folder = Path(services.postgres.host)
    with services.in_use():
        assert stat.S_IMODE(folder.lstat().st_mode) == 0o700
        assert folder.name.startswith(f"commonplace-{os.geteuid()}-")
        assert len(str(services.postgres.socket)) < 100
        assert services.redis.socket == folder / "redis.sock"


def test_servers_take_nothing_from_the_environment_of_the_starter(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGOPTIONS", "-c nonsense=1")
    monkeypatch.setenv("PGDATA", "/nonexistent")
    monkeypatch.setenv("COMMONPLACE_SUPERVISED", "somewhere")

    services.start()

    for process in (postmaster(services), redis_process(services)):
        assert "COMMONPLACE_SUPERVISED" not in process.environ()
