from typing import Any

from allauth.account.auth_backends import AuthenticationBackend
from django.contrib.auth.base_user import AbstractBaseUser
from django.http import HttpRequest

from accounts.choices import Role
from accounts.lockout import count_attempt, note_success
from accounts.models import User
from accounts.selectors.logins import login_of, owner_of
from audit.choices import SecurityKind
from audit.recording import record
from common import context
from common.tenancy import OPERATOR_ALIAS, acting_as, become, current_alias, is_identifying


class IdentityBackend(AuthenticationBackend):  # type: ignore[misc]  # allauth has no types
    """Passwords, with a lock after failures; says who comes in once that is proved."""

    def authenticate(
        self, request: HttpRequest | None, **credentials: Any
    ) -> AbstractBaseUser | None:
        """Raises LockedOutError, which the middleware answers with 429 at every door."""
        login, address = login_of(credentials), context.origin.get().address
        locks = count_attempt(login, address)
        user: AbstractBaseUser | None = super().authenticate(request, **credentials)
        owner_id = owner_of(login)
        if user is None:
            if locks:
                record(SecurityKind.ACCOUNT_LOCKED, user_id=owner_id, by_person=True)
            return None
        if user.pk == owner_id:
            # A name may look like somebody else's address: it does not forget their failures.
            note_success(login, address)
        return user

    def _authenticate(
        self, request: HttpRequest | None, **credentials: Any
    ) -> AbstractBaseUser | None:
        """One look-up for what was typed, and so one hash: allauth tries it as a name, as the
        address that a name may be, and as an address."""
        login, password = login_of(credentials), str(credentials["password"])
        user: AbstractBaseUser | None = None
        if "@" in login:
            user = self._authenticate_by_email(login, password)
        return user or self._authenticate_by_username(login, password)

    def get_user(self, user_id: Any) -> AbstractBaseUser | None:
        user: AbstractBaseUser | None = super().get_user(user_id)
        if user is not None and is_identifying():
            become(user.pk)
        return user

    def user_can_authenticate(self, user: AbstractBaseUser) -> bool:
        """Operators come in at the admin, everybody else at the other doors."""
        if not super().user_can_authenticate(user):
            return False
        house = current_alias() == OPERATOR_ALIAS
        return isinstance(user, User) and house == (user.role != Role.USER)

    def _check_password(
        self, user: AbstractBaseUser | None, password: str
    ) -> AbstractBaseUser | None:
        owner: AbstractBaseUser | None
        if user is None or current_alias() == OPERATOR_ALIAS:
            owner = super()._check_password(user, password)
            return owner
        # A right password whose hash is of an older kind is hashed anew, which is a write.
        with acting_as(user.pk, switch=True):
            owner = super()._check_password(user, password)
            return owner
