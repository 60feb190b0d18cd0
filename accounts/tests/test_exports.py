"""Exports: asked for, built in flat memory, taken once, and gone after their time."""

import hashlib
import io
import json
import tracemalloc
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID
from zipfile import ZipFile

import pytest
from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.utils import timezone
from rest_framework.test import APIClient

from accounts import exporting
from accounts.choices import AccountStatus, ExportStatus, Role
from accounts.models import ExportRequest, User
from accounts.services.erasures import CONFIRMATION, request_erasure
from accounts.services.exports import make_download_link, request_export, take_export
from accounts.services.sessions import revoke_other_sessions
from accounts.services.users import change_standing
from accounts.tasks import build_export, keep_exports
from accounts.tests.factories import client_of, logged_in_client_of, make_user
from accounts.tests.phones import (
    ADDRESS,
    PASSWORD,
    Phone,
    code_in,
    deliver_mail,
    person_of,
    registered,
)
from audit.choices import SecurityKind
from audit.models import SecurityEvent
from common import privacy
from common.ids import uuid7
from common.queue import ACTOR_HEADER
from common.storage import names_below
from common.tenancy import acting_as, as_operator
from common.tests.broker import empty_queue, queued_messages
from common.tests.races import at_once
from tests.population import populate

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "operator"])

EXPORTS = "/api/v1/account/exports/"
NEW_PASSWORD = "a quite different horse"


def build(row: ExportRequest) -> ExportRequest:
    build_export.apply(args=(str(row.pk),), headers={ACTOR_HEADER: str(row.user_id)}, throw=True)
    return row_of(row.pk)


def row_of(export_id: UUID) -> ExportRequest:
    with as_operator("test"):
        return ExportRequest.objects.get(pk=export_id)


def change(row: ExportRequest, **values: Any) -> None:
    with as_operator("test"):
        ExportRequest.objects.filter(pk=row.pk).update(**values)


def ready_export(user: User) -> ExportRequest:
    return build(request_export(user_id=user.pk))


def opened(row: ExportRequest) -> ZipFile:
    with default_storage.open(row.stored_as, "rb") as file:
        return ZipFile(io.BytesIO(file.read()))


def files_of(user: User) -> list[str]:
    return list(names_below(f"exports/{user.pk}"))


def path_of(url: str) -> str:
    assert url.startswith(settings.SITE_URL)
    return urlsplit(url).path


# --- Asking -----------------------------------------------------------------------------------


def test_whoever_is_freshly_logged_in_asks_and_a_worker_is_told() -> None:
    ada = make_user()
    empty_queue()

    answer = logged_in_client_of(ada).post(EXPORTS)

    said = answer.json()
    assert (answer.status_code, said["status"]) == (202, ExportStatus.QUEUED)
    assert answer["Location"] == f"{EXPORTS}{said['id']}/"
    assert client_of(ada).get(answer["Location"]).json() == said
    assert [row["id"] for row in client_of(ada).get(EXPORTS).json()["results"]] == [said["id"]]
    assert client_of(make_user()).get(answer["Location"]).status_code == 404
    (message,) = queued_messages()
    assert (message["task"], message[ACTOR_HEADER]) == (build_export.name, str(ada.pk))


def test_a_token_and_an_old_login_get_neither_an_export_nor_a_link() -> None:
    ada = make_user()
    row = ready_export(ada)
    old = timezone.now() - timedelta(seconds=settings.FRESH_LOGIN_SECONDS + 1)
    clients = {
        "login_required": client_of(ada),
        "reauthentication_required": logged_in_client_of(ada, proved_at=old),
    }

    for code, client in clients.items():
        for path in (EXPORTS, f"{EXPORTS}{row.pk}/download-link/"):
            answer = client.post(path)
            assert (answer.status_code, answer.json()["code"]) == (403, code)
    with as_operator("test"):
        assert ExportRequest.objects.count() == 1
    assert row_of(row.pk).link_digest is None


