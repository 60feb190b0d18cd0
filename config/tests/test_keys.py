"""Real processes with lost and with wrong keys: each ends, and says which it needs."""

import os
import subprocess
import sys

import pytest
from django.conf import settings

from accounts.tests.factories import make_user
from common.bootstrap import database_name
from common.encryption.checks import verify_keys
from common.encryption.data_keys import cache, key_to_seal_with
from common.encryption.parsing import as_setting
from common.encryption.purposes import Purpose
from common.tenancy import acting_as

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "operator"])

OTHER_KEY, OTHER_ROOT = as_setting(b"o" * 32), as_setting(b"o" * 64)
GRANIAN = ["granian", "--host", "127.0.0.1", "--port", "0", "--log-level", "warning"]
PROCESSES = {
    "web": [*GRANIAN, "--interface", "wsgi", "config.wsgi:application"],
    "live": [*GRANIAN, "--interface", "asginl", "config.asgi:application"],
    "worker": ["celery", "--app", "config", "--quiet", "worker", "--concurrency", "1"],
}


@pytest.fixture(autouse=True)
def something_is_sealed() -> None:
    user = make_user("ada")
    with acting_as(user.pk):
        key_to_seal_with(user.pk, Purpose.PROFILE)
    verify_keys()
    cache.clear()


def start(process: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The process, which is given a minute to end by itself."""
    return subprocess.run(
        [sys.executable, "-m", *PROCESSES[process]],
        cwd=settings.BASE_DIR,
        env=os.environ
        | {
            "DJANGO_SETTINGS_MODULE": "tests.worker_settings",
            "TEST_DATABASE": database_name(),
            "PROCESS": process,
        }
        | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("process", PROCESSES)
def test_a_process_without_the_key_of_the_data_ends(process: str) -> None:
    ended = start(process, ENCRYPTION_KEYS=f"new:{OTHER_KEY}")

    assert ended.returncode != 0
    assert "The key embedded is missing: put it back into ENCRYPTION_KEYS." in ended.stdout
    assert OTHER_KEY not in ended.stdout


@pytest.mark.parametrize("process", PROCESSES)
def test_a_process_with_another_look_up_key_ends(process: str) -> None:
    ended = start(process, ENCRYPTION_ROOT_KEY=OTHER_ROOT)

    assert ended.returncode != 0
    assert "ENCRYPTION_ROOT_KEY is another key" in ended.stdout
    assert OTHER_ROOT not in ended.stdout


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("ENCRYPTION_KEYS", "one:hunter2", "The key one of ENCRYPTION_KEYS must be 32 random"),
        ("ENCRYPTION_KEYS", "hunter2", "Entry 1 of ENCRYPTION_KEYS must begin with the id"),
        ("ENCRYPTION_ROOT_KEY", "hunter2", "ENCRYPTION_ROOT_KEY must be 64 random bytes"),
        ("ENCRYPTION_PROVIDER", "vault", "ENCRYPTION_PROVIDER must be one of local, aws_kms"),
        ("ENCRYPTION_PROVIDER", "aws_kms", "Set ENCRYPTION_KMS_KEY_ID in the environment"),
    ],
)
def test_a_malformed_setting_ends_the_start_and_is_not_repeated(
    name: str, value: str, sentence: str
) -> None:
    ended = start("worker", **{name: value})

    assert ended.returncode != 0
    assert sentence in ended.stdout
    assert "hunter2" not in ended.stdout
