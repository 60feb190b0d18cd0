"""What signing up asks for besides an address and a password."""

from typing import Any

from django import forms
from django.http import HttpRequest

from accounts.choices import ConsentType
from accounts.consents.documents import current_document
from accounts.identity.passwords import OwnWordsValidator
from accounts.models import User
from accounts.services.consents import require_all
from accounts.services.registration import complete_registration
from common.encryption.lookup import normalized_email, seal_for_lookup
from common.errors import DomainError
from common.locks import lock

# What belongs together when it is asked for.
GROUPS = {
    "What we agree on": [
        ConsentType.TERMS_OF_SERVICE,
        ConsentType.PRIVACY_POLICY,
        ConsentType.HEALTHCARE_CONSULTATION,
    ],
    "What you know": [ConsentType.MEDICAL_DISCLAIMER, ConsentType.EMERGENCY_CARE_LIMITATION],
}


class ConsentsInput(forms.Widget):
    """An object with a version for each consent, or a ticked box `consents-<type>=<version>`."""

    template_name = "accounts/consents_input.html"
    # Several boxes: no one label is for all of them.
    use_fieldset = True

    def value_from_datadict(self, data: Any, files: Any, name: str) -> Any:
        if name in data:
            return data[name]
        beginning = f"{name}-"
        return {key.removeprefix(beginning): data[key] for key in data if key.startswith(beginning)}

    def value_omitted_from_data(self, data: Any, files: Any, name: str) -> bool:
        return False

    def get_context(self, name: str, value: Any, attrs: Any) -> dict[str, Any]:
        ticked = value if isinstance(value, dict) else {}
        groups = [
            {
                "title": title,
                "choices": [
                    {"document": current_document(kind), "is_ticked": kind in ticked}
                    for kind in kinds
                ],
            }
            for title, kinds in GROUPS.items()
        ]
        return {**super().get_context(name, value, attrs), "groups": groups}


class ConsentsField(forms.Field):
    """Everything has to be agreed to, whether or not the address is free."""

    widget = ConsentsInput

    def clean(self, value: Any) -> dict[str, int]:
        versions = self._versions(value)
        try:
            require_all(versions)
        except DomainError as error:
            raise forms.ValidationError(
                [
                    forms.ValidationError(f"{each.field}: {each.message}", code=each.code)
                    for each in error.errors
                ]
                or error.detail,
                code=error.code,
            ) from error
        return versions

    def _versions(self, value: Any) -> dict[str, int]:
        try:
            return {str(kind): int(version) for kind, version in dict(value or {}).items()}
        except (TypeError, ValueError, OverflowError) as error:
            raise forms.ValidationError(
                "Give an object with a version for each type of consent.", code="invalid"
            ) from error


class SignUpForm(forms.Form):
    """Joins allauth's forms for sign-up, by the API and on the page."""

    field_order = [
        "email", "password1", "username", "full_name", "given_name", "family_name", "consents",
    ]  # fmt: skip

    full_name = forms.CharField(max_length=255, required=False)
    given_name = forms.CharField(max_length=255, required=False)
    family_name = forms.CharField(max_length=255, required=False)
    consents = ConsentsField(required=False, label="Your consent to each of these texts")

    def full_clean(self) -> None:
        """Two who sign up with one address or name at once do so one after the other: the second
        finds what the first one made."""
        if self.is_bound:
            said = (str(self.data.get(name) or "") for name in ("email", "username"))
            lock(*(seal_for_lookup(normalized_email(text), "sign-up") for text in said if text))
        super().full_clean()

    def clean(self) -> dict[str, Any]:
        """The validators of passwords know a person's words only once there is a person."""
        said: dict[str, Any] = super().clean() or self.cleaned_data
        # As the API and the page call it.
        for field in {"password", "password1"} & set(said):
            try:
                OwnWordsValidator().compare(said[field], said)
            except forms.ValidationError as error:
                self.add_error(field, error)
        return said

    def signup(self, request: HttpRequest, user: User) -> None:
        complete_registration(user_id=user.pk, consents=self.cleaned_data["consents"])
