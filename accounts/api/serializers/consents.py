from typing import Any

from rest_framework import serializers

from accounts.choices import ConsentMethod, ConsentType
from accounts.consents.documents import Document
from accounts.models import Consent
from accounts.selectors.consents import ConsentState


class ConsentStateOutput(serializers.Serializer[ConsentState]):
    """Where the person stands with one text."""

    type = serializers.ChoiceField(choices=ConsentType.choices)
    given = serializers.BooleanField(help_text="Agreed to, and not withdrawn")
    version = serializers.IntegerField(
        allow_null=True, help_text="What they agreed to or withdrew last; null if they never did"
    )
    at = serializers.DateTimeField(allow_null=True)
    current_version = serializers.IntegerField()
    needed = serializers.BooleanField(help_text="Has to be asked for")


class ConsentOutput(serializers.ModelSerializer[Consent]):
    """One thing that was said."""

    document_sha256 = serializers.SerializerMethodField(help_text="Of the text in UTF-8, in hex")

    class Meta:
        model = Consent
        fields = ["id", "type", "version", "given", "method", "source", "at", "document_sha256"]

    def get_document_sha256(self, row: Consent) -> str:
        return bytes(row.document_sha256).hex()


class AcceptedConsentInput(serializers.Serializer[dict[str, Any]]):
    type = serializers.ChoiceField(choices=ConsentType.choices)
    version = serializers.IntegerField(min_value=1, help_text="The version that was shown")


class AcceptConsentsInput(serializers.Serializer[dict[str, Any]]):
    consents = AcceptedConsentInput(many=True, allow_empty=False)
    method = serializers.ChoiceField(
        choices=ConsentMethod.choices,
        default=ConsentMethod.GRANULAR,
        help_text="Whether one gesture agreed to several texts",
    )

    def validate_consents(self, given: list[dict[str, Any]]) -> list[dict[str, Any]]:
        kinds = [one["type"] for one in given]
        if len(set(kinds)) != len(kinds):
            raise serializers.ValidationError("Each text once.", "repeated")
        return given


class WithdrawConsentInput(serializers.Serializer[dict[str, Any]]):
    type = serializers.ChoiceField(choices=ConsentType.choices)


class DocumentOutput(serializers.Serializer[Document]):
    """A text as it is to be shown before somebody agrees to it."""

    type = serializers.ChoiceField(choices=ConsentType.choices)
    version = serializers.IntegerField()
    text = serializers.CharField(help_text="Markdown")
    sha256 = serializers.SerializerMethodField(help_text="Of the text in UTF-8, in hex")

    def get_sha256(self, document: Document) -> str:
        return document.sha256.hex()
