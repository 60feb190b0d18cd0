"""Who may do what: every route of both processes, every verb, every kind of caller."""

import asyncio
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import pytest
from django.test import AsyncClient
from django.urls import URLPattern, URLResolver, get_resolver
from rest_framework.test import APIClient

from accounts.models import ExportRequest, PersonalAccessToken
from accounts.services.access_tokens import issue_token
from accounts.services.preferences import set_preference
from accounts.services.subscriptions import start_free_subscription
from accounts.tests.devices import keep_biometric_key
from accounts.tests.factories import client_of, keep_session, make_user
from common.tenancy import acting_as
from dedup.models import Conversation, Import, Message
from dedup.services import import_path

VERBS = ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"]

LINE = (
    '{"type":"user","uuid":"7b0c6f0e-0000-4000-8000-000000000001","parentUuid":null,'
    '"sessionId":"5d1f2c3a-0000-4000-8000-000000000001","timestamp":"2026-01-05T09:00:00.000Z",'
    '"message":{"role":"user","content":"Where did we leave the sourdough?"}}\n'
)

READ = {"GET", "HEAD", "OPTIONS"}
# Route: the verbs it has, and what an owner, a stranger and an anonymous caller are answered.
PUBLIC = (200, 200, 200)
MINE = (200, 200, 401)  # everybody sees their own
ONLY_MINE = (200, 404, 401)  # one thing, named by its id
NEEDS_LOGIN = (403, 403, 401)  # all callers here are programs with a token
ROUTES: dict[str, tuple[set[str], tuple[int, int, int]]] = {
    "api/v1/account/": (READ | {"PATCH"}, MINE),
    # An erasure was never asked for.
    "api/v1/account/erasure/": (READ | {"POST"}, (404, 404, 401)),
    "api/v1/account/erasure/cancel/": ({"OPTIONS", "POST"}, PUBLIC),
    "api/v1/account/erasure/receipt/": ({"OPTIONS", "POST"}, PUBLIC),
    "api/v1/account/exports/": (READ | {"POST"}, MINE),
    "api/v1/account/exports/<pk>/": (READ, ONLY_MINE),
    "api/v1/account/exports/<pk>/download-link/": ({"OPTIONS", "POST"}, MINE),
    # Whoever asks: no link has this token.
    "api/v1/account/exports/download/<token>/": ({"GET"}, (404, 404, 404)),
    "api/v1/account/restriction/": (READ | {"POST", "DELETE"}, MINE),
    "api/v1/activity/": (READ, MINE),
    "api/v1/archive/integrity/": (READ, MINE),
    "api/v1/archive/statistics/": (READ, MINE),
    "api/v1/auth/nonce/": ({"OPTIONS", "POST"}, PUBLIC),
    "api/v1/biometrics/": (READ | {"POST"}, MINE),
    "api/v1/biometrics/<pk>/": (READ | {"DELETE"}, ONLY_MINE),
    "api/v1/biometrics/<pk>/challenge/": ({"OPTIONS", "POST"}, MINE),
    "api/v1/biometrics/<pk>/complete/": ({"OPTIONS", "POST"}, MINE),
    "api/v1/biometrics/<pk>/verify/": ({"OPTIONS", "POST"}, MINE),
    "api/v1/consents/": (READ | {"POST"}, MINE),
    "api/v1/consents/documents/": (READ, PUBLIC),
    "api/v1/consents/history/": (READ, MINE),
    "api/v1/consents/withdraw/": ({"OPTIONS", "POST"}, MINE),
    "api/v1/conversations/": (READ, MINE),
    "api/v1/conversations/<pk>/": (READ, ONLY_MINE),
    "api/v1/conversations/<pk>/branches/": (READ, ONLY_MINE),
    "api/v1/conversations/<pk>/export/": (READ, ONLY_MINE),
    "api/v1/conversations/<pk>/gaps/": (READ, ONLY_MINE),
    "api/v1/conversations/<pk>/log/": (READ, ONLY_MINE),
    "api/v1/conversations/<pk>/messages/": (READ, ONLY_MINE),
    "api/v1/conversations/<pk>/statistics/": (READ, ONLY_MINE),
    "api/v1/imports/": (READ | {"POST"}, MINE),
    "api/v1/imports/<pk>/": (READ, ONLY_MINE),
    "api/v1/imports/<pk>/file/": (READ, ONLY_MINE),
    "api/v1/imports/<pk>/verification/": (READ, ONLY_MINE),
    "api/v1/messages/": (READ, MINE),
    "api/v1/messages/<pk>/": (READ, ONLY_MINE),
    "api/v1/preferences/": (READ | {"PATCH"}, MINE),
    "api/v1/preferences/<key>/": (READ | {"PUT", "DELETE"}, ONLY_MINE),
    "api/v1/sessions/": (READ, MINE),
    "api/v1/sessions/<pk>/": (READ, ONLY_MINE),
    "api/v1/sessions/<pk>/revoke/": ({"OPTIONS", "POST"}, MINE),
    "api/v1/sessions/revoke-others/": ({"OPTIONS", "POST"}, MINE),
    "api/v1/subscription/": (READ, MINE),
    "api/v1/subscription/cancel/": ({"OPTIONS", "POST"}, MINE),
    "api/v1/subscription/notifications/apple/": ({"OPTIONS", "POST"}, PUBLIC),
    "api/v1/subscription/notifications/google/": ({"OPTIONS", "POST"}, PUBLIC),
    "api/v1/subscription/notifications/local/": ({"OPTIONS", "POST"}, PUBLIC),
    "api/v1/subscription/receipts/": ({"OPTIONS", "POST"}, MINE),
    "api/v1/tokens/": (READ | {"POST"}, MINE),
    "api/v1/tokens/<pk>/": (READ, ONLY_MINE),
    "api/v1/tokens/<pk>/revoke/": ({"OPTIONS", "POST"}, MINE),
    "api/v1/tokens/revoke-all/": ({"OPTIONS", "POST"}, MINE),
    "api/v1/schema/": (READ, PUBLIC),
    "api/v1/docs/": ({"GET", "HEAD"}, PUBLIC),
    "healthz": ({"GET", "HEAD"}, PUBLIC),
    "readyz": ({"GET", "HEAD"}, PUBLIC),
    "": ({"GET", "HEAD", "OPTIONS"}, PUBLIC),
}
# What writes are answered when nothing is sent with them. Otherwise the caller is let in and then
# told what is missing.
NEEDS_MORE = (400, 400, 401)
NEEDS_CONSENT = (403, 403, 401)
WRITES: dict[tuple[str, str], tuple[int, int, int]] = {
    ("api/v1/account/erasure/", "POST"): NEEDS_LOGIN,
    ("api/v1/account/erasure/cancel/", "POST"): (400, 400, 400),
    ("api/v1/account/erasure/receipt/", "POST"): (400, 400, 400),
    ("api/v1/account/exports/", "POST"): NEEDS_LOGIN,
    ("api/v1/account/exports/<pk>/download-link/", "POST"): NEEDS_LOGIN,
    ("api/v1/account/restriction/", "POST"): NEEDS_LOGIN,
    ("api/v1/account/restriction/", "DELETE"): NEEDS_LOGIN,
    ("api/v1/account/", "PATCH"): NEEDS_LOGIN,
    ("api/v1/consents/", "POST"): NEEDS_LOGIN,
    ("api/v1/consents/withdraw/", "POST"): NEEDS_LOGIN,
    ("api/v1/auth/nonce/", "POST"): PUBLIC,
    ("api/v1/sessions/<pk>/revoke/", "POST"): NEEDS_LOGIN,
    ("api/v1/sessions/revoke-others/", "POST"): NEEDS_LOGIN,
    ("api/v1/biometrics/", "POST"): NEEDS_LOGIN,
    ("api/v1/biometrics/<pk>/", "DELETE"): (204, 404, 401),
    ("api/v1/biometrics/<pk>/challenge/", "POST"): NEEDS_LOGIN,
    ("api/v1/biometrics/<pk>/complete/", "POST"): NEEDS_LOGIN,
    ("api/v1/biometrics/<pk>/verify/", "POST"): NEEDS_LOGIN,
    ("api/v1/preferences/", "PATCH"): MINE,
    ("api/v1/preferences/<key>/", "DELETE"): (204, 404, 401),
    # A free year cannot be cancelled.
    ("api/v1/subscription/cancel/", "POST"): (409, 409, 401),
    # Whoever asks: there are no such stores here, and nothing was signed by the other one.
    ("api/v1/subscription/notifications/apple/", "POST"): (404, 404, 404),
    ("api/v1/subscription/notifications/google/", "POST"): (404, 404, 404),
    ("api/v1/subscription/notifications/local/", "POST"): (400, 400, 400),
    ("api/v1/subscription/receipts/", "POST"): NEEDS_CONSENT,
    ("api/v1/tokens/", "POST"): NEEDS_LOGIN,
    ("api/v1/tokens/<pk>/revoke/", "POST"): ONLY_MINE,
    ("api/v1/tokens/revoke-all/", "POST"): MINE,
}
# Through the operator's login, which sees committed rows only.
THROUGH_THE_HOUSE = {"api/v1/account/exports/download/<token>/"}
# Asked by a machine with a token that is nobody's: whoever a person is, they get 401.
OF_MACHINES = {"metrics"}
LIVE_ROUTES = {"healthz", "api/v1/imports/<import_id>/events/"}


