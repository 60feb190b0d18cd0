"""Consents: what was said stands for ever, and what was not said is asked for."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.test.utils import CaptureQueriesContext
from psycopg.errors import InsufficientPrivilege
from rest_framework.test import APIClient

from accounts.api.permissions import HasConsents
from accounts.choices import ConsentMethod, ConsentSource, ConsentType, Scope
from accounts.consents.checks import check_consents
from accounts.errors import (
    ConsentRequiredError,
    ConsentsMissingError,
    ConsentVersionOutdatedError,
)
from accounts.models import Consent, User
from accounts.selectors.consents import missing_consents
from accounts.services.consents import accept_all_at_registration, accept_consents
from accounts.tests.consents import agree_to_everything
from accounts.tests.factories import logged_in_client_of, make_user
from accounts.tokens import Bearer
from common import context
from common.environment import read_pairs
from common.errors import InvalidInputError
from common.ids import uuid7
from common.tenancy import acting_as, as_operator
from common.tests.connections import connect_as, connect_as_superuser, raw_app
from common.tests.races import at_once

pytestmark = pytest.mark.django_db

ALL = {kind.value: 1 for kind in ConsentType}
ROUTE = "/api/v1/consents/"


@pytest.fixture
def ada() -> User:
    return make_user("ada")


def said_by(user: User) -> list[tuple[str, int, bool]]:
    with acting_as(user.pk):
        rows = Consent.objects.order_by("id")
        return [(row.type, row.version, row.given) for row in rows]


def missing(user: User) -> list[str]:
    with acting_as(user.pk):
        return [kind.value for kind in missing_consents(user.pk)]


def accepting(*kinds: str, version: int = 1, **more: Any) -> dict[str, Any]:
    return {"consents": [{"type": kind, "version": version} for kind in kinds], **more}


def test_there_are_exactly_five() -> None:
    assert ConsentType.values == [
        "privacy_policy", "terms_of_service", "medical_disclaimer", "healthcare_consultation",
        "emergency_care_limitation",
    ]  # fmt: skip


def test_at_registration_all_five_are_kept(ada: User) -> None:
    with context.request_context():
        token = context.origin.set(context.Origin("192.0.2.9", "A browser"))
        accept_all_at_registration(user_id=ada.pk, versions=ALL)
        context.origin.reset(token)

    assert said_by(ada) == [(kind, 1, True) for kind in ConsentType.values]
    with acting_as(ada.pk):
        row = Consent.objects.get(type="privacy_policy")
    assert (row.source, row.method) == (ConsentSource.REGISTRATION, ConsentMethod.BUNDLED)
    assert (row.address, row.agent) == ("192.0.2.9", "A browser")
    text = Path("accounts/consents/privacy_policy.md").read_bytes()
    assert bytes(row.document_sha256) == hashlib.sha256(text).digest()
    assert missing(ada) == []


def test_addresses_and_agents_are_sealed(ada: User) -> None:
    token = context.origin.set(context.Origin("192.0.2.9", "A browser"))
    accept_all_at_registration(user_id=ada.pk, versions=ALL)
    context.origin.reset(token)

    with acting_as(ada.pk), connection.cursor() as cursor:
        cursor.execute("SELECT c::text FROM accounts_consent c")
        rows = str(cursor.fetchall())
    for word in (b"192.0.2.9", b"A browser"):
        assert word.decode() not in rows
        assert word.hex() not in rows


def test_at_registration_nothing_is_kept_if_one_is_missing(ada: User) -> None:
    some = {kind: 1 for kind in ALL if kind not in {"privacy_policy", "medical_disclaimer"}}

    with pytest.raises(ConsentsMissingError) as refused:
        accept_all_at_registration(user_id=ada.pk, versions=some)

    assert (refused.value.code, refused.value.status) == ("consents_missing", 400)
    assert [one.field for one in refused.value.errors] == ["privacy_policy", "medical_disclaimer"]
    assert said_by(ada) == []


def test_at_registration_an_old_version_is_refused(ada: User, settings: Any) -> None:
    settings.CONSENT_VERSIONS = {"terms_of_service": 2}

    with pytest.raises(ConsentVersionOutdatedError) as refused:
        accept_all_at_registration(user_id=ada.pk, versions=ALL)

    assert [one.field for one in refused.value.errors] == ["terms_of_service"]
    assert said_by(ada) == []


def test_a_person_sees_where_they_stand(ada: User) -> None:
    client = logged_in_client_of(ada)
    client.post(ROUTE, accepting("privacy_policy"))

    states = {state["type"]: state for state in client.get(ROUTE).json()}

    assert list(states) == ConsentType.values
    given = states["privacy_policy"]
    assert (given["given"], given["version"], given["needed"]) == (True, 1, False)
    assert given["at"] is not None
    assert states["terms_of_service"] == {
        "type": "terms_of_service", "given": False, "version": None, "at": None,
        "current_version": 1, "needed": True,
    }  # fmt: skip


def test_to_agree_again_adds_nothing(ada: User) -> None:
    client = logged_in_client_of(ada)

    first = client.post(ROUTE, accepting("privacy_policy", "terms_of_service", method="bundled"))
    again = client.post(ROUTE, accepting("terms_of_service", "privacy_policy"))

    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json() == again.json()
    assert said_by(ada) == [("privacy_policy", 1, True), ("terms_of_service", 1, True)]
    history = client.get(f"{ROUTE}history/").json()["results"]
    assert {row["method"] for row in history} == {"bundled"}


def test_a_withdrawal_is_a_row_and_withdrawing_again_is_none(ada: User) -> None:
    client = logged_in_client_of(ada)
    client.post(ROUTE, accepting("privacy_policy"))

    withdrawn = client.post(f"{ROUTE}withdraw/", {"type": "privacy_policy"})
    again = client.post(f"{ROUTE}withdraw/", {"type": "privacy_policy"})
    never = client.post(f"{ROUTE}withdraw/", {"type": "terms_of_service"})

    assert (withdrawn.status_code, again.status_code, never.status_code) == (200, 200, 200)
    assert said_by(ada) == [("privacy_policy", 1, True), ("privacy_policy", 1, False)]
    state = again.json()[0]
    assert (state["given"], state["needed"]) == (False, True)
    client.post(ROUTE, accepting("privacy_policy"))
    assert said_by(ada)[2:] == [("privacy_policy", 1, True)]
    assert client.get(ROUTE).json()[0]["needed"] is False


def test_a_new_version_asks_again(ada: User, settings: Any) -> None:
    agree_to_everything(ada)
    settings.CONSENT_VERSIONS = {"medical_disclaimer": 2}
    client = logged_in_client_of(ada)

    assert missing(ada) == ["medical_disclaimer"]
    outdated = client.post(ROUTE, accepting("medical_disclaimer", version=1))
    assert outdated.status_code == 409
    assert outdated.json()["code"] == "consent_version_outdated"
    assert client.post(ROUTE, accepting("medical_disclaimer", version=2)).status_code == 200
    assert missing(ada) == []
    assert said_by(ada)[5:] == [("medical_disclaimer", 2, True)]


def test_of_several_either_all_are_accepted_or_none(ada: User, settings: Any) -> None:
    settings.CONSENT_VERSIONS = {"medical_disclaimer": 2}

    answer = logged_in_client_of(ada).post(ROUTE, accepting("privacy_policy", "medical_disclaimer"))

    assert answer.status_code == 409
    assert said_by(ada) == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"consents": []},
        accepting("marketing"),
        accepting("privacy_policy", "privacy_policy"),
        accepting("privacy_policy", version=0),
        accepting("privacy_policy", method="loudly"),
        {"consents": "privacy_policy"},
        [],
    ],
)
def test_what_is_no_consent_is_refused(ada: User, body: Any) -> None:
    answer = logged_in_client_of(ada).post(ROUTE, body)

    assert answer.status_code == 400
    assert answer.json()["code"] == "invalid_input"
    assert said_by(ada) == []


def test_a_text_that_there_is_not_is_refused_below_the_api_too(ada: User) -> None:
    with pytest.raises(InvalidInputError):
        accept_consents(
            user_id=ada.pk,
            versions={"marketing": 1, "privacy_policy": 1},
            method=ConsentMethod.GRANULAR,
            source=ConsentSource.PAGE,
        )

    assert said_by(ada) == []


def test_the_history_is_listed_latest_first_in_pages(ada: User) -> None:
    agree_to_everything(ada)
    agree_to_everything(make_user())
    client = logged_in_client_of(ada)

    first = client.get(f"{ROUTE}history/?page_size=3").json()
    second = client.get(first["next"]).json()

    kinds = [row["type"] for row in first["results"] + second["results"]]
    assert kinds == ConsentType.values[::-1]
    assert second["next"] is None
    assert set(first["results"][0]) == {
        "id", "type", "version", "given", "method", "source", "at", "document_sha256",
    }  # fmt: skip


def test_however_much_was_said_a_page_asks_once(ada: User) -> None:
    client = logged_in_client_of(ada)

    def asked(path: str) -> int:
        with CaptureQueriesContext(connection) as queries:
            assert client.get(path).status_code == 200
        return sum("accounts_consent" in query["sql"] for query in queries)

    empty = [asked(ROUTE), asked(f"{ROUTE}history/")]
    agree_to_everything(ada)

    assert empty == [1, 1]
    assert [asked(ROUTE), asked(f"{ROUTE}history/")] == [1, 1]


def test_the_texts_are_for_everybody(ada: User) -> None:
    answer = APIClient().get(f"{ROUTE}documents/")

    documents = {one["type"]: one for one in answer.json()}
    assert answer.status_code == 200
    assert list(documents) == ConsentType.values
    for one in documents.values():
        assert one["version"] == 1
        assert one["text"].startswith("# ")
        assert hashlib.sha256(one["text"].encode()).hexdigest() == one["sha256"]
    logged_in_client_of(ada).post(ROUTE, accepting("privacy_policy"))
    history = logged_in_client_of(ada).get(f"{ROUTE}history/").json()["results"]
    assert history[0]["document_sha256"] == documents["privacy_policy"]["sha256"]


def test_an_installation_brings_its_own_texts(settings: Any, tmp_path: Path) -> None:
    for kind in ConsentType.values:
        (tmp_path / f"{kind}.md").write_text(f"Our own {kind}")
    settings.CONSENT_DOCUMENTS_DIR = tmp_path

    texts = [one["text"] for one in APIClient().get(f"{ROUTE}documents/").json()]

    assert texts == [f"Our own {kind}" for kind in ConsentType.values]


def test_a_missing_text_and_an_unknown_version_are_told_at_start(
    settings: Any, tmp_path: Path
) -> None:
    assert check_consents(None) == []
    settings.CONSENT_DOCUMENTS_DIR = tmp_path
    settings.CONSENT_VERSIONS = {"marketing": 2}

    problems = check_consents(None)

    assert [problem.id for problem in problems] == ["accounts.E001"] + ["accounts.E002"] * 5


@pytest.mark.parametrize("value", ["privacy_policy", "a:x", "a:1,a:2", ":", "a:"])
def test_versions_that_are_none_end_the_start(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VERSIONS", value)

    with pytest.raises(ImproperlyConfigured):
        read_pairs("VERSIONS", int, "pairs such as a:1")


def test_versions_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VERSIONS", " a:2, b:c:3 ")

    assert read_pairs("VERSIONS", int, "") == {"a": 2, "b:c": 3}
    assert read_pairs("OTHER_VERSIONS", int, "") == {}


class Asked:
    """What a permission looks at."""

    def __init__(self, user: User) -> None:
        self.auth = Bearer(user, frozenset(Scope), token_id=uuid7())


def test_the_permission_names_what_is_missing_and_asks_once(ada: User) -> None:
    logged_in_client_of(ada).post(ROUTE, accepting("privacy_policy"))

    with (
        CaptureQueriesContext(connection) as queries,
        pytest.raises(ConsentRequiredError) as refused,
    ):
        HasConsents().has_permission(Asked(ada), None)  # type: ignore[arg-type]

    assert (refused.value.code, refused.value.status) == ("consent_required", 403)
    assert [one.field for one in refused.value.errors] == ConsentType.values[1:]
    assert [q["sql"] for q in queries if "accounts_" in q["sql"]][1:] == []
    agree_to_everything(ada)
    assert HasConsents().has_permission(Asked(ada), None) is True  # type: ignore[arg-type]


def test_a_stranger_sees_and_changes_nothing(ada: User) -> None:
    agree_to_everything(ada)
    bob = make_user("bob")

    assert all(state["needed"] for state in logged_in_client_of(bob).get(ROUTE).json())
    logged_in_client_of(bob).post(f"{ROUTE}withdraw/", {"type": "privacy_policy"})
    assert missing(ada) == []
    assert logged_in_client_of(bob).get(f"{ROUTE}history/").json()["results"] == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "change",
    ["UPDATE accounts_consent SET given = false", "DELETE FROM accounts_consent",
     "TRUNCATE accounts_consent"],
)  # fmt: skip
def test_nobody_changes_what_was_said(change: str) -> None:
    ada = make_user("ada")
    agree_to_everything(ada)

    with raw_app(ada.pk) as raw, pytest.raises(InsufficientPrivilege), raw.transaction():
        raw.execute(change.encode())
    if not change.startswith("DELETE"):
        with connect_as("operator") as house, pytest.raises(InsufficientPrivilege):
            house.execute(change.encode())

    assert said_by(ada) == [(kind, 1, True) for kind in ConsentType.values]


@pytest.mark.django_db(transaction=True, databases=["default", "operator"])
def test_the_house_erases_the_consents_of_one_person() -> None:
    ada, bob = make_user("ada"), make_user("bob")
    agree_to_everything(ada)
    agree_to_everything(bob)

    with as_operator("erase a person"):
        Consent.objects.filter(user_id=ada.pk).delete()

    assert said_by(ada) == []
    assert len(said_by(bob)) == 5


@pytest.mark.django_db(transaction=True)
def test_eight_at_once_agree_once(ada: User) -> None:
    results = at_once([lambda: agree_to_everything(ada)] * 8)

    assert results == [None] * 8
    assert said_by(ada) == [(kind, 1, True) for kind in ConsentType.values]


@pytest.mark.django_db(transaction=True)
def test_what_is_said_is_an_event_with_a_name(ada: User) -> None:
    client = logged_in_client_of(ada)
    client.post(ROUTE, accepting("privacy_policy"))
    client.post(f"{ROUTE}withdraw/", {"type": "privacy_policy"})

    seen = client.get("/api/v1/activity/?subject=accounts_consent").json()["results"]

    assert [event["event"] for event in seen] == ["consent-withdrawn", "consent-given"]
    assert seen[0]["new"]["type"] == "privacy_policy"
    assert "address" not in seen[0]["new"]


@pytest.mark.django_db(transaction=True)
def test_the_latest_of_each_is_found_through_an_index(ada: User) -> None:
    with connect_as_superuser() as superuser:
        superuser.execute(
            "INSERT INTO accounts_consent (user_id, type, version, given, document_sha256, method,"
            " source) SELECT %s, 'privacy_policy', n, true, sha256('x'), 'granular', 'api'"
            " FROM generate_series(1, 3000) n",
            [ada.pk],
        )
        superuser.execute("ANALYZE accounts_consent")
    with acting_as(ada.pk):
        plan = Consent.objects.visible_to(ada.pk).latest_of_each_type().explain()

    assert "consent_latest" in plan
    assert "Seq Scan" not in plan
