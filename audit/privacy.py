"""What the stream keeps of people, and what an erasure takes of it."""

from uuid import UUID

from django.conf import settings
from django.db import connections

from audit.models import ChangeEvent, SecurityEvent, SecurityOrigin
from common.privacy import DELETED, kept, register, register_step
from common.tenancy import OPERATOR_ALIAS

ACCOUNTABILITY = "accountability and defence of legal claims: ids, states and times, no words"


def register_privacy() -> None:
    """From here on exports and erasures know the stream."""
    for model in (ChangeEvent, SecurityEvent):
        register(model, erased=kept(ACCOUNTABILITY, days=settings.AUDIT_EVENT_DAYS))
    register(SecurityOrigin, erased=DELETED)
    register_step(forget_origins)


def forget_origins(user_id: UUID) -> dict[str, int]:
    """Afterwards no address and no agent of the person is left."""
    with connections[OPERATOR_ALIAS].cursor() as cursor:
        cursor.execute("SELECT audit_forget_origins(%s)", [user_id])
        (count,) = cursor.fetchone()
    return {"audit_security_origin": count} if count else {}
