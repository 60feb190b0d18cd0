"""One database takes the place of another: both are renamed, or neither is."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from psycopg import errors, sql

from operations.backups.logins import Connection, beside
from operations.errors import RestoreFailedError

ATTEMPTS = 5
# The rename itself waits five seconds for sessions that end.
LOCK_SECONDS = 20
SECONDS_BETWEEN = 0.05

END_SESSIONS = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datid = ANY (SELECT oid FROM pg_database WHERE datname = ANY (%s::text[]))
"""


def swap(*, old: str, kept_as: str, new: str) -> None:
    """Afterwards the database `new` is called `old`, and what was `old` is called `kept_as`.

    The sessions of both are ended; whoever connects again finds the new one. One transaction
    does it, so that killed at any moment one of the two serves. Raises RestoreFailedError.
    """
    with beside(old) as server:
        server.execute(sql.SQL("SET lock_timeout = {}").format(f"{LOCK_SECONDS}s"))
        for _ in range(ATTEMPTS):
            try:
                # A session cannot begin while the rename holds its lock, but may be older.
                with _sessions_ended(old, new), server.transaction():
                    rename(server, old, kept_as)
                    rename(server, new, old)
            except (errors.ObjectInUse, errors.LockNotAvailable) as error:
                reason = str(error.diag.message_primary)
            else:
                return
    raise RestoreFailedError(
        f"The database {old} is still used and was not replaced: {reason}."
        " Stop what uses it, and restore again."
    )


def rename(server: Connection, name: str, to: str) -> None:
    statement = sql.SQL("ALTER DATABASE {} RENAME TO {}")
    server.execute(statement.format(sql.Identifier(name), sql.Identifier(to)))


@contextmanager
def _sessions_ended(*names: str) -> Iterator[None]:
    """Within the block the databases' sessions are ended again and again."""
    done = threading.Event()
    with beside(names[0]) as ending:

        def end() -> None:
            while not done.wait(SECONDS_BETWEEN):
                ending.execute(END_SESSIONS, [list(names)])

        thread = threading.Thread(target=end)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
