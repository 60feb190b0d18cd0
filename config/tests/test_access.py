"""Who may do what: every route of both processes, every verb, every kind of caller."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import pytest
from django.test import AsyncClient
from django.urls import URLPattern, URLResolver, get_resolver
from rest_framework.test import APIClient

from accounts.tests.factories import client_of, make_user
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
ROUTES: dict[str, tuple[set[str], tuple[int, int, int]]] = {
    "api/v1/account/": (READ, MINE),
    "api/v1/activity/": (READ, MINE),
    "api/v1/archive/integrity/": (READ, MINE),
    "api/v1/archive/statistics/": (READ, MINE),
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
    "api/v1/schema/": (READ, PUBLIC),
    "api/v1/docs/": ({"GET", "HEAD"}, PUBLIC),
    "healthz": ({"GET", "HEAD"}, PUBLIC),
    "readyz": ({"GET", "HEAD"}, PUBLIC),
    "": ({"GET", "HEAD", "OPTIONS"}, PUBLIC),
}
# Asked by a machine with a token that is nobody's: whoever a person is, they get 401.
OF_MACHINES = {"metrics"}
LIVE_ROUTES = {"healthz", "api/v1/imports/<import_id>/events/"}


@dataclass(frozen=True)
class Archive:
    """One person's small archive, and the clients of those who ask for it."""

    ids: dict[str, UUID]
    owner: APIClient
    stranger: APIClient
    anonymous: APIClient


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    path = tmp_path / "session.jsonl"
    path.write_text(LINE)
    owner, stranger = make_user(), make_user()
    import_path(user_id=owner.pk, path=path)
    with acting_as(owner.pk):
        ids = {
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
            # The admin has guards and tests of its own.
            if pattern.app_name != "admin":
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
@pytest.mark.parametrize("route", sorted(ROUTES))
def test_each_caller_gets_what_the_matrix_says(route: str, archive: Archive) -> None:
    verbs, expected = ROUTES[route]
    resource = route.removeprefix("api/v1/").partition("/")[0]
    path = "/" + route.replace("<pk>", str(archive.ids.get(resource, "")))
    query = {"q": "sourdough"} if route == "api/v1/messages/" else {}

    for verb in VERBS:
        answers = tuple(
            status_of(client, verb, path, "&".join(f"{k}={v}" for k, v in query.items()))
            for client in (archive.owner, archive.stranger, archive.anonymous)
        )
        if verb == "POST" and verb in verbs:
            # Nothing is sent: the caller is let in and then told what is missing.
            assert answers == (400, 400, 401), (verb, path)
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
    for resource in archive.ids:
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
