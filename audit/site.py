"""The admin's site: unfold's, with the page on which an operator gives a reason."""

from typing import Any

from allauth.core.internal.ratelimit import get_rates
from allauth.core.ratelimit import consume_or_429
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.contrib.auth.base_user import AbstractBaseUser
from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.http import url_has_allowed_host_and_scheme
from unfold.forms import AuthenticationForm
from unfold.sites import UnfoldAdminSite

from audit.choices import SecurityKind
from audit.reasons import ReasonForm, give_reason, reason_of
from audit.recording import record
from common.tenancy import Authority, act_upon


class HouseLoginForm(AuthenticationForm):  # type: ignore[misc]  # unfold has no types
    """Notes a right password of somebody who may not come in, of which Django signals nothing."""

    def confirm_login_allowed(self, user: AbstractBaseUser) -> None:
        try:
            super().confirm_login_allowed(user)
        except ValidationError:
            record(SecurityKind.LOGIN_FAILED, user_id=user.pk, by_person=True)
            raise


class HouseSite(UnfoldAdminSite):  # type: ignore[misc]  # unfold has no types
    login_form = HouseLoginForm

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """As often as a network may log in elsewhere: each password costs time and memory."""
        if refused := consume_or_429(request, action="login"):
            waits = [rate.duration for rate in get_rates(app="allauth.account", action="login")]
            refused["Retry-After"] = str(int(max(waits)))
            return refused
        return super().login(request, extra_context)

    def extra_urls(self) -> list[URLPattern]:
        return [path("reason/", self.admin_view(self.reason), name="reason")]

    def autocomplete_view(self, request: HttpRequest) -> HttpResponse:
        """No form of ours completes; whoever asked by hand would see names without a trace."""
        raise Http404

    def reason(self, request: HttpRequest) -> HttpResponse:
        """Asks why the operator looks, and goes on to where they wanted."""
        wanted = request.POST.get(REDIRECT_FIELD_NAME) or request.GET.get(REDIRECT_FIELD_NAME, "")
        form = ReasonForm(request.POST or None, initial={"reason": reason_of(request)})
        if request.method == "POST" and form.is_valid():
            reason = form.cleaned_data["reason"]
            give_reason(request, reason)
            act_upon(Authority(reason, request.user.pk))
            record(SecurityKind.REASON_GIVEN)
            return redirect(wanted if is_ours(request, wanted) else reverse("admin:index"))
        context = {
            **self.each_context(request),
            "title": "Why do you look?",
            "form": form,
            "next": wanted,
        }
        return TemplateResponse(request, "admin/reason.html", context)


def is_ours(request: HttpRequest, address: str) -> bool:
    """Whether it leads to a page of this site."""
    return url_has_allowed_host_and_scheme(
        address, {request.get_host()}, require_https=request.is_secure()
    )
