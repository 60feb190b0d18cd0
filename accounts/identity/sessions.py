"""Sessions whose key is stored as a digest and whose content is sealed.

Whoever reads the table can neither use a session nor read what it holds: while somebody confirms
an address or resets a password, that is the address and the code.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends.base import CreateError, SessionBase, UpdateError
from django.db import IntegrityError, transaction
from django.http import HttpRequest
from django.utils import timezone

from accounts.choices import Realm
from accounts.models import DeviceSession, StoredSession
from common.encryption.derivation import keyed_digest
from common.encryption.errors import DecryptionError
from common.encryption.house import open_for_house, seal_for_house
from common.tenancy import OPERATOR_ALIAS, current_alias

PURPOSE = "sessions"
# Under this name a session holds the DeviceSession that it belongs to.
DEVICE_SESSION = "device_session"


def device_session_of(request: HttpRequest) -> UUID | None:
    """The login that the request's session belongs to; None before one, and for an operator."""
    text = request.session.get(DEVICE_SESSION)
    return UUID(text) if text else None


def is_freshly_proved(request: HttpRequest) -> bool:
    session_id = device_session_of(request)
    fresh = DeviceSession.objects.freshly_proved()
    return session_id is not None and fresh.filter(pk=session_id).exists()


class SessionStore(SessionBase):
    """A session in the table of stored sessions, for persons and operators apart."""

    def __init__(self, session_key: str | None = None) -> None:
        super().__init__(session_key)
        # Of a session that was found by its login, whose key nobody here knows.
        self._digest: bytes | None = None

    @classmethod
    def of_login(cls, device_session_id: UUID) -> "SessionStore | None":
        """The stored session of a login, if it is there and holds."""
        row = (
            StoredSession.objects.usable(timezone.now())
            .filter(device_session_id=device_session_id)
            .order_by("-pk")
            .first()
        )
        if row is None:
            return None
        store = cls()
        store._digest = bytes(row.digest)
        store._session_cache = store._open(row)
        return store

    def exists(self, session_key: str) -> bool:
        return StoredSession.objects.of_realm().filter(digest=digest_of(session_key)).exists()

    def load(self) -> dict[str, Any]:
        digest = self._current_digest()
        row = digest and StoredSession.objects.usable(timezone.now()).filter(digest=digest).first()
        if not row:
            self._session_key = None
            return {}
        return self._open(row)

    def create(self) -> None:
        self._digest = None
        while True:
            self._session_key = self._get_new_session_key()  # type: ignore[attr-defined]  # not in the stubs
            try:
                self.save(must_create=True)
            except CreateError:
                continue
            self.modified = True
            return

    def save(self, must_create: bool = False) -> None:  # noqa: FBT001 - as overridden
        digest = self._current_digest()
        if digest is None:
            return self.create()
        content = self._get_session(no_load=must_create)  # type: ignore[attr-defined]  # not in the stubs
        columns = {
            "payload": self._seal(content, digest),
            "user_id": content.get(SESSION_KEY),
            "device_session_id": content.get(DEVICE_SESSION),
            "expires_at": _no_later_than_login(self.get_expiry_date(), content),
        }
        if must_create:
            return self._insert(digest, columns)
        # One that was ended meanwhile must not come back.
        usable = StoredSession.objects.usable(timezone.now())
        if not usable.filter(digest=digest).update(**columns):
            raise UpdateError
        return None

    def delete(self, session_key: str | None = None) -> None:
        digest = digest_of(session_key) if session_key else self._current_digest()
        if digest is not None:
            StoredSession.objects.of_realm().filter(digest=digest).delete()

    def cycle_key(self) -> None:
        """Afterwards it has another key. Raises UpdateError if its login was ended meanwhile."""
        content, former = self._get_session(), self._current_digest()  # type: ignore[attr-defined]  # not in the stubs
        self.create()
        self._session_cache = content
        if former is None:
            return
        ended, _ = StoredSession.objects.of_realm().filter(digest=former).delete()
        if not ended and DEVICE_SESSION in content:
            raise UpdateError

    def flush(self) -> None:
        self.delete()
        self.clear()
        self._digest = None
        self._session_key = None

    @classmethod
    def clear_expired(cls) -> None:
        StoredSession.objects.of_realm().filter(expires_at__lt=timezone.now()).delete()

    def _current_digest(self) -> bytes | None:
        if self._digest is not None:
            return self._digest
        return digest_of(self.session_key) if self.session_key else None

    def _insert(self, digest: bytes, columns: dict[str, Any]) -> None:
        house = current_alias() == OPERATOR_ALIAS
        realm = Realm.HOUSE if house else Realm.PERSON
        try:
            with transaction.atomic(using=current_alias()):
                StoredSession.objects.create(digest=digest, realm=realm, **columns)
        except IntegrityError as error:
            raise CreateError from error

    def _seal(self, content: dict[str, Any], digest: bytes) -> bytes:
        return seal_for_house(PURPOSE, self.serializer().dumps(content), digest)

    def _open(self, row: StoredSession) -> dict[str, Any]:
        try:
            content = open_for_house(PURPOSE, bytes(row.payload), bytes(row.digest))
        except DecryptionError:
            # Of a key that is no longer in use: as good as over.
            return {}
        return dict(self.serializer().loads(content))


def _no_later_than_login(expires_at: datetime, content: dict[str, Any]) -> datetime:
    """The time given, or the one by which the login is over in any case, if that is earlier."""
    login_id = content.get(DEVICE_SESSION)
    if login_id is None:
        return expires_at
    login = DeviceSession.objects.filter(pk=login_id).values_list("latest_at", flat=True)
    return min([expires_at, *login])


def digest_of(session_key: str) -> bytes:
    return keyed_digest("session keys", session_key.encode())
