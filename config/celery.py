"""The Celery application: its settings stand in config.settings under CELERY_."""

import os
import warnings
from typing import Any

from celery import Celery
from celery.signals import heartbeat_sent, setup_logging

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

# Celery warns a root user about pickled messages; ours are JSON, and the image is not root.
warnings.filterwarnings("ignore", message="You're running the worker with superuser")

app = Celery("commonplace")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@setup_logging.connect
def keep_our_logging(**_: Any) -> None:
    """Connected, this signal stops Celery from replacing the JSON log handlers."""


@heartbeat_sent.connect
def worker_is_alive(**_: Any) -> None:
    from common.health import record_heartbeat  # noqa: PLC0415 - needs the settings

    record_heartbeat("worker")
