"""Addresses of PostgreSQL, and how far a connection must be encrypted."""

from collections.abc import Mapping
from ipaddress import ip_address

from django.core.exceptions import ImproperlyConfigured
from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

# What may be demanded, and which values of sslmode meet it.
TLS_DEMANDS = {
    "verify-full": ["verify-full"],
    "require": ["require", "verify-ca", "verify-full"],
    "off": ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"],
}


def connection_parameters(variable: str, address: str, tls: str | None) -> dict[str, str]:
    """The address in its parts, with an sslmode that meets what is demanded.

    Without a demand another machine is reached with encryption, and this one as the address says.
    An address that asks for less than is demanded is refused. `variable` is named in errors.
    """
    try:
        parsed = conninfo_to_dict(address)
    except ProgrammingError:
        # The driver's own message repeats parts of the address, and so of the password.
        raise ImproperlyConfigured(
            f"{variable} is no address that can be read: special characters in it must be"
            " percent-encoded."
        ) from None
    parts = {name: str(value) for name, value in parsed.items()}
    return parts | _encryption(variable, parts, tls)


def _encryption(variable: str, parts: Mapping[str, str], tls: str | None) -> dict[str, str]:
    demand = tls or ("off" if _leads_to_this_machine(parts) else "require")
    mode = parts.get("sslmode")
    if mode is None:
        return {} if demand == "off" else {"sslmode": demand}
    if mode not in TLS_DEMANDS["off"]:
        known = ", ".join(TLS_DEMANDS["off"])
        raise ImproperlyConfigured(f"{variable} has sslmode={mode}; it must be one of {known}.")
    if mode not in TLS_DEMANDS[demand]:
        raise ImproperlyConfigured(_refusal(variable, mode, demand, said=tls is not None))
    return {}


def _refusal(variable: str, mode: str, demand: str, *, said: bool) -> str:
    if said:
        return (
            f"{variable} has sslmode={mode}, which is weaker than DATABASE_TLS={demand}: remove"
            " sslmode from the address, or change DATABASE_TLS."
        )
    return (
        f"{variable} has sslmode={mode}, which may leave what is sent to another machine"
        " unencrypted: remove it, or set DATABASE_TLS=off if the network between is private."
    )


def _leads_to_this_machine(parts: Mapping[str, str]) -> bool:
    """Whether every host is this machine; of a service in a file nobody knows."""
    hosts = [*parts.get("host", "").split(","), *parts.get("hostaddr", "").split(",")]
    return "service" not in parts and all(_is_this_machine(host) for host in hosts)


def _is_this_machine(host: str) -> bool:
    # Nothing, a folder, or a name in the abstract namespace: a unix socket.
    if host in ("", "localhost") or host.startswith(("/", "@")):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
