"""What accounts report to the change stream: names of changes, and who came and went."""

from typing import Any

from django.conf import settings
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.http import HttpRequest
from redis import RedisError

from accounts.choices import SubscriptionStatus, Tier
from accounts.models import User
from accounts.selectors.logins import login_of, owner_of
from accounts.tokens import Bearer, token_of_header
from audit.choices import SecurityKind
from audit.naming import Values, name_changes
from audit.recording import record
from common.health import redis_client

REPEATED_SECONDS = 60


def report() -> None:
    """From here on the stream has the domain's names, and logins leave a trace."""
    name_changes("user-registration", table="accounts_user", operation="INSERT")
    name_changes("profile-change", table="accounts_user", operation="UPDATE")
    name_consents()
    name_subscriptions()
    name_biometric_keys()
    user_logged_in.connect(note_login, dispatch_uid="note_login")
    user_logged_out.connect(note_logout, dispatch_uid="note_logout")
    user_login_failed.connect(note_failed_login, dispatch_uid="note_failed_login")


def name_consents() -> None:
    table = "accounts_consent"
    name_changes("consent-given", table=table, operation="INSERT", when=_agrees)
    name_changes("consent-withdrawn", table=table, operation="INSERT")


def name_subscriptions() -> None:
    """A conversion begins premium, a cancellation ends it or its renewal; the rest is change."""
    table = "accounts_subscription"
    for operation in ("INSERT", "UPDATE"):
        name_changes("subscription-conversion", table=table, operation=operation, when=_converts)
        name_changes("subscription-cancellation", table=table, operation=operation, when=_cancels)
        name_changes("subscription-change", table=table, operation=operation)


def name_biometric_keys() -> None:
    table = "accounts_biometrickey"
    name_changes("biometric-key-registered", table=table, operation="UPDATE", when=_registers)
    name_changes("biometric-key-revoked", table=table, operation="UPDATE", when=_revokes)


def _registers(old: Values, new: Values) -> bool:
    return bool(new.get("registered_at")) and not old.get("registered_at")


def _revokes(old: Values, new: Values) -> bool:
    return bool(new.get("revoked_at")) and not old.get("revoked_at")


def _agrees(old: Values, new: Values) -> bool:
    return bool(new.get("given"))


def _converts(old: Values, new: Values) -> bool:
    return _premium_in_force(new) and not _premium_in_force(old)


def _cancels(old: Values, new: Values) -> bool:
    return bool(new.get("cancelled_at")) and not old.get("cancelled_at")


def _premium_in_force(row: Values) -> bool:
    return (row.get("tier"), row.get("status")) == (Tier.PREMIUM, SubscriptionStatus.ACTIVE)


def note_login(sender: Any, user: User, **_: Any) -> None:
    record(SecurityKind.LOGIN_SUCCEEDED, user_id=user.pk, actor_id=user.pk, by_person=True)


def note_logout(sender: Any, user: User | None, **_: Any) -> None:
    if user is not None:
        record(SecurityKind.LOGGED_OUT, user_id=user.pk, actor_id=user.pk, by_person=True)


def note_failed_login(
    sender: Any, credentials: dict[str, Any], request: HttpRequest | None = None, **_: Any
) -> None:
    """Whose login it was meant to be, if anybody's; never the name that was typed."""
    record(SecurityKind.LOGIN_FAILED, user_id=owner_of(login_of(credentials)), by_person=True)


def note_refused_token(authorization: str) -> None:
    """A token of somebody's that opens nothing any more; what was never a token is no event."""
    token = token_of_header(authorization)
    if token is not None and first_in_a_while(f"refused-token:{token.pk}"):
        record(
            SecurityKind.TOKEN_REFUSED,
            user_id=token.user_id,
            subject="accounts_personalaccesstoken",
            row_id=token.pk,
        )


def note_refused_access(bearer: Bearer, scope: str) -> None:
    """A token was used for what it does not cover."""
    if first_in_a_while(f"refused-access:{bearer.token_id}:{scope}"):
        record(
            SecurityKind.ACCESS_REFUSED,
            user_id=bearer.user.pk,
            actor_id=bearer.user.pk,
            subject="accounts_personalaccesstoken",
            row_id=bearer.token_id,
            details={"scope": scope},
        )


def first_in_a_while(what: str) -> bool:
    """Whether it did not happen within the last minute: a program tries again for ever."""
    try:
        return bool(
            redis_client().set(f"{settings.REDIS_PREFIX}{what}", 1, nx=True, ex=REPEATED_SECONDS)
        )
    except RedisError:
        return True
