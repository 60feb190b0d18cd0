"""The tests' services, as a pytest plugin: it must set the environment before settings are read.

Nothing here touches the services or the data of `make run`.
"""

import os
from contextlib import ExitStack
from pathlib import Path

import pytest

from embedded import Services

# Two runs in one checkout share the services and nothing else. The workers of a run inherit this.
RUN = os.environ.setdefault("COMMONPLACE_TEST_RUN", str(os.getpid()))
WORKER = f"{RUN}_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
LOCAL = Path(__file__).resolve().parent.parent / ".local" / "test"

# Before the settings are read, which happens once this plugin is loaded.
os.environ["LOCAL_DIR"] = str(LOCAL)
os.environ["REDIS_PREFIX"] = f"test-{WORKER}:"
os.environ["SAMPLE_DATA"] = "false"
for variable in ("DATABASE_URL", "REDIS_URL", "PROCESS", "PORT", "SITE_URL", "LIVE_URL"):
    os.environ.pop(variable, None)

_services = ExitStack()


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        _services.enter_context(Services(LOCAL, durable=False).in_use())


def pytest_unconfigure(config: pytest.Config) -> None:
    _services.close()
