import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator
from io import BytesIO
from typing import Any
from uuid import UUID

import pytest
from django.db import connections
from django.test import AsyncClient

from accounts.models import User
from accounts.services.access_tokens import issue_token
from accounts.tests.factories import make_user
from common.tenancy import acting_as
from dedup.api import events
from dedup.importing import run_import
from dedup.models import Import
from dedup.progress import reporter
from dedup.secrets import masked
from dedup.services import keep_upload, start_import
from dedup.tests.test_api_imports import transcript

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.urls("config.live_urls")]

Event = tuple[str, dict[str, Any]]


@pytest.fixture(autouse=True)
def live_process(settings: Any) -> None:
    settings.MIDDLEWARE = ["common.middleware.RequestContextMiddleware"]


@pytest.fixture
def ada() -> User:
    return make_user()


@pytest.fixture
def import_id(ada: User) -> UUID:
    """An import that waits for a worker."""
    upload = BytesIO(transcript("Bread", "Salt"))
    kept = keep_upload(user_id=ada.pk, upload=upload, name="a.jsonl")
    queued: UUID = start_import(user_id=ada.pk, kept=kept).pk
    return queued


def follow(user: User, import_id: UUID) -> list[Event]:
    """The events of an import until the stream ends."""
    token = issue_token(user=user, name="live")

    async def read() -> str:
        answer = await AsyncClient().get(
            f"/api/v1/imports/{import_id}/events/", headers={"Authorization": f"Bearer {token}"}
        )
        assert (answer.status_code, answer["Content-Type"]) == (200, "text/event-stream")
        stream: AsyncIterator[bytes] = answer.streaming_content  # type: ignore[attr-defined]
        return "".join([chunk.decode() async for chunk in stream])

    blocks = [block.split("\n") for block in asyncio.run(read()).strip().split("\n\n")]
    return [(name.removeprefix("event: "), json.loads(data[6:])) for name, data in blocks]


def test_a_finished_import_says_so_and_ends(ada: User, import_id: UUID) -> None:
    run_import(import_id, ada.pk)

    ((name, data),) = follow(ada, import_id)

    assert name == "done"
    assert data["id"] == str(import_id)
    assert (data["new_messages"], data["progress"]) == (2, None)


def test_a_failed_import_ends_with_an_error(ada: User, import_id: UUID) -> None:
    with acting_as(ada.pk):
        Import.objects.all().fail("missing_artifact", "The bytes are gone.")

    ((name, data),) = follow(ada, import_id)

    assert (name, data["error_code"]) == ("error", "missing_artifact")


def test_progress_comes_while_it_is_read(
    ada: User, import_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "SECONDS_BETWEEN_LOOKS", 0.05)
    # The scanner for secrets is compiled at first use, which takes as long as the work here.
    masked("nothing")

    def work() -> None:
        time.sleep(0.3)
        reporter(import_id, 300)(7, 100)
        time.sleep(0.3)
        run_import(import_id, ada.pk)
        connections.close_all()

    worker = threading.Thread(target=work)
    worker.start()
    seen = follow(ada, import_id)
    worker.join()

    assert [name for name, _ in seen[:2]] == ["progress", "progress"]
    assert seen[0][1]["progress"] is None
    assert seen[1][1]["progress"] == {"records": 7, "bytes_read": 100, "bytes_total": 300}
    assert seen[-1][0] == "done"


def test_a_quiet_stream_pings(ada: User, import_id: UUID, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "SECONDS_BETWEEN_LOOKS", 0.05)
    monkeypatch.setattr(events, "SECONDS_BETWEEN_PINGS", 0.1)
    monkeypatch.setattr(events, "LONGEST_STREAM_SECONDS", 1)

    names = [name for name, _ in follow(ada, import_id)]

    assert names[0] == "progress"
    assert set(names[1:]) == {"ping"}
