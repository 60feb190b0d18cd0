"""The tests' services, as a pytest plugin: it must set the environment before settings are read.

Nothing here touches the services or the data of `make run`. With TEST_PGBOUNCER=1 every login of
the application goes through PgBouncer.
"""

import os
from contextlib import ExitStack
from pathlib import Path

import pytest

from embedded import Services
from tests.pgbouncer import FOLDER_VARIABLE, MISSING, pgbouncer, program
from tests.throwaway import new_folder

# Two runs in one checkout share the services and nothing else. The workers of a run inherit this.
RUN = os.environ.setdefault("COMMONPLACE_TEST_RUN", str(os.getpid()))
WORKER = f"{RUN}_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
LOCAL = Path(__file__).resolve().parent.parent / ".local" / "test"

# Before the settings are read, which happens once this plugin is loaded.
os.environ["LOCAL_DIR"] = str(LOCAL)
os.environ["REDIS_PREFIX"] = f"test-{WORKER}:"
os.environ["SAMPLE_DATA"] = "false"
for limit in (
    "LOGIN", "SIGNUP", "RESET", "RESET_CODE", "VERIFICATION", "REAUTHENTICATION", "NONCE",
):  # fmt: skip
    # Every test comes from the same address.
    os.environ[f"RATE_LIMIT_{limit}"] = "100000/1h/ip"
os.environ["ANSWER_STEP_MS"] = "0"
# Where Django's test client believes to be.
os.environ["PASSKEY_ORIGINS"] = "http://testserver"
for variable in ("DATABASE_URL", "REDIS_URL", "PROCESS", "PORT", "SITE_URL", "LIVE_URL"):
    os.environ.pop(variable, None)

WITH_PGBOUNCER = os.environ.get("TEST_PGBOUNCER") == "1"
if WITH_PGBOUNCER:
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.pooled_settings"
    if FOLDER_VARIABLE not in os.environ:
        if program() is None:
            raise pytest.UsageError(MISSING)
        # The settings need the name; the workers of the run inherit it.
        os.environ[FOLDER_VARIABLE] = str(new_folder("pgbouncer-"))

_services = ExitStack()


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        services = Services(LOCAL, durable=False)
        _services.enter_context(services.in_use())
        if WITH_PGBOUNCER:
            start_pgbouncer(services)


def start_pgbouncer(services: Services) -> None:
    """PgBouncer listens until the run ends, for the logins of all aliases."""
    from django.conf import settings  # noqa: PLC0415 - the environment is set above

    _services.enter_context(
        pgbouncer(
            Path(os.environ[FOLDER_VARIABLE]),
            host=services.postgres.host,
            port=services.postgres.port,
            logins={entry["USER"]: entry["PASSWORD"] for entry in settings.DATABASES.values()},
            pool_size=20,
        )
    )


def pytest_unconfigure(config: pytest.Config) -> None:
    _services.close()