@dataclass(frozen=True)
class Archive:
    """One person's small archive, and the clients of those who ask for it."""

    ids: dict[str, UUID | str]
    owner: APIClient
    stranger: APIClient
    anonymous: APIClient


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    path = tmp_path / "session.jsonl"
    path.write_text(LINE)
    owner, stranger = make_user(), make_user()
    for person in (owner, stranger):
        start_free_subscription(user_id=person.pk)
    import_path(user_id=owner.pk, path=path)
    issue_token(user=owner, name="laptop")
    set_preference(user_id=owner.pk, key="theme", value="dark")
    with acting_as(owner.pk):
        ids: dict[str, UUID | str] = {
            "account": ExportRequest.objects.create(user=owner).pk,
            "biometrics": keep_biometric_key(owner).pk,
            "preferences": "theme",
            "sessions": keep_session(owner).pk,
            "tokens": PersonalAccessToken.objects.get(user=owner).pk,
            "imports": Import.objects.get().pk,
            "conversations": Conversation.objects.get().pk,
            "messages": Message.objects.get().pk,
        }
    return Archive(ids, client_of(owner), client_of(stranger), APIClient())


def routes_of(urlconf: str) -> Iterator[str]:
    return _below(get_resolver(urlconf).url_patterns, "")


def _below(patterns: list[URLPattern | URLResolver], prefix: str) -> Iterator[str]:
    for pattern in patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            # The admin and the pages of accounts have guards and tests of their own.
            if pattern.app_name != "admin" and route not in {"accounts/", "api/v1/auth/"}:
                yield from _below(pattern.url_patterns, route)
        else:
            yield _plain(route)


