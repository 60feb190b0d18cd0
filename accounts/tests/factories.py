from datetime import datetime
from itertools import count

from django.test import Client
from django.urls import reverse
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.choices import Role, Scope
from accounts.models import User
from accounts.services.access_tokens import issue_token
from accounts.services.users import create_operator
from accounts.tokens import Bearer
from common.ids import uuid7

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
    bearer = Bearer(user, uuid7(), frozenset(Scope), proved_at or timezone.now())
    client.force_authenticate(user=user, token=bearer)  # type: ignore[arg-type]  # whatever request.auth is
    return client
