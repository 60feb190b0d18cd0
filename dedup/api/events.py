"""Server-sent events of an import's progress, from the live process."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Any
from uuid import UUID

from asgiref.sync import sync_to_async
from django.db import close_old_connections
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.views.decorators.http import require_GET

from accounts.choices import Scope
from accounts.events import note_refused_access, note_refused_token
from accounts.tokens import bearer_of_header
from common.api.errors import problem_response
from common.tenancy import acting_as
from dedup.api.serializers import ImportOutput
from dedup.choices import ImportStatus
from dedup.models import Import
from dedup.progress import progress_of

SECONDS_BETWEEN_LOOKS = 0.5
SECONDS_BETWEEN_PINGS = 15
# A browser that still wants to know connects again by itself.
LONGEST_STREAM_SECONDS = 1800

FINAL_EVENTS = {ImportStatus.COMPLETED: "done", ImportStatus.FAILED: "error"}


@require_GET
async def import_events(request: HttpRequest, import_id: UUID) -> HttpResponseBase:
    """`progress` while the import is read, then `done` or `error`; `ping` in between."""
    header = request.headers.get("Authorization", "")
    bearer = await sync_to_async(_with_own_connection)(bearer_of_header, header)
    if bearer is None:
        await sync_to_async(_with_own_connection)(note_refused_token, header)
        response = problem_response(401, "not_authenticated", "Send a personal access token.")
        response["WWW-Authenticate"] = 'Bearer realm="commonplace"'
        return response
    if Scope.ARCHIVES_READ not in bearer.scopes:
        await sync_to_async(_with_own_connection)(note_refused_access, bearer, Scope.ARCHIVES_READ)
        return problem_response(
            403, "permission_denied", f"This needs a token with the scope {Scope.ARCHIVES_READ}."
        )
    if await _state(bearer.user.pk, import_id) is None:
        return _not_found()
    return StreamingHttpResponse(
        _events(bearer.user.pk, import_id),
        content_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


def _not_found() -> HttpResponse:
    return problem_response(404, "not_found", "There is no such thing, or it is not yours.")


async def _events(user_id: UUID, import_id: UUID) -> AsyncIterator[str]:
    started = sent_at = time.monotonic()
    sent: dict[str, Any] | None = None
    while time.monotonic() - started < LONGEST_STREAM_SECONDS:
        state = await _state(user_id, import_id)
        if state is None:
            return
        if state != sent:
            sent, sent_at = state, time.monotonic()
            yield _event(FINAL_EVENTS.get(state["status"], "progress"), state)
        if state["status"] in FINAL_EVENTS:
            return
        if time.monotonic() - sent_at > SECONDS_BETWEEN_PINGS:
            sent_at = time.monotonic()
            yield _event("ping", {})
        await asyncio.sleep(SECONDS_BETWEEN_LOOKS)


def _event(name: str, data: dict[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps(data, default=str)}\n\n"


async def _state(user_id: UUID, import_id: UUID) -> dict[str, Any] | None:
    state: dict[str, Any] | None = await sync_to_async(_with_own_connection)(
        _read_state, user_id, import_id
    )
    return state


def _read_state(user_id: UUID, import_id: UUID) -> dict[str, Any] | None:
    # Each look is a short transaction of its own: a stream must not hold one open.
    with acting_as(user_id):
        rows = Import.objects.visible_to(user_id).select_related("artifact")
        row = rows.filter(pk=import_id).first()
        if row is None:
            return None
        state = dict(ImportOutput(row).data)
    progress = None if row.finished_at else progress_of(row.pk)
    return {**state, "progress": asdict(progress) if progress else None}


def _with_own_connection(function: Any, *arguments: Any) -> Any:
    """Call it, and give the connection back: no request ends here that would do so."""
    try:
        return function(*arguments)
    finally:
        close_old_connections()
