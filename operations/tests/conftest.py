"""An installation of its own for tests that replace databases: database, files, backups."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings as configured
from django.core.management import call_command
from pytest_django import DjangoDbBlocker, Settings

from common.bootstrap import drop_database
from config.testing import WORKER
from operations.backups import AFTER_RESTORE
from operations.tests.installations import databases
from tests.scratch import scratch_database

NAME = f"backed_commonplace_{WORKER}"


@pytest.fixture(scope="module")
def scratch(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[str]:
    """Every alias leads to a migrated database that belongs to this module alone."""
    with django_db_blocker.unblock(), scratch_database(NAME):
        call_command("migrate", verbosity=0)
        yield NAME


@pytest.fixture
def no_steps() -> Iterator[None]:
    """A restore gives back what was backed up and does nothing more."""
    usual = list(AFTER_RESTORE)
    AFTER_RESTORE.clear()
    yield
    AFTER_RESTORE[:] = usual


@pytest.fixture
def installation(
    scratch: str, transactional_db: None, settings: Settings, tmp_path: Path
) -> Iterator[str]:
    """The name of an empty database, with empty folders for files and for backups."""
    settings.MEDIA_ROOT = str(tmp_path / "files")
    settings.BACKUP_DIR = tmp_path / "backups"
    yield scratch
    for name in databases(scratch):
        if name != scratch:
            drop_database(configured.DATABASE_SUPERUSER_URL, name)
