"""Services of a benchmark's own in a folder that is removed with everything in it.

Must be entered before Django's settings are read: they come from the environment.
"""

import os
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from embedded import Services  # noqa: E402 - lies in the checkout, of which Python has to be told

SETTING = re.compile(r"^#?\s?([A-Z][A-Z0-9_]+)=", re.MULTILINE)


@contextmanager
def scratch_services() -> Iterator[Path]:
    """PostgreSQL and Redis run as under `make run`, with data in a new folder, which is given.

    However the block ends, also by Ctrl-C or SIGTERM, both have ended and nothing is left.
    """
    folder = Path(tempfile.mkdtemp(prefix="commonplace-benchmark-"))
    # For root the servers run as another user, who has to pass through to the data.
    folder.chmod(0o711)
    forget_settings()
    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "LOCAL_DIR": str(folder / "local"),
        "SAMPLE_DATA": "false",
        "LOG_LEVEL": "ERROR",
    }
    services = Services(folder / "local")
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with services.in_use():
            yield folder
    finally:
        # A second Ctrl-C must not leave half of it behind.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        services.stop()
        _remove(services, folder)


def forget_settings() -> None:
    """Settings of whoever calls could lead to data of theirs."""
    for name in SETTING.findall((ROOT / ".env.example").read_text(encoding="utf-8")):
        for variable in (name, f"{name}_FILE"):
            os.environ.pop(variable, None)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _remove(services: Services, folder: Path) -> None:
    shutil.rmtree(services.postgres.host, ignore_errors=True)
    # Where the servers' user cannot reach the folder, its data lie elsewhere.
    data = folder / "local" / "data"
    if data.is_symlink():
        shutil.rmtree(data.readlink())
    shutil.rmtree(folder)
