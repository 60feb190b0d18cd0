"""What follows from logins, proofs and changes, whichever of allauth's doors they came through."""

import secrets
from typing import Any

from allauth.account import signals as account_signals
from allauth.account.internal.flows.login import AUTHENTICATION_METHODS_SESSION_KEY
from allauth.account.models import EmailAddress
from allauth.mfa import signals as mfa_signals
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.db.models.signals import pre_save
from django.http import HttpRequest

from accounts.choices import SessionEnd
from accounts.identity.devices import device_of
from accounts.identity.sessions import DEVICE_SESSION, device_session_of
from accounts.identity.social import forget_claims
from accounts.identity.used_codes import remember_used_codes
from accounts.lockout import open_account
from accounts.models import User
from accounts.services.sessions import begin_session, end_sessions, renew_proof
from audit.choices import SecurityKind
from audit.recording import record
from common.tenancy import become, current_actor, is_identifying

# Doors at which a code proves an address as well.
RESETS = frozenset({"reset_password", "account_confirm_password_reset_code"})
# As many as a number in JavaScript keeps exactly.
ID_BITS = 53


def connect() -> None:
    """From here on logins have sessions that can be seen and ended, and leave a trace."""
    for signal, receiver in (
        (user_logged_in, begin),
        (user_logged_out, end),
        (account_signals.authentication_step_completed, note_proof),
        (account_signals.password_changed, end_others),
        (account_signals.password_set, end_others),
        (account_signals.password_reset, end_all),
        (account_signals.email_confirmed, note_confirmed),
        (account_signals.email_changed, note_changed_address),
        (account_signals.email_added, note_changed_address),
        (account_signals.email_removed, note_changed_address),
        (mfa_signals.authenticator_added, note_second_factor),
        (mfa_signals.authenticator_removed, note_second_factor),
        (mfa_signals.authenticator_reset, note_second_factor),
        (mfa_signals.authentication_failed, note_failed_factor),
    ):
        signal.connect(receiver, dispatch_uid=f"identity {receiver.__name__} {id(signal)}")
    remember_used_codes()
    pre_save.connect(forget_claims, sender=SocialAccount, dispatch_uid="forget_claims")
    pre_save.connect(number_at_random, sender=Authenticator, dispatch_uid="number_at_random")
    for sender in (SocialAccount, Authenticator):
        pre_save.connect(act_for_owner, sender=sender, dispatch_uid=f"act for {sender.__name__}")


def act_for_owner(sender: Any, instance: Any, **_: Any) -> None:
    """An ID token or a passkey that was right is noted before the login that it opens."""
    if is_identifying() and current_actor() is None:
        become(instance.user_id)


def number_at_random(sender: Any, instance: Authenticator, **_: Any) -> None:
    """Its id is told to its owner: counted up, it would tell how many others there are."""
    if instance.pk is None:
        instance.pk = secrets.randbits(ID_BITS)


def begin(sender: Any, request: HttpRequest, user: User, **_: Any) -> None:
    """A login of a person begins a session; those of operators are the admin's."""
    if not is_identifying():
        return
    records = request.session.get(AUTHENTICATION_METHODS_SESSION_KEY) or [{"method": "signup"}]
    session = begin_session(
        user_id=user.pk, method=str(records[-1]["method"])[:30], device=device_of(request)
    )
    request.session[DEVICE_SESSION] = str(session.pk)


def end(sender: Any, request: HttpRequest, user: User | None, **_: Any) -> None:
    session_id = device_session_of(request)
    if user is not None and session_id is not None:
        end_sessions(user_id=user.pk, session_ids=[session_id], because=SessionEnd.LOGGED_OUT)


def note_proof(sender: Any, request: HttpRequest, user: User, **details: Any) -> None:
    session_id = device_session_of(request)
    if details.get("reauthenticated") and session_id is not None:
        renew_proof(session_id=session_id)
        record(SecurityKind.REAUTHENTICATED, user_id=user.pk, actor_id=user.pk)


def end_others(sender: Any, request: HttpRequest, user: User, **_: Any) -> None:
    record(SecurityKind.PASSWORD_CHANGED, user_id=user.pk, actor_id=user.pk)
    end_sessions(
        user_id=user.pk, because=SessionEnd.PASSWORD_CHANGED, kept=device_session_of(request)
    )


def end_all(sender: Any, request: HttpRequest, user: User, **_: Any) -> None:
    """Whoever had the former password has no session left, and locks are open for the owner."""
    record(SecurityKind.PASSWORD_RESET, user_id=user.pk, actor_id=user.pk)
    end_sessions(user_id=user.pk, because=SessionEnd.PASSWORD_CHANGED)
    addresses = EmailAddress.objects.filter(user_id=user.pk).values_list("email", flat=True)
    for login in (user.username, *addresses):
        open_account(login)


def note_confirmed(
    sender: Any, request: HttpRequest, email_address: EmailAddress, **_: Any
) -> None:
    user_id = email_address.user_id
    record(SecurityKind.EMAIL_CONFIRMED, user_id=user_id, actor_id=user_id)
    match = request.resolver_match
    if match is not None and match.url_name in RESETS:
        forget_whoever_came_before(email_address)


def forget_whoever_came_before(email_address: EmailAddress) -> None:
    """Afterwards no provider opens an account whose first confirmed address this is.

    It was confirmed by a reset: somebody else may have signed up with the address, and waits for
    its owner to move in.
    """
    others = EmailAddress.objects.filter(user_id=email_address.user_id, verified=True)
    if not others.exclude(pk=email_address.pk).exists():
        SocialAccount.objects.filter(user_id=email_address.user_id).delete()


def note_changed_address(sender: Any, user: User, **_: Any) -> None:
    record(SecurityKind.EMAIL_CHANGED, user_id=user.pk, actor_id=user.pk)


def note_second_factor(sender: Any, user: User, authenticator: Any, **_: Any) -> None:
    record(
        SecurityKind.SECOND_FACTOR_CHANGED,
        user_id=user.pk,
        actor_id=user.pk,
        details={"type": str(authenticator.type)},
    )


def note_failed_factor(sender: Any, user: User, **_: Any) -> None:
    record(SecurityKind.SECOND_FACTOR_FAILED, user_id=user.pk)
