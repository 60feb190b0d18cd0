"""How fast accounts are read, found, made and refreshed, with everything sealed and guarded.

    .venv/bin/python benchmarks/accounts.py [--json] [--check] [--people 10000] [--quick]

It starts PostgreSQL and Redis of its own, with the settings of `make run`, in a folder that is
removed in the end, and fills it with people who have names, an address, a provider's id, a login
and their keys. Each measure is taken of one person after another, in the process, without a
network between; the fields of `measures` are milliseconds (p50, p99):

- `profile`: GET /api/v1/account/ with the access token of a login: the token is verified, its
  session and person looked up, names and address opened. `profile_cold` is the same with no data
  key in the process's memory, as a person's first request meets it.
- `by_email`, `by_provider`: the account of an address, and of a provider's subject. Their peers
  `by_plain_email` and `by_plain_provider` look up plain text in a table of the same size, with
  the same join and the same kind of index; `ratios` compares them.
- `registration`: user, address, five consents, subscription and keys in one transaction. The
  hash of the password comes on top and is what makes guessing dear: `password_hash`.
- `refresh`: a refresh token exchanged for new ones; `plain_refresh` is its peer: the same row
  locked and counted up in a transaction, without tokens, policies or person.
- `subscription`: a purchase that comes into force, in one transaction.
- `login_known`, `login_unknown` and so on: what a stranger waits for who names an address that has
  an account, or none, by the API with the settings as they come. `ratios` says whether that tells.

`bars` are the figures that the service was specified with (p50 and p99 of each), and whether they
hold. `--check` ends with 1 if one does not.
"""

import argparse
import json
import os
import platform
import statistics
import sys
from collections.abc import Iterable
from typing import Any

import django
from scratch import scratch_services

# Measure, milliseconds at p50 and at p99.
BARS = (
    ("profile", 10, 20),
    ("by_email", 15, 30),
    ("by_provider", 15, 30),
    ("registration", 20, 40),
    ("refresh", 15, 30),
    ("subscription", 15, 30),
)
RATIOS = (
    ("by_email", "by_plain_email"),
    ("by_provider", "by_plain_provider"),
    ("refresh", "plain_refresh"),
    *((f"{door}_known", f"{door}_unknown") for door in ("login", "signup", "reset")),
)
PERCENTILES = 100
UNLIMITED = "1000000/1h/ip"

Figures = dict[str, Any]


def main() -> int:
    options = _options()
    load = os.getloadavg()
    with scratch_services():
        os.environ |= {
            f"RATE_LIMIT_{door}": "1000000/1h/ip" for door in ("LOGIN", "SIGNUP", "RESET")
        }
        django.setup()
        from people import measure_accounts  # noqa: PLC0415 - after the setup

        taken = measure_accounts(options.people, options.times)
    measures = {name: _percentiles(times) for name, times in taken.items()}
    found: Figures = {
        "measures": measures,
        "ratios": {
            name: round(measures[name]["p50"] / measures[peer]["p50"], 2) for name, peer in RATIOS
        },
        "bars": [_bar(measures, *bar) for bar in BARS],
        "people": options.people,
        "times": options.times,
        "processors": os.cpu_count(),
        "machine": platform.machine(),
        "load_before": [round(one, 2) for one in load],
    }
    print(json.dumps(found) if options.json else _table(found))
    return int(options.check and not all(bar["holds"] for bar in found["bars"]))


def _percentiles(times: Iterable[float]) -> dict[str, float]:
    cuts = statistics.quantiles(times, n=PERCENTILES)
    return {"p50": round(cuts[49] * 1000, 3), "p99": round(cuts[98] * 1000, 3)}


def _bar(measures: dict[str, dict[str, float]], name: str, p50: float, p99: float) -> Figures:
    taken = measures[name]
    holds = taken["p50"] <= p50 and taken["p99"] <= p99
    return {"measure": name, "p50": p50, "p99": p99, "holds": holds}


def _table(found: Figures) -> str:
    bars = {bar["measure"]: bar for bar in found["bars"]}
    lines = [f"{'':20}{'p50 ms':>10}{'p99 ms':>10}{'  bar':12}"]
    for name, taken in found["measures"].items():
        bar = bars.get(name)
        said = f"  {bar['p50']}/{bar['p99']} {'holds' if bar['holds'] else 'FAILS'}" if bar else ""
        lines.append(f"{name:20}{taken['p50']:>10.2f}{taken['p99']:>10.2f}{said}")
    lines += [f"{name} is {ratio}x its peer" for name, ratio in found["ratios"].items()]
    return "\n".join([*lines, f"{found['people']:,} people, load {found['load_before'][0]}"])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="How fast accounts are; the fields stand in the docstring."
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--check", action="store_true", help="end with 1 if a bar does not hold")
    parser.add_argument("--quick", action="store_true", help="a look, within a minute")
    parser.add_argument("--people", type=int, default=0, help="people with an account")
    options = parser.parse_args()
    options.people = options.people or (1_000 if options.quick else 10_000)
    options.times = 300 if options.quick else 2_000
    if options.people < options.times:
        parser.error("--people must be at least as many as are measured")
    return options


if __name__ == "__main__":
    sys.exit(main())
