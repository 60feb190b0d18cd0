import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command

from accounts.tests.factories import make_operator
from common.health import CHECKS, record_heartbeat
from config.management.commands import doctor

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "operator"])


def diagnosis(**options: Any) -> tuple[int, str]:
    out, code = StringIO(), 0
    try:
        call_command("doctor", stdout=out, **options)
    except SystemExit as end:
        code = int(str(end.code))
    return code, out.getvalue()


@pytest.fixture
def healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is well; live, which tests do not run, is taken for granted."""
    make_operator()
    record_heartbeat("worker")
    record_heartbeat("beat")
    monkeypatch.setitem(CHECKS, "live", lambda: None)


def test_every_check_has_a_remedy() -> None:
    assert set(doctor.REMEDIES) == set(CHECKS)


def test_all_is_well(healthy: None) -> None:
    code, text = diagnosis()

    assert code == 0
    assert [line.split() for line in text.splitlines()] == [
        [name, "ok"] for name in [*CHECKS, "disk", "operator"]
    ]


def test_what_is_wrong_is_said_with_its_remedy(healthy: None, settings: Any) -> None:
    settings.REDIS_URL = "unix:///nowhere/redis.sock"

    code, text = diagnosis(json=True)

    report = json.loads(text)
    assert code == 1
    assert {name for name, found in report.items() if found["state"] != "ok"} == {
        "redis",
        "worker",
        "beat",
    }
    assert "REDIS_URL" in report["redis"]["remedy"]
    assert report["database"] == {"state": "ok", "remedy": ""}


def test_a_full_disk_and_a_house_without_an_operator_are_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(doctor, "LEAST_FREE_BYTES", 1 << 62)

    _, text = diagnosis(json=True)

    report = json.loads(text)
    assert "MiB are free" in report["disk"]["state"]
    assert report["operator"]["state"] == "nobody can log in to the admin"
