from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from accounts.choices import Scope
from accounts.models import PersonalAccessToken
from accounts.pages.access import action, fresh, person_of, personal
from accounts.pages.forms import AccessTokenForm
from accounts.services.access_tokens import create_token, revoke_token
from common.errors import DomainError


@personal
def list_tokens(request: HttpRequest) -> HttpResponse:
    """The tokens that open something; what ended is in the API's list."""
    mine = PersonalAccessToken.objects.visible_to(person_of(request).pk)
    tokens = mine.usable(timezone.now()).order_by("-pk")
    return render(request, "accounts/tokens.html", {"tokens": tokens})


@fresh("account-token-new")
def create(request: HttpRequest) -> HttpResponse:
    """Make a token. The answer itself shows the secret: what redirects would have to keep it."""
    form = AccessTokenForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
        try:
            token, secret = create_token(
                user=person_of(request),
                name=form.cleaned_data["name"],
                scopes=[Scope(scope) for scope in form.cleaned_data["scopes"]],
                expires_at=form.expires_at,
            )
        except DomainError as error:
            form.add_error(None, error.detail)
        else:
            return render(request, "accounts/token.html", {"token": token, "secret": secret})
    return render(request, "accounts/token_new.html", {"form": form})


@action("account-tokens")
def revoke(request: HttpRequest, token_id: UUID) -> str:
    token = revoke_token(user_id=person_of(request).pk, token_id=token_id)
    return f"The token {token.name} opens nothing any more."
