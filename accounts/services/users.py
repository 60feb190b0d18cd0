from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError

from accounts.choices import Role
from accounts.errors import UnknownUserError, UsernameTakenError, WeakPasswordError
from accounts.models import User
from common.errors import InvalidInputError
from common.tenancy import as_operator


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
