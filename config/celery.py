"""The Celery application: its settings stand in config.settings under CELERY_."""

import os
import time
import warnings
from typing import Any

from billiard.exceptions import TimeLimitExceeded, WorkerLostError
from celery import Celery
from celery.signals import (
    heartbeat_sent,
    setup_logging,
    task_failure,
    task_postrun,
    task_prerun,
    worker_init,
)

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

# Celery warns a root user about pickled messages; ours are JSON, and the image is not root.
warnings.filterwarnings("ignore", message="You're running the worker with superuser")

app = Celery("commonplace")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@setup_logging.connect
def keep_our_logging(**_: Any) -> None:
    """Connected, this signal stops Celery from replacing the JSON log handlers."""


@worker_init.connect
def keys_are_right(**_: Any) -> None:
    from common.encryption.checks import refuse_wrong_keys  # noqa: PLC0415 - needs the models

    refuse_wrong_keys()


@heartbeat_sent.connect
def worker_is_alive(**_: Any) -> None:
    from common.health import record_heartbeat  # noqa: PLC0415 - needs the settings

    record_heartbeat("worker")


# When each running task of this process began, by its id.
_began: dict[str, float] = {}


@task_prerun.connect
def task_begins(task_id: str, **_: Any) -> None:
    _began[task_id] = time.perf_counter()


@task_postrun.connect
def task_ends(sender: Any, task_id: str, state: str | None, **_: Any) -> None:
    from common.traffic import note_task  # noqa: PLC0415 - needs the settings

    seconds = time.perf_counter() - _began.pop(task_id, time.perf_counter())
    note_task(name=sender.name, outcome=(state or "unknown").lower(), seconds=seconds)


@task_failure.connect
def task_fails(sender: Any, exception: BaseException, **_: Any) -> None:
    """Also told, by the main process, of a task whose process was stopped or lost."""
    from common.failures import note_failure  # noqa: PLC0415 - needs the settings
    from common.traffic import note_lost_task  # noqa: PLC0415

    note_failure("task")
    if isinstance(exception, TimeLimitExceeded | WorkerLostError):
        note_lost_task(name=sender.name)
