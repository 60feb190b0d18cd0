from uuid import UUID

from django.contrib import messages
from django.contrib.auth import logout
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache

from accounts.models import ExportRequest
from accounts.pages.access import action, fresh, person_of, personal
from accounts.pages.forms import CancelErasureForm, ErasureForm
from accounts.services.erasures import CONFIRMATION, cancel_erasure, request_erasure
from accounts.services.exports import make_download_link, request_export
from accounts.services.restrictions import lift_restriction, restrict_processing
from common.errors import DomainError, NotFoundError

SHOWN_EXPORTS = 5


@personal
def show_privacy(request: HttpRequest) -> HttpResponse:
    """What a person can ask of whoever keeps their things."""
    mine = ExportRequest.objects.visible_to(person_of(request).pk)
    exports = mine.order_by("-requested_at")[:SHOWN_EXPORTS]
    return render(request, "accounts/privacy.html", {"exports": exports, "now": timezone.now()})


@action("account-privacy", proved=True)
def export(request: HttpRequest) -> str:
    request_export(user_id=person_of(request).pk)
    return "Your export is being made. It will be here in a while."


@fresh("account-privacy")
def download(request: HttpRequest, export_id: UUID) -> HttpResponse:
    """Send the browser to a link that gives the file once."""
    if request.method != "POST":
        return redirect("account-privacy")
    try:
        link = make_download_link(user_id=person_of(request).pk, export_id=export_id)
    except NotFoundError:
        raise Http404 from None
    except DomainError as error:
        messages.error(request, error.detail)
        return redirect("account-privacy")
    return HttpResponseRedirect(link.url)


@action("account-privacy", proved=True)
def restrict(request: HttpRequest) -> str:
    restrict_processing(user_id=person_of(request).pk)
    return "From here on your things are kept, and nothing else is done with them."


@action("account-privacy", proved=True)
def lift(request: HttpRequest) -> str:
    lift_restriction(user_id=person_of(request).pk)
    return "Your things are worked with again."


@fresh("account-erasure")
def erase(request: HttpRequest) -> HttpResponse:
    """Ask to be erased. The answer itself shows the code that takes it back, this once."""
    form = ErasureForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
        try:
            erasure, token = request_erasure(
                user_id=person_of(request).pk, confirmation=form.cleaned_data["confirmation"]
            )
        except DomainError as error:
            form.add_error(None, error.detail)
        else:
            logout(request)
            return render(
                request, "accounts/erasure_requested.html", {"erasure": erasure, "token": token}
            )
    return render(request, "accounts/erasure.html", {"form": form, "confirmation": CONFIRMATION})


@never_cache
def take_back_erasure(request: HttpRequest) -> HttpResponse:
    """For everybody: whose account is closed cannot log in."""
    form = CancelErasureForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
        try:
            cancel_erasure(token=form.cleaned_data["token"])
        except DomainError as error:
            form.add_error("token", error.detail)
        else:
            return render(request, "accounts/erasure_cancelled.html")
    return render(request, "accounts/erasure_cancel.html", {"form": form})
