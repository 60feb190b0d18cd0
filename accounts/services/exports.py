import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from secrets import token_urlsafe
from typing import IO
from uuid import UUID

from django.conf import settings
from django.core.files.storage import default_storage
from django.db import IntegrityError, transaction
from django.urls import reverse
from django.utils import timezone

from accounts.choices import ExportStatus
from accounts.errors import ExportNotReadyError, ExportUnderWayError, UnknownLinkError
from accounts.models import ExportRequest
from accounts.tasks import build_export
from audit.choices import SecurityKind
from audit.recording import record
from common.errors import NotFoundError
from common.queue import enqueue
from common.tenancy import acting_as, as_operator

LINK_VALID = timedelta(minutes=15)
BY_LINK = "an export is taken by its link"


@dataclass(frozen=True)
class Link:
    """An address that gives the file once."""

    url: str
    expires_at: datetime


def request_export(*, user_id: UUID) -> ExportRequest:
    """Afterwards an export is queued, and a worker builds it soon.

    Raises ExportUnderWayError while another one is being built.
    """
    with acting_as(user_id):
        try:
            with transaction.atomic():
                row = ExportRequest.objects.create(user_id=user_id)
        except IntegrityError as error:
            raise ExportUnderWayError("Wait until the one before is ready.") from error
        enqueue(build_export, str(row.pk))
        row.refresh_from_db()
    return row


def make_download_link(*, user_id: UUID, export_id: UUID) -> Link:
    """Afterwards one link gives the file, once and for LINK_VALID; an earlier one gives nothing.

    Raises NotFoundError, and ExportNotReadyError if there is no file (any more).
    """
    token, now = token_urlsafe(32), timezone.now()
    mine = ExportRequest.objects.visible_to(user_id).filter(pk=export_id)
    with acting_as(user_id):
        given = mine.filter(status=ExportStatus.READY, expires_at__gt=now).update(
            link_digest=_digest_of(token), link_expires_at=now + LINK_VALID
        )
        if not given and not mine.exists():
            raise NotFoundError("There is no such export.")
        if not given:
            raise ExportNotReadyError("Wait until it is ready, or ask for another one.")
    path = reverse("export-download", args=[token])
    return Link(f"{settings.SITE_URL}{path}", now + LINK_VALID)


def take_export(*, token: str) -> tuple[ExportRequest, IO[bytes]]:
    """Afterwards the link is used up, and the file is open. Raises UnknownLinkError.

    Of several who come with it at once one gets the file.
    """
    now, digest = timezone.now(), _digest_of(token)
    with as_operator(BY_LINK):
        row = ExportRequest.objects.given_out(digest, now).first()
        # Whoever uses the link up, or ends it, takes the digest away: one of them does.
        taken = row and ExportRequest.objects.filter(pk=row.pk, link_digest=digest).update(
            link_digest=None, link_expires_at=None, taken_at=now
        )
    if row is None or not taken:
        raise UnknownLinkError("Ask for another link.")
    try:
        file = default_storage.open(row.stored_as, "rb")
    except FileNotFoundError as error:
        raise UnknownLinkError("The file is gone: ask for another export.") from error
    record(
        SecurityKind.EXPORT_TAKEN,
        user_id=row.user_id,
        subject="accounts_exportrequest",
        row_id=row.pk,
        by_person=True,
    )
    return row, file


def _digest_of(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
