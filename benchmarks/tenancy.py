"""What row-level security and change capture cost, over a million rows.

    .venv/bin/python benchmarks/tenancy.py [--json] [--check] [--rows 1000000] [--owners 1000]
        [--quick] [--profile]

It starts PostgreSQL and Redis of its own, with the settings of `make run`, in a folder that is
removed in the end. The table is `dedup_conversation` with all its indexes and foreign keys, as
migrations leave it, and `dedup_segment` to be joined with it: a row of each for a row. There is a
database for each variant, and all hold the same rows, page for page:

- `plain`: neither policies nor the trigger of the change stream on these tables;
- `policies`, `capture`: one of the two; `both`: as migrations leave it;
- `chain`: `plain` with a trigger that chains hashes inside the writer's transaction, which is
  what the exporter of the stream avoids. Only writers are compared with it.

All go in as the role `app`, in transactions with `app.user_id` set, also where no policy asks
for it, and with the same SQL: only the variant differs. One execution after the other is done in
all variants in turn, so that whatever else goes on meets all alike. Fields:

- `statements`: for each measure and variant the median and the shortest time in milliseconds,
  and both as a multiple of plain's (`ratio`, `min_ratio`). Times are the client's. Those of reads
  are of the statement alone, within an open transaction, since the rest is the same for all;
  `transaction_by_key` is a read with its BEGIN, settings and COMMIT. Those of writes are of
  whole transactions. Commits do not wait for the disk, which takes the most time and is the same
  for all; in `insert_durable` they do. `insert_100` has 100 statements in a transaction,
  `insert_select` 10,000 rows in a statement. `join` names the owner of both tables; in
  `join_by_key` they meet by the key alone, as Django writes a join: a policy that hid the person
  from the planner made it read all of the owner's instead of a page (docs/adr/0009).
- `writers`: single inserts a second, each committed, by pgbench, from one and from eight
  sessions. Those of `eight_writers_held` keep each transaction open for 20 ms after the insert,
  as a service does that has more to do: whoever chains hashes makes the others wait for so long.
- `acting_as`: one indexed read of Django's in a transaction, without and with `acting_as`, both
  where no policy is; and with it where policies are.
- `stream`: events of one export, and how many are written and verified a second.
- `bars`: what has to hold, and whether it does. `--check` ends with 1 if one does not.

`--quick` is for a look: a hundredth of the rows and fewer executions. `--profile` adds what
EXPLAIN ANALYZE says of planning, execution and triggers.
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

INSERT_BAR = 1.5
READ_BAR = 1.2

# Measure, the variant that costs, the one it is compared with, how many times it may take.
BARS = (
    ("insert", "capture", "plain", INSERT_BAR),
    ("insert", "both", "policies", INSERT_BAR),
    ("insert_durable", "capture", "plain", INSERT_BAR),
    ("insert_durable", "both", "policies", INSERT_BAR),
    ("read_by_key", "policies", "plain", READ_BAR),
    ("read_page", "policies", "plain", READ_BAR),
    ("count", "policies", "plain", READ_BAR),
    ("join", "policies", "plain", READ_BAR),
    ("join_by_key", "policies", "plain", READ_BAR),
)

Figures = dict[str, Any]


def main() -> int:
    options = _options()
    say = _say if sys.stderr.isatty() or not options.json else _silent
    started, load = time.perf_counter(), os.getloadavg()
    with scratch_services() as folder:
        django.setup()
        from acting import measure_acting_as, measure_stream  # noqa: PLC0415 - after the setup
        from owners import Size, make_variants  # noqa: PLC0415 - after the setup
        from statements import measure_statements, profile  # noqa: PLC0415 - after the setup
        from writers import measure_writers  # noqa: PLC0415 - after the setup

        size = Size(options.rows, options.owners)
        say(f"{size.rows:,} rows of {size.owners:,} owners, in five databases")
        make_variants(size)
        ready = time.perf_counter() - started
        say("the stream")
        # First, while no other event waits for its export.
        stream = measure_stream(options.events, 2)
        found: Figures = {
            "statements": measure_statements(options.many, options.share, options.rounds, say),
            "writers": measure_writers(folder, size, 1, options.rounds, say),
            "acting_as": measure_acting_as(round(options.share * 2000)),
            "stream": stream,
        }
        if options.profile:
            found["profile"] = profile(options.many)
    found["bars"] = _bars(found["statements"])
    found |= {
        "rows": options.rows,
        "owners": options.owners,
        "rounds": options.rounds,
        "quick": options.quick,
        "processors": os.cpu_count(),
        "machine": platform.machine(),
        "load_before": [round(one, 2) for one in load],
        "load_after": [round(one, 2) for one in os.getloadavg()],
        "setup_seconds": round(ready, 1),
        "elapsed_seconds": round(time.perf_counter() - started, 1),
    }
    print(json.dumps(found) if options.json else _table(found))
    return int(options.check and not all(bar["holds"] for bar in found["bars"]))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="What policies and change capture cost; the fields stand in the docstring."
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--check", action="store_true", help="end with 1 if a bar does not hold")
    parser.add_argument("--quick", action="store_true", help="a look, about a minute")
    parser.add_argument("--profile", action="store_true", help="also what the server's plans say")
    parser.add_argument("--rows", type=_number, help="rows of the table")
    parser.add_argument("--owners", type=_number, help="owners among whom they are divided")
    parser.add_argument("--rounds", type=_number, help="times that everything is repeated")
    options = parser.parse_args()
    usual = (10_000, 100, 1) if options.quick else (1_000_000, 1_000, 3)
    options.rows = options.rows or usual[0]
    options.owners = options.owners or usual[1]
    options.rounds = options.rounds or usual[2]
    options.share = 0.1 if options.quick else 0.5
    options.many = 1_000 if options.quick else 10_000
    options.events = 5_000 if options.quick else 50_000
    if options.rows < options.owners or options.rows % options.owners:
        parser.error("--rows must be a multiple of --owners, so that every owner has as many")
    return options


def _number(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _bars(statements: Figures) -> list[Figures]:
    """Each bar with what was found: the ratio of the medians."""
    found = []
    for measure, variant, peer, limit in BARS:
        of_it = statements[measure]
        ratio = round(of_it[variant]["median_ms"] / of_it[peer]["median_ms"], 3)
        found.append(
            {
                "measure": measure,
                "variant": variant,
                "peer": peer,
                "at_most": limit,
                "ratio": ratio,
                "holds": ratio <= limit,
            }
        )
    return found


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _silent(text: str) -> None:
    """Whoever reads JSON wants nothing else."""


def _table(found: Figures) -> str:
    from statements import MEASURES  # noqa: PLC0415 - after the setup
    from writers import CASES  # noqa: PLC0415 - after the setup

    lines = [f"{found['rows']:,} rows of {found['owners']:,} owners; medians, and times plain"]
    names = list(found["statements"]["insert"])
    lines.append(f"{'milliseconds':<24}" + "".join(f"{name:>20}" for name in names))
    for measure in MEASURES:
        cells = found["statements"][measure.name].values()
        row = (f"{cell['median_ms']:>13.3f} {cell['ratio']:>5.2f}x" for cell in cells)
        lines.append(f"{measure.label:<24}" + "".join(row))
    names = list(found["writers"]["one_writer"])
    lines += ["", f"{'inserts a second':<24}" + "".join(f"{name:>20}" for name in names)]
    for case, label, *_ in CASES:
        cells = found["writers"][case].values()
        row = (f"{cell['per_second']:>13,.0f} {cell['ratio']:>5.2f}x" for cell in cells)
        lines.append(f"{label:<24}" + "".join(row))
    lines += ["", *_rest(found)]
    return "\n".join(lines)


def _rest(found: Figures) -> list[str]:
    lines = [
        (
            "acting_as: {ratio:.2f} times a read in a transaction ({plain_ms:.3f} ms, with it"
            " {acting_as_ms:.3f}, under policies {acting_as_under_policies_ms:.3f})"
        ).format(**found["acting_as"]),
        (
            "stream: {exported_per_second:,.0f} of {events:,} events written a second,"
            " {verified_per_second:,.0f} lines verified"
        ).format(**found["stream"]),
    ]
    for bar in found["bars"]:
        said = "holds" if bar["holds"] else "FAILS"
        lines.append(
            "bar {measure}, {variant} over {peer}: {ratio:.2f}, at most {at_most}: ".format(**bar)
            + said
        )
    for measure, variants in found.get("profile", {}).items():
        for name, parts in variants.items():
            told = ", ".join(f"{part.removesuffix('_ms')} {ms:.3f}" for part, ms in parts.items())
            lines.append(f"  {measure} {name}: {told} ms")
    if found["quick"]:
        lines.append("quick: fewer rows and executions; the full size decides")
    before, after = found["load_before"][0], found["load_after"][0]
    lines.append(
        f"load {before} before, {after} after, {found['processors']} processors,"
        f" {found['elapsed_seconds']:.0f} s, of which {found['setup_seconds']:.0f} to set up"
    )
    return lines


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("Stopped: nothing is left behind.")
