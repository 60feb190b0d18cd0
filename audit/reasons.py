"""The reason that an operator gives before looking at people's things, kept in the session."""

import time

from django import forms
from django.conf import settings
from django.http import HttpRequest

from common.tenancy import LONGEST_REASON

SESSION_KEY = "operator_reason"
SHORTEST_REASON = 10


class ReasonForm(forms.Form):
    """Why: a ticket, a request of the person, an incident."""

    reason = forms.CharField(
        min_length=SHORTEST_REASON,
        max_length=LONGEST_REASON,
        help_text="A ticket, the person's own request, an incident. It is kept with everything"
        " that you look at and change, and the person sees that you looked.",
    )


def give_reason(request: HttpRequest, reason: str) -> None:
    """From here on the operator's looks carry the reason, for OPERATOR_REASON_MINUTES."""
    request.session[SESSION_KEY] = {"text": reason, "given_at": time.time()}


def reason_of(request: HttpRequest) -> str:
    """The reason that holds at this moment, or ""."""
    given = request.session.get(SESSION_KEY)
    if not given or time.time() - given["given_at"] > settings.OPERATOR_REASON_MINUTES * 60:
        return ""
    return str(given["text"])
