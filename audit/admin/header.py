"""What the admin's header says of the reason that is in force."""

import math
import time

from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.text import Truncator

from audit.reasons import SESSION_KEY, reason_of

LONGEST_SHOWN = 40


def reason_chip(request: HttpRequest) -> list[str] | None:
    """The reason with the minutes that it still holds, as a link to give another one.

    Nothing for somebody who is no operator.
    """
    if not is_operator(request):
        return None
    reason = reason_of(request)
    if not reason:
        return [_chip(request, "No reason given", "Say why you look"), "warning"]
    minutes = minutes_left(request)
    shown = Truncator(reason).chars(LONGEST_SHOWN)
    title = f"Reason: {reason}. It holds for {minutes} more min. Give another reason"
    return [_chip(request, f"{shown} · {minutes} min", title), "info"]


def minutes_left(request: HttpRequest) -> int:
    """For how long the reason in force still holds, begun minutes counted whole."""
    held: float = time.time() - request.session[SESSION_KEY]["given_at"]
    return max(math.ceil(int(settings.OPERATOR_REASON_MINUTES) - held / 60), 0)


def account_links(request: HttpRequest) -> list[dict[str, str]]:
    """Below the operator's name."""
    return [
        {"title": "Give another reason", "link": reason_page(request)},
        {"title": "Change password", "link": reverse("admin:password_change")},
    ]


def reason_page(request: HttpRequest) -> str:
    """The page that asks for a reason, and leads back to where the operator is."""
    reason = reverse("admin:reason")
    here = request.GET.get("next", "") if request.path == reason else request.get_full_path()
    return f"{reason}?{urlencode({'next': here})}" if here else reason


def is_operator(request: HttpRequest) -> bool:
    user = getattr(request, "user", None)
    return user is not None and user.is_active and getattr(user, "is_staff", False)


def _chip(request: HttpRequest, text: str, title: str) -> str:
    return format_html(
        '<a href="{}" title="{}" style="text-transform: none">{}</a>',
        reason_page(request),
        title,
        text,
    )
