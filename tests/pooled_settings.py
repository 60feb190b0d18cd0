"""The settings of tests that go through PgBouncer, and of the processes that they start.

Without a PgBouncer they are those of the application. Superuser and backups stay direct: dumps need
a session of their own.
"""

import os

from config.settings import *  # noqa: F403 - Django's way to vary settings
from config.settings import BASE_DIR, DATABASES, LOCAL_DIR
from tests import pgbouncer as _pgbouncer

# Services of another folder are not those that this PgBouncer leads to.
if _pgbouncer.FOLDER_VARIABLE in os.environ and LOCAL_DIR == BASE_DIR / ".local" / "test":
    for _alias, _entry in DATABASES.items():
        if _alias != "backup":
            _entry["HOST"] = os.environ[_pgbouncer.FOLDER_VARIABLE]
            _entry["PORT"] = _pgbouncer.PORT
