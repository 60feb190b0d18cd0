from allauth.mfa.utils import is_mfa_enabled
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone

from accounts.models import DeviceSession
from accounts.pages.access import person_of, personal
from accounts.pages.forms import ProfileForm
from accounts.selectors.consents import missing_consents
from accounts.selectors.subscriptions import current_subscription
from accounts.services.users import change_profile
from common.errors import DomainError


@personal
def show_home(request: HttpRequest) -> HttpResponse:
    """Where the account stands, with a way to everything in it."""
    person = person_of(request)
    mine = DeviceSession.objects.visible_to(person.pk)
    return render(
        request,
        "accounts/home.html",
        {
            "missing": missing_consents(person.pk),
            "sessions": mine.going_on(timezone.now()).count(),
            "second_factor": is_mfa_enabled(person),
            "subscription": current_subscription(person.pk),
        },
    )


@personal
def edit_profile(request: HttpRequest) -> HttpResponse:
    person = person_of(request)
    form = ProfileForm(
        request.POST if request.method == "POST" else None,
        initial={name: getattr(person, name) for name in ProfileForm.base_fields},
    )
    if form.is_valid():
        try:
            change_profile(user_id=person.pk, changes=form.changes())
        except DomainError as error:
            # The other fields hold whatever fits into them.
            form.add_error("username", error.detail)
        else:
            messages.success(request, "Your profile is changed.")
            return redirect("account-profile")
    return render(request, "accounts/profile.html", {"form": form})


@personal
def show_subscription(request: HttpRequest) -> HttpResponse:
    subscription = current_subscription(person_of(request).pk)
    return render(request, "accounts/subscription.html", {"subscription": subscription})
