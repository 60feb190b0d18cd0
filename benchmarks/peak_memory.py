"""Imports one file in a process of its own and prints its memory in megabytes as JSON.

Called by import_archive.py, whose services it uses: `peak_memory.py USER_ID PATH`.
"""

import json
import resource
import sys
from pathlib import Path
from uuid import UUID

import django

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

STATUS = Path("/proc/self/status")


def main(user_id: str, path: str, database: str) -> None:
    django.setup()
    from django.db import connections  # noqa: PLC0415 - after the setup

    from dedup.services import import_path  # noqa: PLC0415 - after the setup

    for alias in connections:
        connections[alias].settings_dict["NAME"] = database
    base = peak_mb()
    import_path(user_id=UUID(user_id), path=Path(path))
    print(json.dumps({"base_mb": base, "peak_mb": peak_mb()}))


def peak_mb() -> float:
    """The largest resident size so far.

    Where Linux tells it for this program alone: `getrusage` also counts what the parent had
    when it forked.
    """
    if STATUS.exists():
        lines = dict(line.split(":", 1) for line in STATUS.read_text().splitlines() if ":" in line)
        return round(int(lines["VmHWM"].split()[0]) * 1024 / 1e6, 1)
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(used * (1 if sys.platform == "darwin" else 1024) / 1e6, 1)


if __name__ == "__main__":
    main(*sys.argv[1:])