def _plain(route: str) -> str:
    """`^imports/(?P<pk>[^/.]+)/$` and `<uuid:import_id>` as `imports/<pk>/` and `<import_id>`."""
    route = route.replace("(?P<pk>[^/.]+)", "<pk>").replace("uuid:", "")
    return route.replace("^", "").replace("$", "")


def status_of(client: APIClient, verb: str, path: str, query: str) -> int:
    answer = client.generic(verb, path, QUERY_STRING=query)
    if answer.streaming:
        # It is a file, which is open until it has been read.
        b"".join(answer)
    return int(answer.status_code)


def test_the_matrix_names_every_route() -> None:
    assert set(routes_of("config.urls")) == set(ROUTES) | OF_MACHINES
    assert set(routes_of("config.live_urls")) == LIVE_ROUTES


@pytest.mark.django_db
@pytest.mark.parametrize("route", sorted(set(ROUTES) - THROUGH_THE_HOUSE))
def test_each_caller_gets_what_the_matrix_says(route: str, archive: Archive) -> None:
    check_route(route, archive)


@pytest.mark.django_db(transaction=True, databases=["default", "operator"])
@pytest.mark.parametrize("route", sorted(THROUGH_THE_HOUSE))
def test_so_it_is_where_the_house_acts_for_the_person(route: str, archive: Archive) -> None:
    check_route(route, archive)


