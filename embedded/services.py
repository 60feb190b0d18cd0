"""PostgreSQL and Redis of one checkout, shared by all who use them at the same time."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from embedded.account import service_account
from embedded.locks import Share, exclusive
from embedded.places import Places
from embedded.postgres import Postgres
from embedded.redis import Redis
from embedded.server import START_PATIENCE, Server


class Services:
    """The embedded services whose data lie in one folder.

    Making one touches nothing on disk. Reading a host, a socket or a password makes at most
    a small file with a secret.
    """

    def __init__(self, local: Path, *, durable: bool = True) -> None:
        self._places = Places(local)
        self.postgres = Postgres(self._places, durable=durable)
        self.redis = Redis(self._places, durable=durable)

    def password(self, name: str) -> str:
        """The secret of that name: the same for everyone who asks, made at the first call."""
        return self._places.secret(name)

    def start(self) -> None:
        """Both services run and are ready to work."""
        with self._start_lock():
            self._start()

    def stop(self) -> None:
        """Neither service runs, whoever may have been using them."""
        with self._start_lock():
            self._stop()

    def state(self) -> dict[str, str]:
        """What each service is doing: running, starting, stopped."""
        return {server.key: server.state() for server in self._servers}

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Both services run inside the block; the last user to leave stops them.

        May be nested, and used by threads. A user that is killed counts no more, but leaves
        the services running until the next one leaves.
        """
        with self._start_lock():
            share = Share(self._places.local / "users")
            try:
                self._start()
            except BaseException:
                # One of the two may run by now, and nobody would ever stop it.
                if share.leave():
                    self._stop()
                raise
        user = os.getpid()
        try:
            yield
        finally:
            # A forked child that unwinds its copy of the stack must not end its parent's use.
            if os.getpid() == user:
                with self._start_lock():
                    if share.leave():
                        self._stop()

    @property
    def _servers(self) -> tuple[Server, Server]:
        return self.postgres, self.redis

    def _start_lock(self) -> AbstractContextManager[None]:
        self._places.create()
        return exclusive(self._places.local / "lock", patience=START_PATIENCE + 60)

    def _start(self) -> None:
        account = service_account()
        self._places.create_data(account)
        for server in self._servers:
            server.start(account)

    def _stop(self) -> None:
        for server in reversed(self._servers):
            server.stop()
