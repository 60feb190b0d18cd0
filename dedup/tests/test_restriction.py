"""Restricted processing: things are kept, read, taken and erased, and nothing more."""

from datetime import timedelta

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.choices import Scope
from accounts.models import User
from accounts.services.erasures import CONFIRMATION
from accounts.tests.factories import client_of, logged_in_client_of, make_user
from audit.models import ChangeEvent
from common.tenancy import acting_as, as_operator
from common.tests.broker import empty_queue, queued_messages
from dedup.choices import ImportStatus
from dedup.importing import run_import
from dedup.models import Artifact, Import
from dedup.tasks import requeue_stalled_imports
from tests.population import row as message

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "operator"])

RESTRICTION = "/api/v1/account/restriction/"
IMPORTS = "/api/v1/imports/"


def restricted(user: User) -> APIClient:
    assert logged_in_client_of(user).post(RESTRICTION).status_code == 200
    return client_of(user)


def lift(user: User) -> None:
    assert logged_in_client_of(user).delete(RESTRICTION).status_code == 204


def upload() -> dict[str, SimpleUploadedFile]:
    return {"file": SimpleUploadedFile("talk.jsonl", message(0, "How are you") + b"\n")}


def waiting_import(user: User) -> Import:
    long_ago = timezone.now() - timedelta(days=1)
    with acting_as(user.pk):
        artifact = Artifact.objects.create(user=user, sha256=b"x" * 32, size=1, stored_as="x")
        return Import.objects.create(
            user=user, artifact=artifact, name="talk.jsonl", touched_at=long_ago
        )


def test_it_holds_from_when_it_was_first_asked_for_until_it_is_lifted() -> None:
    ada = make_user()
    client, login = client_of(ada), logged_in_client_of(ada)
    assert client.get(RESTRICTION).json() == {"processing_restricted_at": None}

    first = login.post(RESTRICTION).json()
    second = login.post(RESTRICTION).json()

    assert first == second == client.get(RESTRICTION).json()
    assert first["processing_restricted_at"] is not None
    for _ in range(2):
        lift(ada)
    assert client.get(RESTRICTION).json() == {"processing_restricted_at": None}
    with as_operator("test"):
        changes = ChangeEvent.objects.filter(table_name="accounts_user", row_id=ada.pk)
        told = [event.changed for event in changes.order_by("id") if event.changed]
    assert told == [["processing_restricted_at"]] * 2


def test_what_adds_to_the_things_is_refused_and_works_again_afterwards() -> None:
    ada = make_user()
    client = restricted(ada)

    answer = client.post(IMPORTS, upload(), format="multipart")

    assert (answer.status_code, answer.json()["code"]) == (403, "processing_restricted")
    with acting_as(ada.pk):
        assert Import.objects.count() == 0
    lift(ada)
    assert client.post(IMPORTS, upload(), format="multipart").status_code == 202


@pytest.mark.parametrize("path", [IMPORTS, "/api/v1/conversations/", "/api/v1/account/"])
def test_reading_goes_on(path: str) -> None:
    assert restricted(make_user()).get(path).status_code == 200


def test_the_person_can_still_take_and_erase_everything() -> None:
    ada = make_user()
    restricted(ada)
    ada.refresh_from_db()
    client = logged_in_client_of(ada)

    assert client.post("/api/v1/account/exports/").status_code == 202
    answer = client.post("/api/v1/account/erasure/", {"confirmation": CONFIRMATION})

    assert answer.status_code == 202


def test_what_waits_goes_on_waiting_and_is_read_afterwards() -> None:
    ada, bob = make_user(), make_user()
    restricted(ada)
    waits, other = waiting_import(ada), waiting_import(bob)
    empty_queue()

    requeue_stalled_imports.apply(throw=True)
    run_import(waits.pk, ada.pk)

    assert [message["argsrepr"] for message in queued_messages()] == [f"({str(other.pk)!r},)"]
    with acting_as(ada.pk):
        waits.refresh_from_db()
    assert (waits.status, waits.attempts) == (ImportStatus.QUEUED, 0)
    lift(ada)
    run_import(waits.pk, ada.pk)
    with acting_as(ada.pk):
        waits.refresh_from_db()
    assert (waits.status, waits.error_code) == (ImportStatus.FAILED, "missing_artifact")


def test_a_token_without_the_scope_is_told_of_the_scope() -> None:
    ada = make_user()
    restricted(ada)

    answer = client_of(ada, Scope.ARCHIVES_READ).post(IMPORTS, upload(), format="multipart")

    assert answer.json()["code"] == "permission_denied"