def test_of_many_who_ask_at_once_one_export_is_queued() -> None:
    ada = make_user()

    answers = at_once([lambda: request_export(user_id=ada.pk)] * 6)

    refused = [answer for answer in answers if isinstance(answer, Exception)]
    assert [getattr(error, "code", error) for error in refused] == ["export_under_way"] * 5
    with as_operator("test"):
        assert ExportRequest.objects.count() == 1


# --- Building ---------------------------------------------------------------------------------


def test_the_zip_has_every_table_opened_every_file_and_a_manifest(tmp_path: Path) -> None:
    ada, _ = populate(tmp_path, "ada"), populate(tmp_path, "bob")
    with acting_as(ada.pk):
        ada.full_name = "Ada Lovelace"
        ada.save(update_fields=["full_name"])

    row = ready_export(ada)

    assert row.status == ExportStatus.READY
    assert row.stored_as.startswith(f"exports/{ada.pk}/")
    lasts = row.expires_at - row.ready_at  # type: ignore[operator]  # it is ready
    assert lasts == timedelta(days=settings.EXPORT_DAYS)
    with opened(row) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        assert (manifest["format_version"], manifest["user_id"]) == ("2.0", str(ada.pk))
        tables = {
            name: json.loads(archive.read(table["file"]))
            for name, table in manifest["tables"].items()
        }
        listed = [*manifest["tables"].values(), *manifest["files"]]
        for entry in listed:
            content = archive.read(entry["file"])
            assert (len(content), hashlib.sha256(content).hexdigest()) == (
                entry["size"],
                entry["sha256"],
            )
        assert {entry["file"] for entry in listed} | {"manifest.json"} == set(archive.namelist())
    (user,) = tables["accounts_user"]
    assert (user["id"], user["username"]) == (str(ada.pk), "ada")
    assert user["full_name"] == "Ada Lovelace"
    assert "password" not in user
    assert [line["email"] for line in tables["account_emailaddress"]] == ["ada@example.org"]
    assert len(tables["dedup_message"]) == 2
    assert [line["content"] for line in tables["dedup_revision"]] == [
        [{"type": "text", "text": "How are you"}],
        [{"type": "text", "text": "I am ada"}],
    ]
    for rows in tables.values():
        assert {row.get("user_id", str(ada.pk)) for row in rows} <= {str(ada.pk)}
    assert set(manifest["left_out"]) == {
        table.name for table in privacy.personal_tables() if table.not_exported
    } | {files.folder for files in privacy.personal_files() if files.not_exported}
    assert {table.name for table in privacy.personal_tables() if not table.not_exported} == set(
        tables
    )
    # Their names are their sums.
    whole = {name.rpartition("/")[2] for name in names_below(f"artifacts/{ada.pk}")}
    assert {entry["sha256"] for entry in manifest["files"]} == whole
    assert {entry["rows"] for entry in manifest["tables"].values()} >= {1, 2}


def test_built_twice_late_or_after_it_is_gone_there_is_one_file() -> None:
    ada = make_user()
    row = ready_export(ada)

    again = build(row)
    build_export.apply(args=(str(uuid7()),), headers={ACTOR_HEADER: str(ada.pk)}, throw=True)

    assert (again.stored_as, again.attempts) == (row.stored_as, 1)
    assert files_of(ada) == [row.stored_as]


def test_built_by_many_at_once_there_is_one_file() -> None:
    ada = make_user()
    row = request_export(user_id=ada.pk)

    at_once([lambda: exporting.run_export(row.pk, ada.pk)] * 4)

    assert files_of(ada) == [row_of(row.pk).stored_as]
    assert row_of(row.pk).attempts == 1


class Killed(BaseException):
    """As if the process had ended."""


