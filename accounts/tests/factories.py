from datetime import datetime
from itertools import count

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from django.contrib.auth import SESSION_KEY
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.choices import Role, Scope
from accounts.identity.sealing import seal_secret
from accounts.identity.sessions import DEVICE_SESSION, SessionStore
from accounts.mail import Mail, store_mail
from accounts.models import DeviceSession, User
from accounts.services.access_tokens import issue_token
from accounts.services.sessions import Device, begin_session
from accounts.services.users import create_operator
from accounts.tokens import Bearer
from common.ids import uuid7
from common.tenancy import acting_as

_numbers = count(1)

PASSWORD = "correct horse battery staple"


def make_user(username: str = "") -> User:
    """A plain user, made as `app` makes one at sign-up."""
    user = User(username=username or f"user-{next(_numbers)}")
    user.set_unusable_password()
    user.save()
    return user


def make_operator(username: str = "", role: Role = Role.SUPERADMIN) -> User:
    """An operator with PASSWORD; needs a transactional test, since another login makes it."""
    return create_operator(
        username=username or f"operator-{next(_numbers)}", password=PASSWORD, role=role
    )


def client_of(user: User, *scopes: Scope) -> APIClient:
    """A client of the API with a new token of the user, by default with every scope."""
    client = APIClient()
    secret = issue_token(user=user, name="test", scopes=scopes or tuple(Scope))
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {secret}")
    return client


def operator_browser(
    username: str = "", *, role: Role = Role.SUPERADMIN, reason: str = "to look after the test"
) -> Client:
    """A browser in which a new operator has logged in, through the form, and said why."""
    operator = make_operator(username, role)
    client = Client()
    answer = client.post(
        reverse("admin:login"),
        {"username": operator.username, "password": PASSWORD, "next": "/admin/"},
    )
    assert answer.status_code == 302
    if reason:
        assert client.post(reverse("admin:reason"), {"reason": reason}).status_code == 302
    return client


def logged_in_client_of(user: User, *, proved_at: datetime | None = None) -> APIClient:
    """A client of the API in which the user has logged in, just now unless told otherwise."""
    client = APIClient()
    bearer = Bearer(
        user, frozenset(Scope), session_id=uuid7(), proved_at=proved_at or timezone.now()
    )
    client.force_authenticate(user=user, token=bearer)  # type: ignore[arg-type]  # whatever request.auth is
    return client


def keep_session(user: User) -> DeviceSession:
    """A login of the user's, on a phone."""
    with acting_as(user.pk):
        return begin_session(
            user_id=user.pk, method="password", device=Device("phone", "ios", "Ada's phone")
        )


def keep_identity(user: User) -> None:
    """What somebody has who signed up, logged in and proves it in several ways."""
    session = keep_session(user)
    with acting_as(user.pk):
        user.full_name = f"Whole name of {user.username}"
        user.save()
        EmailAddress.objects.create(
            user=user, email=f"{user.username}@example.org", verified=True, primary=True
        )
        SocialAccount.objects.create(user=user, provider="google", uid=f"google-{user.username}")
        Authenticator.objects.create(
            user=user, type="totp", data={"secret": seal_secret(user.pk, "JBSWY3DPEHPK3PXP")}
        )
        store = SessionStore()
        store.update({SESSION_KEY: str(user.pk), DEVICE_SESSION: str(session.pk)})
        store.save()
        store_mail(Mail(f"{user.username}@example.org", "A word", "Dear you"))
