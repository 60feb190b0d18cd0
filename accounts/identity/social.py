"""Sign-in with an ID token of Google or Apple, which counts once.

Neither of them says how often a token may be used. So a client first asks for a nonce, which the
provider writes into the token, and which is taken back with it.
"""

import hashlib
import secrets
from collections.abc import Callable
from typing import Any
from uuid import UUID

from allauth.account.models import EmailAddress
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.headless.internal.restkit.response import ErrorResponse
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.models import SocialAccount, SocialLogin
from allauth.socialaccount.providers.apple.views import AppleOAuth2Adapter
from allauth.socialaccount.providers.base import Provider
from allauth.socialaccount.providers.google import views as google
from cachecontrol import CacheControlAdapter
from cachecontrol.cache import DictCache
from cachecontrol.heuristics import ExpiresAfter
from django.conf import settings
from django.core.exceptions import ValidationError
from django.forms import BaseForm
from django.http import HttpRequest
from requests import Session

from accounts.models import User
from accounts.models.users import NAMES
from common.health import redis_client

NONCE_SECONDS = 600
# A provider publishes a key long before it signs with it, and is not asked at every sign-in.
KEYS_SECONDS = 300
_published = DictCache()
TOKEN_VIEW = "provider_token"  # noqa: S105 - the name of a view
UNREADABLE = "The ID token lacks what every one has."
UNUSABLE = "The ID token has no nonce of ours, or was used before."


def issue_nonce() -> str:
    """A nonce that one ID token may carry within the next minutes."""
    nonce = secrets.token_urlsafe(32)
    redis_client().set(_key(nonce), 1, ex=NONCE_SECONDS)
    return nonce


def use_nonce(claimed: str) -> bool:
    """Whether we issued it and nobody has used it; afterwards it is used.

    Some clients give the provider the SHA-256 of the nonce, in hexadecimal.
    """
    return bool(claimed) and bool(
        redis_client().delete(_key(claimed)) or redis_client().delete(_key_of_digest(claimed))
    )


def _key(nonce: str) -> str:
    return _key_of_digest(hashlib.sha256(nonce.encode()).hexdigest())


def _key_of_digest(digest: str) -> str:
    return f"{settings.REDIS_PREFIX}nonce:{digest}"


def _refusing(verify: Callable[..., SocialLogin]) -> Callable[..., SocialLogin]:
    """allauth takes it that a token names its key and its person; what anybody sends may not."""

    def verifying(request: HttpRequest, token: dict[str, Any]) -> SocialLogin:
        try:
            return verify(request, token)
        except KeyError as error:
            raise ValidationError(UNREADABLE, "invalid_token") from error

    return verifying


class SocialAdapter(DefaultSocialAccountAdapter):  # type: ignore[misc]  # allauth has no types
    def get_provider(
        self, request: HttpRequest, provider: str, client_id: str | None = None
    ) -> Provider:
        found = super().get_provider(request, provider, client_id=client_id)
        found.verify_token = _refusing(found.verify_token)
        return found

    def get_requests_session(self) -> Session:
        """One that keeps a provider's public keys for KEYS_SECONDS, and no other answer."""
        session: Session = super().get_requests_session()
        for url in (google.CERTS_URL, AppleOAuth2Adapter.public_key_url):
            often_enough = ExpiresAfter(seconds=KEYS_SECONDS)
            session.mount(url, CacheControlAdapter(cache=_published, heuristic=often_enough))
        return session

    def pre_social_login(self, request: HttpRequest, sociallogin: SocialLogin) -> None:
        match = request.resolver_match
        if match is None or match.url_name != TOKEN_VIEW:
            return
        if not use_nonce(sociallogin.state.pop("nonce", "")):
            error = ValidationError(UNUSABLE, "invalid_token")
            raise ImmediateHttpResponse(ErrorResponse(request, exception=error))

    def populate_user(
        self, request: HttpRequest, sociallogin: SocialLogin, data: dict[str, Any]
    ) -> User:
        # The claims are not kept: of one who comes back they are gone by the time of the login.
        sociallogin.state["nonce"] = str((sociallogin.account.extra_data or {}).get("nonce", ""))
        user: User = super().populate_user(request, sociallogin, {"email": data.get("email")})
        user.given_name = data.get("first_name") or None
        user.family_name = data.get("last_name") or None
        names = [name for name in (user.given_name, user.family_name) if name]
        user.full_name = data.get("name") or " ".join(names) or None
        return user

    def save_user(
        self, request: HttpRequest, sociallogin: SocialLogin, form: BaseForm | None = None
    ) -> User:
        """With the address that was typed and those that the provider vouches for."""
        if form is not None:
            typed = EmailAddress(email=form.cleaned_data["email"], primary=True)
            proved = [address for address in sociallogin.email_addresses if address.verified]
            sociallogin.email_addresses = [typed, *proved]
        user: User = super().save_user(request, sociallogin, form)
        return user

    def serialize_instance(self, instance: Any) -> dict[str, Any]:
        """While somebody signs up, who they will be waits in their session."""
        if not isinstance(instance, User):
            found: dict[str, Any] = super().serialize_instance(instance)
            return found
        return {"id": str(instance.pk), **{name: getattr(instance, name) for name in NAMES}}

    def deserialize_instance(self, model: type[Any], data: dict[str, Any]) -> Any:
        if model is not User:
            return super().deserialize_instance(model, data)
        return User(id=UUID(data["id"]), **{name: data[name] for name in NAMES})


def forget_claims(sender: Any, instance: SocialAccount, **_: Any) -> None:
    """What a provider says of a person is not kept beside what we know of them."""
    instance.extra_data = {}
