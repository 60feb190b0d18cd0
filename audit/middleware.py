"""Where a request came from, and why an operator looks."""

import re
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address
from typing import Any

from django.conf import settings
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import urlencode

from audit.choices import SecurityKind
from audit.reasons import reason_of
from audit.recording import record
from common import context, tenancy
from common.middleware import is_admin

GetResponse = Callable[[HttpRequest], HttpResponse]

LONGEST_AGENT = 300
# As some proxies write who they forward.
WITH_PORT = re.compile(r"\[(?P<ipv6>[^\]]+)\](?::\d+)?|(?P<ipv4>[\d.]+):\d+")
# Pages of the admin that show nothing of anybody.
FREE_PAGES = {
    "index", "login", "logout", "jsi18n", "password_change", "password_change_done", "reason",
    "app_list", None,
}  # fmt: skip


class OriginMiddleware:
    """Notes the client's address and name, for the security events of the request."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        token = context.origin.set(origin_of(request))
        try:
            return self.get_response(request)
        finally:
            context.origin.reset(token)


def origin_of(request: HttpRequest) -> context.Origin:
    """Behind a proxy the last address that was forwarded: those before it anybody can write."""
    address = request.META.get("REMOTE_ADDR", "")
    if settings.BEHIND_PROXY:
        address = request.headers.get("X-Forwarded-For", "").rpartition(",")[2].strip() or address
    return context.Origin(
        plain_address(address), request.headers.get("User-Agent", "")[:LONGEST_AGENT]
    )


def plain_address(text: str) -> str:
    """The address without port and zone, of IPv4 as such; empty if it is none."""
    with_port = WITH_PORT.fullmatch(text)
    address = with_port["ipv6"] or with_port["ipv4"] if with_port else text
    try:
        # The zone of a link-local address is of this machine only, and no column holds it.
        found = ip_address(address.partition("%")[0])
    except ValueError:
        # A socket's peer has none.
        return ""
    return str((isinstance(found, IPv6Address) and found.ipv4_mapped) or found)


class OperatorReasonMiddleware:
    """Lets an operator see people's things only with a reason, which every change then carries."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_view(
        self, request: HttpRequest, view: Any, args: Any, kwargs: Any
    ) -> HttpResponse | None:
        if not is_admin(request) or not (request.user.is_active and request.user.is_staff):
            return None
        reason = reason_of(request)
        tenancy.act_upon(tenancy.Authority(reason or "admin", request.user.pk))
        if reason or page_name(request) in FREE_PAGES:
            return None
        if request.method in ("GET", "HEAD"):
            query = urlencode({REDIRECT_FIELD_NAME: request.get_full_path()})
            return redirect(f"{reverse('admin:reason')}?{query}")
        record(SecurityKind.OPERATOR_REFUSED, details={"page": page_name(request)})
        return render(request, "admin/reason_missing.html", status=403)


def page_name(request: HttpRequest) -> str | None:
    """What the admin calls the page; None where it has none."""
    match = request.resolver_match
    if match is None or match.url_name is None:
        return None
    return match.url_name
