from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render

from accounts.choices import ConsentMethod, ConsentSource, ConsentType
from accounts.consents.documents import current_document
from accounts.pages.access import action, person_of, personal
from accounts.pages.documents import blocks_of
from accounts.selectors.consents import consent_states
from accounts.services.consents import accept_consents, withdraw_consent
from common.errors import InvalidInputError


@personal
def list_consents(request: HttpRequest) -> HttpResponse:
    """Where the person stands with each text."""
    states = consent_states(person_of(request).pk)
    return render(request, "accounts/consents.html", {"states": states})


def show_document(request: HttpRequest, kind: str) -> HttpResponse:
    """A text as it stands, for everybody: it is read before anybody has an account."""
    document = current_document(_kind_called(kind))
    return render(
        request,
        "accounts/document.html",
        {"document": document, "blocks": blocks_of(document.text)},
    )


@action("account-consents")
def accept_consent(request: HttpRequest, kind: str) -> str:
    """Agree to the version that the page showed."""
    chosen = _kind_called(kind)
    accept_consents(
        user_id=person_of(request).pk,
        versions={chosen.value: _version_in(request)},
        method=ConsentMethod.GRANULAR,
        source=ConsentSource.PAGE,
    )
    return f"You have agreed: {chosen.label}."


@action("account-consents")
def withdraw(request: HttpRequest, kind: str) -> str:
    chosen = _kind_called(kind)
    withdraw_consent(user_id=person_of(request).pk, kind=chosen, source=ConsentSource.PAGE)
    return f"You have withdrawn your consent: {chosen.label}."


def _kind_called(name: str) -> ConsentType:
    try:
        return ConsentType(name)
    except ValueError:
        raise Http404 from None


def _version_in(request: HttpRequest) -> int:
    try:
        return int(request.POST["version"])
    except (KeyError, ValueError):
        raise InvalidInputError("Say which version was shown.") from None
