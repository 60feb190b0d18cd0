"""What allauth does, in this house's way: who acts, what is sealed, what is sent."""

from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.internal.flows.reauthentication import get_reauthentication_flows
from allauth.account.models import EmailAddress
from allauth.core import context as allauth_context
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.headless.base.response import ForbiddenResponse, ReauthenticationResponse
from allauth.mfa.adapter import DefaultMFAAdapter
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.hashers import make_password
from django.core.exceptions import PermissionDenied, ValidationError
from django.core.mail import EmailMultiAlternatives
from django.forms import BaseForm
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from accounts.choices import Role
from accounts.identity.sealing import open_secret, seal_secret
from accounts.identity.sessions import is_freshly_proved
from accounts.identity.timing import CAME_IN
from accounts.mail import Mail
from accounts.models import User
from accounts.models.users import NAMES
from accounts.services.mail import send_mail
from accounts.services.users import check_username, free_username
from common import context
from common.errors import InvalidInputError
from common.tenancy import become, current_actor

LONGEST_ADDRESS = 254


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]  # allauth has no types
    """Sign-up, passwords, addresses, mail."""

    def get_client_ip(self, request: HttpRequest) -> str:
        return context.origin.get().address or "unknown"

    # --- who acts ---

    def save_user(
        self,
        request: HttpRequest,
        user: AbstractBaseUser,
        form: BaseForm,
        commit: bool = True,  # noqa: FBT001 - as overridden
    ) -> AbstractBaseUser:
        become(user.pk)
        for name in NAMES:
            if given := form.cleaned_data.get(name):
                setattr(user, name, given)
        saved: AbstractBaseUser = super().save_user(request, user, form, commit)
        return saved

    def populate_username(self, request: HttpRequest, user: AbstractBaseUser) -> None:
        """One that nobody chose says nothing of the person: no part of a name or an address."""
        if isinstance(user, User) and not user.username:
            user.username = free_username(user.pk)

    def pre_login(
        self, request: HttpRequest, user: AbstractBaseUser, **hooks: Any
    ) -> HttpResponse | None:
        if isinstance(user, User) and user.role != Role.USER:
            # They come in at the admin, whose sessions nobody else can make.
            raise ImmediateHttpResponse(_refuse_login(request, user))
        response: HttpResponse | None = super().pre_login(request, user, **hooks)
        return response

    def login(self, request: HttpRequest, user: AbstractBaseUser) -> None:
        """A login may have waited long: whether it may go on is asked at its end once more."""
        become(user.pk)
        if isinstance(user, User) and not _is_as_proved(user):
            raise ImmediateHttpResponse(_refuse_login(request, user))
        super().login(request, user)
        setattr(request, CAME_IN, True)

    def confirm_email(self, request: HttpRequest, email_address: EmailAddress) -> bool:
        become(email_address.user_id)
        return bool(super().confirm_email(request, email_address))

    def clean_username(self, username: str, shallow: bool = False) -> str:  # noqa: FBT001 - as overridden
        try:
            check_username(username)
        except InvalidInputError as error:
            raise ValidationError(error.detail, code="invalid_username") from error
        return str(super().clean_username(username, shallow))

    def clean_email(self, email: str) -> str:
        """Longer than an address can be, it would not fit where it is sealed (RFC 5321, 4.5.3)."""
        if len(email.encode()) > LONGEST_ADDRESS:
            raise ValidationError("This address is too long.", code="max_length")
        return str(super().clean_email(email))

    def set_password(self, user: AbstractBaseUser, password: str) -> None:
        """Only called once a code or the former password was right, or where there was none."""
        if isinstance(user, User) and user.role != Role.USER:
            raise ImmediateHttpResponse(_refuse_login(self.request, user))
        if user == self.request.user and not user.has_usable_password():
            refuse_stale_login(self.request)
        become(user.pk)
        user.set_password(password)
        user.save(update_fields=["password"])

    def get_login_stages(self) -> list[str]:
        ours = "accounts.identity.stages.SecondFactorStage"
        return [
            ours if path.endswith("mfa.stages.AuthenticateStage") else path
            for path in super().get_login_stages()
        ]

    def is_reauthentication_required(self, *, app: str) -> bool:
        required = bool(super().is_reauthentication_required(app=app))
        if required and not get_reauthentication_flows(self.request.user):
            # allauth lets through whoever has nothing to prove it with but their provider.
            refuse_stale_login(self.request)
        return required

    def can_delete_email(self, email_address: EmailAddress) -> bool:
        """Without a confirmed address nobody could reset a password again."""
        others = EmailAddress.objects.filter(user_id=email_address.user_id, verified=True)
        if email_address.verified and not others.exclude(pk=email_address.pk).exists():
            return False
        return bool(super().can_delete_email(email_address))

    # --- guessing ---

    def pre_authenticate(self, request: HttpRequest, **credentials: Any) -> None:
        """Attempts are counted by the backend."""

    def send_account_already_exists_mail(self, email: str) -> None:
        # Whoever signs up with an address that is free waits for a hash.
        make_password("as long as a sign-up takes")
        super().send_account_already_exists_mail(email)

    # --- mail ---

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        request = allauth_context.request
        context = {"request": request, "email": email, **context}
        message = self.render_mail(template_prefix, email, context)
        html = ""
        if isinstance(message, EmailMultiAlternatives) and message.alternatives:
            html = str(message.alternatives[0][0])
        send_mail(Mail(email, str(message.subject), str(message.body), html))

    def format_email_subject(self, subject: str) -> str:
        return str(subject)


def refuse_stale_login(request: HttpRequest) -> None:
    """Whoever cannot prove it again has to have logged in just now."""
    if is_freshly_proved(request):
        return
    if hasattr(request.allauth, "headless"):  # type: ignore[attr-defined]  # set by its middleware
        raise ImmediateHttpResponse(ReauthenticationResponse(request))
    raise PermissionDenied("Log out and log in again first.")


def _is_as_proved(user: User) -> bool:
    """Whether the account is open, and has the password that it had when it was proved.

    Locks it: who changes either of them at this moment waits, and then ends this login too.
    """
    found = User.objects.select_for_update(no_key=True).filter(pk=user.pk).first()
    return (
        found is not None
        and found.role == Role.USER
        and found.is_active
        and found.get_session_auth_hash() == user.get_session_auth_hash()
    )


def _refuse_login(request: HttpRequest, user: User) -> HttpResponse:
    if hasattr(request.allauth, "headless"):  # type: ignore[attr-defined]  # set by its middleware
        refusal: HttpResponse = ForbiddenResponse(request)
        return refusal
    return HttpResponseRedirect(
        reverse("account_inactive" if user.role == Role.USER else "admin:login")
    )


class SecondFactorAdapter(DefaultMFAAdapter):  # type: ignore[misc]  # allauth has no types
    """Secrets of second factors are sealed with a key of their person's."""

    def encrypt(self, text: str) -> str:
        return seal_secret(allauth_context.request.user.pk, text)

    def decrypt(self, encrypted_text: str) -> str:
        return open_secret(current_actor(), encrypted_text)
