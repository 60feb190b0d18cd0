"""Transactions per second of concurrent writers, by pgbench. Import this after `django.setup()`.

pgbench is part of PostgreSQL's programs: as a client it takes less of the machine than Python.
"""

import os
import re
import statistics
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.conf import settings
from owners import CHAIN, PLAIN, VARIANTS, Size

from embedded.programs import postgres_folder

WRITERS = 8
# What a service does between its first write and its commit.
HOLD_MS = 20

CASES = (
    ("one_writer", "1 writer", 1, 0),
    ("eight_writers", "8 writers", WRITERS, 0),
    ("eight_writers_held", "8 writers, 20 ms open", WRITERS, HOLD_MS),
)

SCRIPT = """
\\set owner random(0, {last})
BEGIN;
SELECT set_config('app.user_id', '00000000-0000-4000-8000-' || lpad(:owner::text, 12, '0'), true),
       set_config('app.request_id', '', true);
INSERT INTO dedup_conversation (
    user_id, source, native_key, parent_key, title, project, total_messages, metadata)
VALUES (('00000000-0000-4000-8000-' || lpad(:owner::text, 12, '0'))::uuid, 'claude_code',
        gen_random_uuid()::text, '', 'A talk', '/home/somebody/project', 0, '{{}}');
{sleep}
COMMIT;
"""
RATE = re.compile(r"^tps = ([\d.]+)", re.MULTILINE)


def measure_writers(
    folder: Path, size: Size, seconds: int, rounds: int, say: Callable[[str], None]
) -> dict[str, Any]:
    """For each case and variant the transactions per second: the median of the rounds."""
    rates: dict[str, dict[str, list[float]]] = {case: {} for case, *_ in CASES}
    variants = (*VARIANTS, CHAIN)
    for number in range(rounds):
        say(f"writers, round {number + 1} of {rounds}")
        for case, _, writers, hold in CASES:
            script = _script(folder, size, hold)
            first = number % len(variants)
            for name in variants[first:] + variants[:first]:
                found = _rate(name, script, writers, seconds)
                rates[case].setdefault(name, []).append(found)
    return {case: _summary(of_variants) for case, of_variants in rates.items()}


def _summary(rates: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    median = {name: statistics.median(found) for name, found in rates.items()}
    return {
        name: {
            "per_second": round(median[name], 1),
            "max_per_second": round(max(rates[name]), 1),
            "ratio": round(median[name] / median[PLAIN], 3),
        }
        for name in (*VARIANTS, CHAIN)
    }


def _script(folder: Path, size: Size, hold: int) -> Path:
    path = folder / f"writer-{hold}.sql"
    sleep = f"\\sleep {hold} ms" if hold else ""
    path.write_text(SCRIPT.format(last=size.owners - 1, sleep=sleep), encoding="utf-8")
    return path


def _rate(database: str, script: Path, writers: int, seconds: int) -> float:
    login = settings.DATABASES["default"]
    command = [str(postgres_folder() / "pgbench"), "--no-vacuum", "--file", str(script)]
    command += ["--client", str(writers), "--time", str(seconds)]
    command += ["--host", login["HOST"], "--port", str(login["PORT"])]
    command += ["--username", login["USER"], database]
    # Nobody waits for the disk: that would hide what the triggers cost.
    options = {"PGPASSWORD": login["PASSWORD"], "PGOPTIONS": "-c synchronous_commit=off"}
    result = subprocess.run(
        command, env=os.environ | options, check=False, capture_output=True, text=True
    )
    match = RATE.search(result.stdout)
    if result.returncode or match is None:
        raise RuntimeError(f"pgbench failed in {database}: {result.stderr.strip()}")
    return float(match[1])
