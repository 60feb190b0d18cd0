"""How fast an archive takes in transcripts, against its peers in the same run.

    .venv/bin/python benchmarks/import_archive.py [--json] [--records 20000] [--quick]
        [--largest 1000000] [--transcript-mb 100] [--profile]

It starts PostgreSQL and Redis of its own, with the settings of `make run`, in a folder that is
removed in the end. Policies, triggers, foreign keys and all indexes are on. Every measurement
begins with a clone of one database that holds 10,000 messages; what is compared is done in turn,
several times, and the best time of each counts. Fields:

- `first_per_second`: records of a file that `dedup.services.import_path` brings for the first time.
- `appended_per_second`: all records of that file, grown by a tenth, for its second import;
  `appended_new_per_second` counts only the tenth. `unchanged_ms`: once more, unchanged.
- `empty_per_second`: the first import after an installation, of 2,000 records: the planner knows
  nothing yet of tables that grow while they are read.
- `copy_ratio`: seconds of a bare COPY over seconds of the import. The COPY is a superuser's, by
  whom policies are passed over, in one transaction, of exactly the rows that the import wrote in
  all of its tables, as prepared text, into a clone with the same indexes, foreign keys and rows;
  `dedup_revision.search` is a generated column there, so the server takes the words apart as it
  has to for the import. Reading, hashing, looking for secrets, keeping the file's bytes and
  finding out what is known already is what the import does besides. `copy_ratio_binary` has
  binary rows instead of text, and `copy_ratio_prepared` prepared tsvectors.
- `row_by_row_ratio`: records per second of the import over those of a loop that reads the same
  records with the same parser and inserts each with INSERT … ON CONFLICT … RETURNING into the
  four tables of a message, with psycopg, as the application's login, in one transaction.
- `full_text_share`: to_tsvector and the GIN index, as the seconds that the COPY takes less
  without them, over the seconds of the import. The import spreads them over two processes, so
  it is a share of the work rather than of the elapsed time.
- `peak_mb`: resident memory of a process that imports a transcript of 100 MB; `base_mb` is what
  it has before.
- `growth`: seconds for 10,000 records into an archive of a million messages over those into one
  of ten thousand. The million is one person's; SQL makes it of short messages (some 0.4 kB
  instead of 2.4), so it shows the depth of indexes rather than the size of the data.

`--quick` is for a look: 100,000 messages at most, a transcript of 20 MB and fewer rounds.
"""

import argparse
import json
import os
import platform
import sys
import time
from typing import Any

import django
from scratch import scratch_services

BASE_MESSAGES = 10_000
GROWTH_RECORDS = 10_000
SAMPLE_RECORDS = 4_000

LINES = (
    ("first import", "{first_per_second:,.0f} records/s, {first_mb_per_second:.1f} MB/s"),
    (
        "appended by a tenth",
        (
            "{appended_per_second:,.0f} records/s, {appended_mb_per_second:.1f} MB/s;"
            " of what came {appended_new_per_second:,.0f} records/s"
        ),
    ),
    ("into empty tables", "{empty_per_second:,.0f} records/s"),
    ("unchanged", "{unchanged_ms:,.0f} ms, {unchanged_mb_per_second:,.0f} MB/s"),
    (
        "of a bare COPY",
        (
            "{copy_ratio:.2f} ({copy_per_second:,.0f} records/s; binary rows"
            " {copy_ratio_binary:.2f}, prepared tsvectors {copy_ratio_prepared:.2f})"
        ),
    ),
    (
        "times row by row",
        "{row_by_row_ratio:.1f} ({row_by_row_per_second:,.0f} records/s)",
    ),
    ("share of full-text", "{full_text_share:.0%} of the import"),
    ("peak memory", "{peak_mb:.0f} MB for {transcript_mb:.0f} MB, of which {base_mb:.0f} before"),
    (
        "growth",
        (
            "{growth:.2f} times the time ({growth_small_per_second:,.0f} records/s at"
            " {growth_from_messages:,} messages, {growth_large_per_second:,.0f} at"
            " {growth_to_messages:,})"
        ),
    ),
)


def main() -> None:
    options = _options()
    say = _say if sys.stderr.isatty() or not options.json else _silent
    started, load = time.perf_counter(), os.getloadavg()
    with scratch_services() as folder:
        django.setup()
        from archive import Archive  # noqa: PLC0415 - after the setup
        from measures import (  # noqa: PLC0415 - after the setup
            measure_growth,
            measure_memory,
            measure_throughput,
            profile,
        )

        archive = Archive(folder, say)
        archive.make_templates(min(BASE_MESSAGES, options.largest // 2))
        sample = min(SAMPLE_RECORDS, options.records)
        found = measure_throughput(archive, options.records, sample, options.rounds)
        found |= measure_memory(archive, options.transcript_mb)
        records = min(GROWTH_RECORDS, options.records)
        found |= measure_growth(archive, records, options.largest, options.rounds)
        if options.profile:
            found["profile_ms"] = dict(profile(archive, options.records))
        found["words"] = archive.words.origin
    found |= {
        "records": options.records,
        "rounds": options.rounds,
        "quick": options.quick,
        "processors": os.cpu_count(),
        "machine": platform.machine(),
        "load_before": [round(one, 2) for one in load],
        "load_after": [round(one, 2) for one in os.getloadavg()],
        "elapsed_seconds": round(time.perf_counter() - started, 1),
    }
    print(json.dumps(found) if options.json else _table(found))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="How fast an archive takes in transcripts; the fields stand in the docstring."
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quick", action="store_true", help="a look within two minutes")
    parser.add_argument("--profile", action="store_true", help="also the time of each statement")
    parser.add_argument("--records", type=_number, default=20_000, help="records of the file")
    parser.add_argument("--largest", type=_number, help="messages of the largest archive")
    parser.add_argument("--transcript-mb", type=_number, help="file for the peak memory")
    parser.add_argument("--rounds", type=_number, help="times that everything is repeated")
    options = parser.parse_args()
    usual = (100_000, 20, 2) if options.quick else (1_000_000, 100, 3)
    options.largest = options.largest or usual[0]
    options.transcript_mb = options.transcript_mb or usual[1]
    options.rounds = options.rounds or usual[2]
    return options


def _number(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _silent(text: str) -> None:
    """Whoever reads JSON wants nothing else."""


def _table(found: dict[str, Any]) -> str:
    head = (
        f"{found['records']:,} records of {found['record_bytes']:,} bytes, words of"
        f" {found['words']}, best of {found['rounds']}"
    )
    lines = [head, *(f"{name:<20} {line.format(**found)}" for name, line in LINES)]
    if found["quick"]:
        lines.append("quick: a smaller largest archive and transcript, and fewer rounds")
    for name, milliseconds in found.get("profile_ms", {}).items():
        lines.append(f"  {milliseconds:>9,.1f} ms  {name}")
    before, after = found["load_before"][0], found["load_after"][0]
    processors, took = found["processors"], found["elapsed_seconds"]
    lines.append(f"load {before} before, {after} after, {processors} processors, {took:.0f} s")
    return "\n".join(lines)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("Stopped: nothing is left behind.")