def check_route(route: str, archive: Archive) -> None:
    verbs, expected = ROUTES[route]
    resource = route.removeprefix("api/v1/").partition("/")[0]
    path = "/" + re.sub("<(pk|key)>", str(archive.ids.get(resource, "")), route)
    query = {"q": "sourdough"} if route == "api/v1/messages/" else {}

    # What a write ends is asked for before.
    for verb in sorted(VERBS, key=lambda verb: verb in verbs - READ):
        answers = tuple(
            status_of(client, verb, path, "&".join(f"{k}={v}" for k, v in query.items()))
            for client in (archive.owner, archive.stranger, archive.anonymous)
        )
        if verb in verbs - READ:
            assert answers == WRITES.get((route, verb), NEEDS_MORE), (verb, path)
        elif verb == "OPTIONS" and verb in verbs:
            assert answers == tuple(code if code == 401 else 200 for code in expected), (verb, path)
        elif verb in verbs:
            assert answers == expected, (verb, path)
        else:
            refused = 401 if expected[2] == 401 else 405
            assert answers == (405, 405, refused), (verb, path)


@pytest.mark.django_db
@pytest.mark.parametrize("route", sorted(OF_MACHINES))
def test_what_is_for_machines_is_for_no_person(route: str, archive: Archive) -> None:
    for client in (archive.owner, archive.stranger, archive.anonymous):
        answers = {verb: status_of(client, verb, f"/{route}", "") for verb in VERBS}

        assert answers == dict.fromkeys(VERBS, 405) | {"GET": 401, "HEAD": 401}


@pytest.mark.django_db
@pytest.mark.parametrize("resource", ["conversations", "imports"])
def test_a_stranger_lists_nothing_of_the_owner(resource: str, archive: Archive) -> None:
    assert len(archive.owner.get(f"/api/v1/{resource}/").json()["results"]) == 1
    assert archive.stranger.get(f"/api/v1/{resource}/").json()["results"] == []


@pytest.mark.django_db
def test_a_stranger_finds_nothing_of_the_owner(archive: Archive) -> None:
    assert len(archive.owner.get("/api/v1/messages/?q=sourdough").json()["results"]) == 1
    assert archive.stranger.get("/api/v1/messages/?q=sourdough").json()["results"] == []


@pytest.mark.django_db
def test_an_id_that_is_none_is_nothing_like_a_strangers(archive: Archive) -> None:
    for resource in archive.ids.keys() - {"preferences"}:
        answer = archive.owner.get(f"/api/v1/{resource}/not-an-id/")

        assert answer.status_code == 404
        assert answer.json()["code"] == "not_found"


@pytest.mark.django_db(transaction=True)
@pytest.mark.urls("config.live_urls")
def test_events_are_for_the_owner_only(archive: Archive, settings: pytest.FixtureRequest) -> None:
    settings.MIDDLEWARE = ["common.middleware.RequestContextMiddleware"]  # type: ignore[attr-defined]
    path = f"/api/v1/imports/{archive.ids['imports']}/events/"

    async def status(client: APIClient) -> int:
        header = client._credentials.get("HTTP_AUTHORIZATION", "")  # type: ignore[attr-defined]
        return (await AsyncClient().get(path, headers={"Authorization": header})).status_code

    assert asyncio.run(status(archive.owner)) == 200
    assert asyncio.run(status(archive.stranger)) == 404
    assert asyncio.run(status(archive.anonymous)) == 401
