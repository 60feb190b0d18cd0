"""Passwords: hashes that came from elsewhere, and words that are no secret."""

from types import SimpleNamespace
from typing import Any

from allauth.account.models import EmailAddress
from django.contrib.auth.hashers import BCryptPasswordHasher
from django.contrib.auth.password_validation import UserAttributeSimilarityValidator

from accounts.models import User
from accounts.models.users import NAMES

# Of a longer password bcrypt never looked at the rest; its library now refuses it.
BCRYPT_BYTES = 72


class CutBCryptPasswordHasher(BCryptPasswordHasher):
    """Verifies what bcrypt made of a password elsewhere, however long the password is."""

    def encode(self, password: str, salt: Any) -> str:
        hashed = self._load_library().hashpw(password.encode()[:BCRYPT_BYTES], salt)  # type: ignore[attr-defined]  # not in the stubs
        return f"{self.algorithm}${hashed.decode('ascii')}"


class OwnWordsValidator(UserAttributeSimilarityValidator):
    """Refuses a password that is like the username, a name or an address of its person."""

    def __init__(self) -> None:
        super().__init__(user_attributes=("username", "email", *NAMES))

    def validate(self, password: str, user: Any = None) -> None:
        """Raises ValidationError."""
        if user is not None:
            addresses = EmailAddress.objects.filter(user_id=user.pk)
            said = {name: getattr(user, name) for name in ("username", *NAMES)}
            self.compare(password, {**said, "email": " ".join(a.email for a in addresses)})

    def compare(self, password: str, said: dict[str, Any]) -> None:
        """The same with what somebody says who has no account yet."""
        words: Any = SimpleNamespace(_meta=User._meta, **said)  # noqa: SLF001 - Django's public one
        super().validate(password, words)
