"""Logins on devices: begun, refreshed, seen, ended."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from accounts.choices import SessionEnd
from accounts.models import DeviceSession, ExportRequest, StoredSession
from accounts.querysets import DeviceSessionQuerySet
from accounts.session_tokens import (
    GRACE,
    access_token_of,
    read_refresh_token,
    refresh_token_of,
)
from audit.choices import SecurityKind
from audit.recording import record
from common import context
from common.errors import NotFoundError
from common.tenancy import acting_as, current_alias


@dataclass(frozen=True)
class Device:
    """What a client says of the device that it runs on."""

    device_id: str = ""
    platform: str = ""
    name: str = ""
    model: str = ""
    app_version: str = ""
    os_version: str = ""


@dataclass(frozen=True)
class Tokens:
    access_token: str
    refresh_token: str


def begin_session(*, user_id: UUID, method: str, device: Device) -> DeviceSession:
    """Afterwards the person has one more session, and on this device no other one.

    Runs as the person. It lasts SESSION_DAYS from its last refresh, SESSION_LONGEST_DAYS at most.
    """
    now = timezone.now()
    origin = context.origin.get()
    if device.device_id:
        same = DeviceSession.objects.visible_to(user_id).filter(device_id=device.device_id)
        _end(same, SessionEnd.REPLACED, now)
    latest_at = now + timedelta(days=settings.SESSION_LONGEST_DAYS)
    return DeviceSession.objects.create(
        user_id=user_id,
        device_id=device.device_id,
        platform=device.platform,
        device_name=device.name or None,
        device_model=device.model,
        app_version=device.app_version,
        os_version=device.os_version,
        address=origin.address or None,
        agent=origin.agent or None,
        method=method,
        proved_at=now,
        last_seen_at=now,
        expires_at=min(now + timedelta(days=settings.SESSION_DAYS), latest_at),
        latest_at=latest_at,
    )


def tokens_of(session: DeviceSession) -> Tokens:
    """An access token, and the refresh token that is valid."""
    return Tokens(
        access_token_of(session.pk, session.user_id, timezone.now()),
        refresh_token_of(session.pk, session.generation),
    )


def refresh_session(token: str) -> Tokens | None:
    """Exchange a refresh token; None if it opens nothing.

    Afterwards the token is used up and the session's end has moved ahead. The same token within
    GRACE gets the same successor. An older one ends the session.
    """
    said = read_refresh_token(token)
    if said is None:
        return None
    now = timezone.now()
    known = DeviceSession.objects.usable(now).filter(pk=said.session_id).first()
    if known is None:
        return None
    with acting_as(known.user_id, switch=True):
        session = (
            DeviceSession.objects.usable(now)
            .select_for_update(of=("self",))
            .filter(pk=said.session_id)
            .first()
        )
        if session is None:
            return None
        if said.generation == session.generation:
            _rotate(session, now)
        elif not _is_repeated(session, said.generation, now):
            end_sessions(
                user_id=session.user_id, session_ids=[session.pk], because=SessionEnd.REFRESH_REUSED
            )
            record(
                SecurityKind.REFRESH_REUSED,
                user_id=session.user_id,
                subject="accounts_devicesession",
                row_id=session.pk,
            )
            return None
        return tokens_of(session)


def _is_repeated(session: DeviceSession, generation: int, now: datetime) -> bool:
    return (
        generation == session.generation - 1
        and session.rotated_at is not None
        and now - session.rotated_at <= GRACE
    )


def _rotate(session: DeviceSession, now: datetime) -> None:
    session.generation += 1
    session.rotated_at = session.last_seen_at = now
    session.expires_at = min(now + timedelta(days=settings.SESSION_DAYS), session.latest_at)
    session.save(update_fields=["generation", "rotated_at", "last_seen_at", "expires_at"])
    StoredSession.objects.filter(device_session=session).update(expires_at=session.expires_at)


def revoke_session(*, user_id: UUID, session_id: UUID) -> None:
    """Afterwards the person's session opens nothing. Raises NotFoundError."""
    with acting_as(user_id):
        if not DeviceSession.objects.visible_to(user_id).filter(pk=session_id).exists():
            raise NotFoundError("There is no such session.")
        end_sessions(user_id=user_id, session_ids=[session_id], because=SessionEnd.REVOKED)


def revoke_other_sessions(*, user_id: UUID, kept: UUID | None) -> int:
    """Afterwards no session of the person but `kept` opens anything; returns how many did."""
    with acting_as(user_id):
        return end_sessions(user_id=user_id, because=SessionEnd.REVOKED, kept=kept)


def end_sessions(
    *,
    user_id: UUID,
    because: SessionEnd,
    session_ids: Sequence[UUID] | None = None,
    kept: UUID | None = None,
) -> int:
    """Afterwards these sessions of the person, or all but `kept`, open nothing.

    Neither does a link to an export, unless somebody just logged out. Returns how many sessions
    went on until then. Runs as the person, or as the operator.
    """
    sessions = DeviceSession.objects.visible_to(user_id)
    if session_ids is not None:
        sessions = sessions.filter(pk__in=session_ids)
    if kept is not None:
        sessions = sessions.exclude(pk=kept)
    with transaction.atomic(using=current_alias()):
        ended = _end(sessions, because, timezone.now())
        if because != SessionEnd.LOGGED_OUT:
            ExportRequest.objects.visible_to(user_id).end_links()
    if ended:
        record(
            SecurityKind.SESSION_ENDED,
            user_id=user_id,
            details={"because": because.value, "sessions": ended},
        )
    return ended


def _end(sessions: DeviceSessionQuerySet, because: SessionEnd, now: datetime) -> int:
    ids = list(sessions.filter(ended_at__isnull=True).order_by("pk").values_list("pk", flat=True))
    # Only what still goes on: of two who end it at once one did.
    ended = DeviceSession.objects.filter(pk__in=ids, ended_at__isnull=True).update(
        ended_at=now, ended_because=because
    )
    StoredSession.objects.filter(device_session_id__in=ids).delete()
    return ended


def renew_proof(*, session_id: UUID) -> None:
    """Afterwards the session counts as just proved. Runs as the person."""
    DeviceSession.objects.filter(pk=session_id).update(proved_at=timezone.now())
