"""What import_archive.py measures. Import this after `django.setup()`."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from archive import EMPTY, LARGEST, PLAIN, Archive, records_of, seconds
from copies import Copies
from databases import clone, clone_database, fill, lead_to
from django.conf import settings
from django.db import connection
from row_by_row import timed_row_by_row
from transcripts import session_rows, transcript_path, write_transcript

from common.bootstrap import drop_database
from dedup import aliases, intake, matching, merging, placing, staging
from dedup.records import stored_record

# Enough to tell a plan whose time grows with the square of the records.
EMPTY_RECORDS = 2_000

PEAK_MEMORY = Path(__file__).with_name("peak_memory.py")

# Statements by their names in the code.
NAMES = {
    text: f"{module.__name__.removeprefix('dedup.')}.{name}"
    for module in (aliases, intake, matching, merging, placing, staging)
    for name, text in vars(module).items()
    if name.isupper() and isinstance(text, str)
}
# Before it the records are read and go through COPY.
STAGED = "ANALYZE staged"
READ = "reading, and COPY into staged"


Figures = dict[str, Any]


def measure_throughput(archive: Archive, records: int, sample: int, rounds: int) -> Figures:
    """An import, the bare COPYs of what it wrote and a row-by-row import, in turn; the best of
    each counts."""
    added, started = max(records // 10, 1), min(records, EMPTY_RECORDS)
    copies = Copies(archive.folder / "copies")
    times: dict[str, list[float]] = {}
    sizes: dict[str, int] = {}
    for number in range(rounds):
        archive.say(f"throughput, round {number + 1} of {rounds}")
        rows = session_rows(archive.words, 2)
        path = transcript_path(archive.folder / f"round-{number}", 2)
        with clone(PLAIN):
            write_transcript(path, rows, records)
            sizes["first"] = path.stat().st_size
            _note(times, "first", archive.timed_import(path))
            if number == 0:
                copies.take_out(archive.user_id, path)
            write_transcript(path, rows, added)
            sizes["appended"] = path.stat().st_size
            _note(times, "appended", archive.timed_again(path))
            _note(times, "unchanged", archive.timed_again(path))
        for name, template, form in copies.VARIANTS:
            with clone(template):
                _note(times, name, copies.timed(form, leave_search=template != PLAIN))
        with clone(EMPTY):
            begun = archive.transcript(50 + number, started)
            _note(times, "empty", archive.timed_import(begun))
        with clone(PLAIN):
            _note(times, "row_by_row", timed_row_by_row(archive.user_id, path, sample))
    best = {name: min(found) for name, found in times.items()}
    return _throughput(best, sizes, records, added, sample) | {
        "seconds": {name: [round(one, 3) for one in found] for name, found in times.items()}
    }


def _note(times: dict[str, list[float]], name: str, found: float) -> None:
    times.setdefault(name, []).append(found)


def _throughput(
    best: dict[str, float], sizes: dict[str, int], records: int, added: int, sample: int
) -> Figures:
    first, appended = best["first"], best["appended"]
    row_by_row = sample / best["row_by_row"]
    return {
        "first_per_second": round(records / first, 1),
        "first_mb_per_second": round(sizes["first"] / first / 1e6, 2),
        "empty_per_second": round(min(records, EMPTY_RECORDS) / best["empty"], 1),
        "appended_per_second": round((records + added) / appended, 1),
        "appended_new_per_second": round(added / appended, 1),
        "appended_mb_per_second": round(sizes["appended"] / appended / 1e6, 2),
        "unchanged_ms": round(best["unchanged"] * 1000, 1),
        "unchanged_mb_per_second": round(sizes["appended"] / best["unchanged"] / 1e6, 1),
        "record_bytes": round(sizes["first"] / records),
        "copy_ratio": round(best["copy_computing"] / first, 3),
        "copy_ratio_binary": round(best["copy_computing_binary"] / first, 3),
        "copy_ratio_prepared": round(best["copy_prepared"] / first, 3),
        "copy_per_second": round(records / best["copy_computing"], 1),
        "row_by_row_ratio": round(records / first / row_by_row, 2),
        "row_by_row_per_second": round(row_by_row, 1),
        "full_text_share": round((best["copy_computing"] - best["copy_without"]) / first, 3),
    }


def measure_memory(archive: Archive, megabytes: int) -> Figures:
    """An import of that size in a process of its own, which tells its memory."""
    archive.say(f"memory, a transcript of {megabytes} MB")
    rows = session_rows(archive.words, 3)
    path = transcript_path(archive.folder, 3)
    while not path.exists() or path.stat().st_size < megabytes * 1_000_000:
        write_transcript(path, rows, 400)
    with clone(PLAIN) as name:
        command = [sys.executable, str(PEAK_MEMORY), str(archive.user_id), str(path), name]
        # Ended with this process: `run` kills it when it is interrupted.
        found = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    size = path.stat().st_size
    path.unlink()
    return {**json.loads(found.stdout), "transcript_mb": round(size / 1e6, 1)}


def measure_growth(archive: Archive, records: int, largest: int, rounds: int) -> Figures:
    """The same files go into the small archive and into the largest one, in turn."""
    archive.say(f"growth, filling an archive with {largest} messages")
    clone_database(PLAIN, LARGEST)
    fill(LARGEST, largest - archive.messages())
    held = archive.messages()
    small: list[float] = []
    large: list[float] = []
    for number in range(rounds):
        archive.say(f"growth, round {number + 1} of {rounds}")
        path = archive.transcript(100 + number, records)
        with clone(PLAIN):
            base = archive.messages()
            small.append(archive.timed_import(path))
        lead_to(LARGEST)
        large.append(archive.timed_import(path))
    lead_to(PLAIN)
    drop_database(settings.DATABASE_SUPERUSER_URL, LARGEST)
    return {
        "growth": round(min(large) / min(small), 3),
        "growth_records": records,
        "growth_from_messages": base,
        "growth_to_messages": held,
        "growth_small_per_second": round(records / min(small), 1),
        "growth_large_per_second": round(records / min(large), 1),
    }


def profile(archive: Archive, records: int) -> list[tuple[str, float]]:
    """Milliseconds for each statement of one import by the name it has in the code, and for
    what goes on between them; reading alone, which overlaps with COPY, stands first."""
    archive.say("profile")
    path = archive.transcript(4, records)
    reading = seconds(lambda: [None for _ in map(stored_record, records_of(path))])
    spent: dict[str, float] = {}
    ended = [0.0]

    def timed(execute: Any, statement: Any, params: Any, *rest: Any) -> Any:
        name = NAMES.get(str(statement), " ".join(str(statement).split())[:40])
        before = time.perf_counter()
        between = READ if name == STAGED else "Python between statements"
        spent[between] = spent.get(between, 0.0) + before - ended[0]
        try:
            return execute(statement, params, *rest)
        finally:
            ended[0] = time.perf_counter()
            spent[name] = spent.get(name, 0.0) + ended[0] - before

    with clone(PLAIN):
        with connection.execute_wrapper(timed):
            ended[0] = started = time.perf_counter()
            total = archive.timed_import(path)
        spent["COMMIT"] = started + total - ended[0]
    slowest = sorted(spent.items(), key=lambda item: -item[1])
    found = [("total", total), ("reading alone", reading), *slowest]
    return [(name, round(span * 1000, 1)) for name, span in found]