def test_a_killed_build_begins_anew_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    ada = make_user()
    row = request_export(user_id=ada.pk)

    def kill(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(exporting, "_is_ready", kill)
        with pytest.raises(Killed):
            exporting.run_export(row.pk, ada.pk)
    default_storage.save(f"drafts/exports-{ada.pk}-half.zip", ContentFile(b"half"))
    assert len(files_of(ada)) == 1
    change(row, touched_at=timezone.now() - exporting.PATIENCE - timedelta(seconds=1))
    empty_queue()

    keep_exports.apply(throw=True)

    (message,) = queued_messages()
    assert message["task"] == build_export.name
    built = build(row)
    assert (built.status, built.attempts) == (ExportStatus.READY, 2)
    assert files_of(ada) == [built.stored_as]
    assert list(names_below("drafts")) == []


def test_a_builder_that_was_taken_for_dead_gives_its_file_to_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ada = make_user()
    row = request_export(user_id=ada.pk)
    write = exporting.write_zip

    def slow(*arguments: Any) -> None:
        write(*arguments)
        if row_of(row.pk).attempts == 1:
            change(row, touched_at=timezone.now() - exporting.PATIENCE - timedelta(seconds=1))
            keep_exports.apply(throw=True)
            exporting.run_export(row.pk, ada.pk)

    monkeypatch.setattr(exporting, "write_zip", slow)
    exporting.run_export(row.pk, ada.pk)

    assert (row_of(row.pk).status, row_of(row.pk).attempts) == (ExportStatus.READY, 2)
    assert files_of(ada) == [row_of(row.pk).stored_as]


def test_what_never_becomes_ready_has_failed_and_another_can_be_asked_for() -> None:
    ada = make_user()
    row = request_export(user_id=ada.pk)
    long_ago = timezone.now() - exporting.PATIENCE - timedelta(seconds=1)
    change(row, attempts=exporting.MOST_ATTEMPTS, touched_at=long_ago)
    empty_queue()

    keep_exports.apply(throw=True)

    assert row_of(row.pk).status == ExportStatus.FAILED
    assert queued_messages() == []
    assert request_export(user_id=ada.pk).pk != row.pk


def test_a_large_table_is_never_in_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ada = make_user()
    line: dict[str, Any] = {"words": "x" * 10_000}

    def rows(count: int) -> Callable[..., Any]:
        return lambda *_: (dict(line) for _ in range(count))

    def peak(count: int) -> int:
        monkeypatch.setattr(privacy.PersonalTable, "exported_rows", rows(count))
        tracemalloc.start()
        try:
            with (tmp_path / "zip").open("w+b") as file:
                exporting.write_zip(ada.pk, file, lambda: None)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(400) < peak(20) + 1_000_000


# --- Taking -----------------------------------------------------------------------------------


def test_a_link_gives_the_file_once_and_needs_no_token() -> None:
    ada = make_user()
    row = ready_export(ada)
    answer = logged_in_client_of(ada).post(f"{EXPORTS}{row.pk}/download-link/")
    link = answer.json()
    assert (answer.status_code, answer["Cache-Control"]) == (200, "private, no-store")
    assert APIClient().head(path_of(link["url"])).status_code == 405

    taken = APIClient().get(path_of(link["url"]))

    content = b"".join(taken)
    assert taken.status_code == 200
    assert hashlib.sha256(content).digest() == bytes(row.sha256 or b"")
    assert (taken["Content-Type"], taken["Cache-Control"]) == ("application/zip", "no-store")
    assert taken["Content-Disposition"].startswith("attachment;")
    again = APIClient().get(path_of(link["url"]))
    assert (again.status_code, again.json()["code"]) == (404, "unknown_link")
    assert row_of(row.pk).taken_at is not None
    with as_operator("test"):
        (event,) = SecurityEvent.objects.filter(kind=SecurityKind.EXPORT_TAKEN)
    assert (event.user_id, event.row_id, event.role) == (ada.pk, row.pk, "app")


def test_of_sixteen_who_come_with_the_link_at_once_one_gets_the_file() -> None:
    ada = make_user()
    row = ready_export(ada)
    token = make_download_link(user_id=ada.pk, export_id=row.pk).url.split("/")[-2]

    def take() -> bool:
        _, file = take_export(token=token)
        file.close()
        return True

    outcomes = at_once([take] * 16)

    assert outcomes.count(True) == 1
    refused = [outcome for outcome in outcomes if outcome is not True]
    assert {getattr(error, "code", error) for error in refused} == {"unknown_link"}
    with as_operator("test"):
        assert SecurityEvent.objects.filter(kind=SecurityKind.EXPORT_TAKEN).count() == 1


def test_a_second_link_ends_the_first_and_an_old_one_opens_nothing() -> None:
    ada = make_user()
    row = ready_export(ada)
    first = make_download_link(user_id=ada.pk, export_id=row.pk)
    second = make_download_link(user_id=ada.pk, export_id=row.pk)
    assert APIClient().get(path_of(first.url)).status_code == 404
    change(row, link_expires_at=timezone.now())

    assert APIClient().get(path_of(second.url)).status_code == 404
    assert row_of(row.pk).taken_at is None


def reset(phone: Phone) -> None:
    owner = Phone("owner")
    owner.call("post", "auth/password/request", {"email": ADDRESS})
    (message,) = deliver_mail()
    owner.call("post", "auth/password/reset", {"key": code_in(message), "password": NEW_PASSWORD})


def change_password(phone: Phone) -> None:
    change = {"current_password": PASSWORD, "new_password": NEW_PASSWORD}
    assert phone.call("post", "account/password/change", change).status_code == 200


def revoke_all(phone: Phone) -> None:
    revoke_other_sessions(user_id=person_of(phone).pk, kept=None)


def suspend(phone: Phone) -> None:
    user_id = person_of(phone).pk
    with as_operator("test"):
        for status in (AccountStatus.SUSPENDED, AccountStatus.ACTIVE):
            change_standing(user_id=user_id, role=Role.USER, status=status)


def erase(phone: Phone) -> None:
    request_erasure(user_id=person_of(phone).pk, confirmation=CONFIRMATION)


@pytest.mark.parametrize("end", [reset, change_password, revoke_all, suspend, erase])
def test_a_link_ends_with_every_login_of_the_account(end: Callable[[Phone], None]) -> None:
    phone = registered()
    ada = person_of(phone)
    row = ready_export(ada)
    link = make_download_link(user_id=ada.pk, export_id=row.pk)

    end(phone)

    assert APIClient().get(path_of(link.url)).status_code == 404
    assert (row_of(row.pk).link_digest, row_of(row.pk).taken_at) == (None, None)


def test_a_link_lasts_longer_than_the_login_that_asked_for_it() -> None:
    phone = registered()
    ada = person_of(phone)
    link = make_download_link(user_id=ada.pk, export_id=ready_export(ada).pk)

    phone.log_out()

    taken = APIClient().get(path_of(link.url))
    assert taken.status_code == 200
    taken.close()


def test_an_account_that_is_closed_gives_nothing_away() -> None:
    ada = make_user()
    link = make_download_link(user_id=ada.pk, export_id=ready_export(ada).pk)
    with as_operator("test"):
        User.objects.filter(pk=ada.pk).update(account_status=AccountStatus.SUSPENDED)

    assert APIClient().get(path_of(link.url)).status_code == 404


@pytest.mark.parametrize("status", [ExportStatus.QUEUED, ExportStatus.FAILED])
def test_what_has_no_file_has_no_link(status: ExportStatus) -> None:
    ada = make_user()
    row = request_export(user_id=ada.pk)
    change(row, status=status)

    answer = logged_in_client_of(ada).post(f"{EXPORTS}{row.pk}/download-link/")

    assert (answer.status_code, answer.json()["code"]) == (409, "export_not_ready")
    stranger = logged_in_client_of(make_user()).post(f"{EXPORTS}{row.pk}/download-link/")
    assert stranger.status_code == 404


def test_after_its_time_the_file_is_gone_and_the_row_says_so() -> None:
    ada, bob = make_user(), make_user()
    old, fresh = ready_export(ada), ready_export(bob)
    link = make_download_link(user_id=ada.pk, export_id=old.pk)
    now = timezone.now()
    change(old, ready_at=now - timedelta(days=8), expires_at=now)
    assert APIClient().get(path_of(link.url)).status_code == 404

    for _ in range(2):
        keep_exports.apply(throw=True)

    assert (row_of(old.pk).status, row_of(old.pk).stored_as) == (ExportStatus.EXPIRED, "")
    assert (files_of(ada), files_of(bob)) == ([], [fresh.stored_as])
    assert row_of(fresh.pk).status == ExportStatus.READY
