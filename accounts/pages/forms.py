from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.conf import settings
from django.utils import timezone

from accounts.choices import Scope
from accounts.services.erasures import CONFIRMATION

LIFETIMES = (7, 30, 90, 180, 365)


class ProfileForm(forms.Form):
    """What a person can correct of themselves."""

    username = forms.CharField(
        max_length=150, help_text="A name to log in with. Letters, digits and . + - _"
    )
    full_name = forms.CharField(max_length=255, required=False)
    given_name = forms.CharField(max_length=255, required=False)
    family_name = forms.CharField(max_length=255, required=False)

    def changes(self) -> dict[str, str | None]:
        """What is left empty is not known."""
        return {name: value or None for name, value in self.cleaned_data.items()}


class AccessTokenForm(forms.Form):
    name = forms.CharField(max_length=100, help_text="What you call it, to know it again.")
    scopes = forms.MultipleChoiceField(
        choices=Scope.choices,
        widget=forms.CheckboxSelectMultiple,
        label="What it may be used for",
    )
    days = forms.TypedChoiceField(coerce=int, empty_value=None, label="How long it is valid")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        longest = settings.TOKEN_LONGEST_DAYS
        allowed = [days for days in LIFETIMES if not longest or days <= longest] or [longest]
        choices = [(str(days), f"{days} days") for days in allowed]
        field = self.fields["days"]
        assert isinstance(field, forms.ChoiceField)  # noqa: S101 - as declared above
        field.choices = choices if longest else [*choices, ("", "Until it is revoked")]
        field.required = bool(longest)

    @property
    def expires_at(self) -> datetime | None:
        days = self.cleaned_data["days"]
        return timezone.now() + timedelta(days=days) if days else None


class ErasureForm(forms.Form):
    confirmation = forms.CharField(
        label=f"Type {CONFIRMATION}",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )

    def clean_confirmation(self) -> str:
        confirmation = str(self.cleaned_data["confirmation"])
        if confirmation != CONFIRMATION:
            raise forms.ValidationError(f"Type {CONFIRMATION}, exactly so.")
        return confirmation


class CancelErasureForm(forms.Form):
    token = forms.CharField(
        label="The code that you were given",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )
