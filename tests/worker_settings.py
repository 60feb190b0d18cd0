"""The settings of a worker that a test starts: those of the tests, with the test's database."""

import os

from config.settings import DATABASES
from tests.pooled_settings import *  # noqa: F403 - Django's way to vary settings

for _entry in DATABASES.values():
    _entry["NAME"] = os.environ["TEST_DATABASE"]
