"""How far connections to PostgreSQL must be encrypted, and what is refused at the start."""

import json
import subprocess
import sys
from typing import Any

import pytest
from django.conf import settings
from psycopg.conninfo import conninfo_to_dict

from common.encryption.parsing import as_setting

PASSWORD = "hunter2-of-the-example"

# Prints what the settings make of the addresses.
SHOW = """
import json
from config import settings
entries = {alias: {**entry, "OPTIONS": dict(entry["OPTIONS"])}
           for alias, entry in settings.DATABASES.items()}
print(json.dumps({"entries": entries, "superuser": settings.DATABASE_SUPERUSER_URL}))
"""


def read(
    parameters: str = "", *, host: str = "db.example", tls: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """The settings of a process with that address and that demand."""
    address = f"postgresql://app:{PASSWORD}@{host}/commonplace{parameters}"
    given = {
        "PATH": "/usr/bin:/bin",
        "SECRET_KEY": "0123456789abcdefghijklmnopqrstuvwxyz-0123456789-abcdefg",
        "DATABASE_URL": address,
        "DATABASE_TLS": tls,
        "REDIS_URL": "redis://redis.example:6379/0",
        "ENCRYPTION_KEYS": f"first:{as_setting(bytes(32))}",
        "ENCRYPTION_ROOT_KEY": as_setting(bytes(64)),
    }
    return subprocess.run(
        [sys.executable, "-c", SHOW],
        cwd=settings.BASE_DIR,
        env=given | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def shown(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def mode(done: subprocess.CompletedProcess[str]) -> object:
    """The sslmode of the aliases, or None if the driver's own default holds."""
    (found,) = {entry["OPTIONS"].get("sslmode") for entry in shown(done)["entries"].values()}
    return found


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """The sentence that ended the start."""
    assert done.returncode == 1
    assert PASSWORD not in done.stdout + done.stderr
    kind, _, sentence = done.stderr.strip().splitlines()[-1].partition(": ")
    assert kind.endswith("ImproperlyConfigured")
    return sentence


def test_another_machine_is_reached_with_encryption() -> None:
    assert mode(read()) == "require"
    assert mode(read(tls="verify-full")) == "verify-full"
    assert mode(read(tls="off")) is None


def test_this_machine_may_be_reached_without() -> None:
    assert mode(read(host="localhost")) is None


def test_an_address_that_may_not_encrypt_ends_the_start() -> None:
    assert refusal(read("?sslmode=prefer")) == (
        "DATABASE_URL has sslmode=prefer, which may leave what is sent to another machine"
        " unencrypted: remove it, or set DATABASE_TLS=off if the network between is private."
    )


def test_an_unknown_demand_ends_the_start() -> None:
    assert refusal(read(tls="on")) == (
        "DATABASE_TLS must be one of verify-full, require, off, not 'on'."
    )


def test_certificates_of_the_address_are_passed_on() -> None:
    files = {"sslrootcert": "/c/root.crt", "sslcert": "/c/app.crt", "sslkey": "/c/app.key"}
    parameters = "&".join(f"{name}={path}" for name, path in files.items())

    entries = shown(read(f"?{parameters}", tls="verify-full"))["entries"]

    assert set(entries) == {"default", "trace"}
    for entry in entries.values():
        options = entry["OPTIONS"]
        assert {name: options[name] for name in files} == files
        assert options["sslmode"] == "verify-full"


@pytest.mark.parametrize("role", ["OPERATOR", "OWNER", "BACKUP", "METRICS"])
def test_every_login_is_bound_by_the_same_rule(role: str) -> None:
    variable = f"DATABASE_{role}_URL"
    address = f"postgresql://{role.lower()}:{PASSWORD}@db.example/commonplace"

    assert mode(read(**{variable: address})) == "require"
    assert refusal(read(**{variable: f"{address}?sslmode=prefer"})).startswith(
        f"{variable} has sslmode=prefer, which may leave"
    )


def test_the_superusers_login_is_bound_by_it_too() -> None:
    address = f"postgresql://postgres:{PASSWORD}@db.example:5433/postgres"

    remote = shown(read(DATABASE_SUPERUSER_URL=address))["superuser"]
    private = shown(read(tls="off", DATABASE_SUPERUSER_URL=address))["superuser"]

    without = {
        "host": "db.example",
        "port": "5433",
        "user": "postgres",
        "password": PASSWORD,
        "dbname": "postgres",
    }
    assert conninfo_to_dict(remote) == without | {"sslmode": "require"}
    assert conninfo_to_dict(private) == without
    assert refusal(read(DATABASE_SUPERUSER_URL=f"{address}?sslmode=allow")).startswith(
        "DATABASE_SUPERUSER_URL has sslmode=allow, which may leave"
    )
