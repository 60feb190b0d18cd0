from collections.abc import Mapping
from uuid import UUID

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts.choices import OPERATOR_ROLES, AccountStatus, Role, SessionEnd
from accounts.erasing import call_off
from accounts.errors import UnknownUserError, UsernameTakenError, WeakPasswordError
from accounts.models import ErasureRequest, StoredSession, User
from accounts.services.access_tokens import revoke_tokens_of
from accounts.services.sessions import end_sessions
from common.errors import InvalidInputError
from common.tenancy import acting_as, as_operator


def create_operator(*, username: str, password: str, role: Role = Role.SUPERADMIN) -> User:
    """Afterwards there is an operator who can log in to the admin.

    Raises InvalidInputError for a malformed name, UsernameTakenError and WeakPasswordError.
    """
    check_username(username)
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


def change_standing(*, user_id: UUID, role: Role, status: AccountStatus) -> None:
    """Afterwards the account has this role and status, and no login from before opens anything.

    Neither does a token, unless the account is an active person's. One that is opened is not
    erased any more, unless that has begun. An account that has both already keeps its logins.
    Runs as the operator, in the caller's transaction.
    """
    other = User.objects.filter(pk=user_id).exclude(role=role, account_status=status)
    if not other.update(role=role, account_status=status, updated_at=timezone.now()):
        return
    end_every_login(user_id=user_id)
    if role in OPERATOR_ROLES or status != AccountStatus.ACTIVE:
        revoke_tokens_of(user_id=user_id)
    if status == AccountStatus.ACTIVE:
        call_off(ErasureRequest.objects.visible_to(user_id))


def end_every_login(*, user_id: UUID) -> None:
    """Afterwards the account is logged in nowhere. Runs as the operator."""
    end_sessions(user_id=user_id, because=SessionEnd.ACCOUNT_CLOSED)
    # Those of operators belong to no login on a device.
    StoredSession.objects.filter(user_id=user_id).delete()


def check_username(username: str) -> None:
    """Raises InvalidInputError for a name like an address, which is another way to log in."""
    if "@" in username:
        raise InvalidInputError("A username has no @: it must not look like an address.")


def free_username(user_id: UUID) -> str:
    """A name for somebody who chose none; it says nothing of them, and is theirs alone."""
    return f"user-{user_id.hex[-12:]}"


def change_profile(*, user_id: UUID, changes: Mapping[str, str | None]) -> User:
    """Afterwards the person's names are as given; what is not named stays.

    `changes` may hold username, full_name, given_name and family_name. Raises InvalidInputError
    for a malformed username and UsernameTakenError.
    """
    check_username(changes.get("username") or "")
    with acting_as(user_id):
        user: User = User.objects.select_for_update(of=("self",)).get(pk=user_id)
        for name, value in changes.items():
            setattr(user, name, value)
        try:
            user.clean_fields(exclude=["password"])
        except ValidationError as error:
            raise InvalidInputError(" ".join(error.messages)) from error
        user.updated_at = timezone.now()
        try:
            with transaction.atomic():
                user.save(update_fields=[*changes, "updated_at"])
        except IntegrityError as error:
            raise UsernameTakenError("Choose another username.") from error
    return user
