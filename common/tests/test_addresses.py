"""Every combination of what is demanded, what the address says, and where it leads."""

import pytest
from django.core.exceptions import ImproperlyConfigured

from common.addresses import connection_parameters

PASSWORD = "hunter2-of-the-example"
WEAK = ["disable", "allow", "prefer"]
STRONG = ["require", "verify-ca", "verify-full"]


def mode(given: str | None, tls: str | None, host: str = "db.example", more: str = "") -> object:
    """The sslmode that the connection gets, or None if the driver's own default holds."""
    parameters = f"sslmode={given}" if given else ""
    address = f"postgresql://app:{PASSWORD}@{host}/commonplace?{parameters}{more}"
    return connection_parameters("DATABASE_URL", address, tls).get("sslmode")


def refusal(given: str, tls: str | None, host: str = "db.example") -> str:
    with pytest.raises(ImproperlyConfigured) as caught:
        mode(given, tls, host)
    assert PASSWORD not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("tls", "given", "expected"),
    [
        (None, None, "require"),
        *[(None, mode, mode) for mode in STRONG],
        ("require", None, "require"),
        *[("require", mode, mode) for mode in STRONG],
        ("verify-full", None, "verify-full"),
        ("verify-full", "verify-full", "verify-full"),
        ("off", None, None),
        *[("off", mode, mode) for mode in WEAK + STRONG],
    ],
)
def test_another_machine_is_reached_with_at_least_what_is_demanded(
    tls: str | None, given: str | None, expected: str | None
) -> None:
    assert mode(given, tls) == expected


@pytest.mark.parametrize("given", WEAK)
def test_an_address_that_may_not_encrypt_is_refused(given: str) -> None:
    assert refusal(given, None) == (
        f"DATABASE_URL has sslmode={given}, which may leave what is sent to another machine"
        " unencrypted: remove it, or set DATABASE_TLS=off if the network between is private."
    )


@pytest.mark.parametrize(
    ("tls", "given"),
    [
        *[("require", mode) for mode in WEAK],
        *[("verify-full", mode) for mode in [*WEAK, "require", "verify-ca"]],
    ],
)
@pytest.mark.parametrize("host", ["db.example", "localhost"])
def test_an_address_that_asks_for_less_than_is_demanded_is_refused(
    tls: str, given: str, host: str
) -> None:
    assert refusal(given, tls, host) == (
        f"DATABASE_URL has sslmode={given}, which is weaker than DATABASE_TLS={tls}: remove"
        " sslmode from the address, or change DATABASE_TLS."
    )


@pytest.mark.parametrize(
    "host", ["localhost:5433", "127.0.0.1", "127.0.0.2", "[::1]", "%2Frun%2Fpostgresql", ""]
)
def test_on_this_machine_the_address_decides(host: str) -> None:
    assert mode(None, None, host) is None
    assert [mode(given, None, host) for given in WEAK + STRONG] == WEAK + STRONG
    assert mode(None, "require", host) == "require"


@pytest.mark.parametrize(
    ("host", "more"),
    [
        ("10.0.0.5", ""),
        ("[fd00::5]", ""),
        ("localhost.example", ""),
        ("localhost,db.example", ""),
        ("localhost", "hostaddr=10.0.0.5"),
        ("", "host=db.example"),
        ("", "service=production"),
    ],
)
def test_whatever_may_lead_elsewhere_is_another_machine(host: str, more: str) -> None:
    assert mode(None, None, host, more) == "require"


def test_an_unknown_mode_is_refused() -> None:
    assert refusal("always", "off") == (
        "DATABASE_URL has sslmode=always; it must be one of disable, allow, prefer, require,"
        " verify-ca, verify-full."
    )


def test_an_address_that_cannot_be_read_is_refused_without_its_password() -> None:
    with pytest.raises(ImproperlyConfigured) as caught:
        connection_parameters("DATABASE_URL", f"postgresql://app:{PASSWORD}%zz@db/x", None)

    assert str(caught.value) == (
        "DATABASE_URL is no address that can be read: special characters in it must be"
        " percent-encoded."
    )
