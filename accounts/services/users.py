"""Use cases of accounts."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from accounts.choices import Role, Scope
from accounts.errors import UnknownUserError, UsernameTakenError, WeakPasswordError
from accounts.models import PersonalAccessToken, User
from accounts.tokens import HINT_LENGTH, digest_of, new_secret
from common.errors import InvalidInputError
from common.tenancy import acting_as, as_operator, current_alias


def create_operator(*, username: str, password: str, role: Role = Role.SUPERADMIN) -> User:
    """Afterwards there is an operator who can log in to the admin.

    Raises InvalidInputError for a malformed name, UsernameTakenError and WeakPasswordError.
    """
    user = User(username=username, role=role)
    try:
        user.clean_fields(exclude=["password"])
    except ValidationError as error:
        raise InvalidInputError(" ".join(error.messages)) from error
    try:
        validate_password(password, user)
    except ValidationError as error:
        raise WeakPasswordError(" ".join(error.messages)) from error
    user.set_password(password)
    with as_operator("create an operator"):
        # Two starts at once make one operator: the unique constraint decides.
        created = User.objects.bulk_create([user], ignore_conflicts=True)
        if not User.objects.filter(pk=created[0].pk).exists():
            raise UsernameTakenError(f"Choose another username than {username}.")
    return user


def first_operator() -> User | None:
    """The operator who was made first: the owner of what commands import by default."""
    with as_operator("find the first operator"):
        first: User | None = User.objects.operators().active().first()
    return first


def find_user(username: str) -> User:
    """The user of that name, in any case. Raises UnknownUserError."""
    with as_operator("find a user by name"):
        user: User | None = User.objects.named(username).first()
    if user is None:
        raise UnknownUserError(f"There is no user called {username}.")
    return user


def issue_token(
    *,
    user: User,
    name: str,
    scopes: Sequence[Scope] = tuple(Scope),
    expires_at: datetime | None = None,
    reason: str = "",
) -> str:
    """Afterwards the user has one more access token; its secret is returned this once.

    With a `reason` it is the house that issues it, and not the person.
    """
    secret = new_secret()
    with as_operator(reason) if reason else acting_as(user.pk):
        PersonalAccessToken.objects.create(
            user=user,
            name=name,
            digest=digest_of(secret),
            hint=secret[:HINT_LENGTH],
            scopes=sorted(scopes),
            expires_at=expires_at,
        )
    return secret


def revoke_tokens(*, token_ids: Sequence[UUID]) -> int:
    """Afterwards the tokens open nothing; returns how many did until then.

    Runs as whoever calls: a person within `acting_as`, or the operator.
    """
    with transaction.atomic(using=current_alias()):
        return PersonalAccessToken.objects.filter(pk__in=token_ids, revoked_at=None).update(
            revoked_at=timezone.now()
        )
