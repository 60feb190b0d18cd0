from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.bearers import BearerViewSet
from accounts.api.permissions import HasFreshLogin, HasLogin, HasScope
from accounts.api.serializers.biometrics import (
    KINDS,
    AnnouncedKeyOutput,
    BiometricKeyInput,
    BiometricKeyOutput,
    ChallengeOutput,
    SignatureInput,
)
from accounts.choices import Scope
from accounts.models import BiometricKey
from accounts.services.biometrics import (
    announce_key,
    challenge_key,
    register_key,
    revoke_key,
    verify_key,
)
from common.api.views import ReadMixin, given


class BiometricKeyViewSet(ReadMixin, BearerViewSet):
    """Keys that devices hold and use once they have recognised their owner."""

    read_scope = Scope.ACCOUNT_READ
    write_scope = Scope.ACCOUNT_WRITE
    serializer_class = BiometricKeyOutput
    queryset = BiometricKey.objects.none()

    def get_permissions(self) -> list[BasePermission]:
        """What a key proves is who is at the device: no program with a token has part in it."""
        if self.action in ("create", "complete"):
            return [HasScope(), HasFreshLogin()]
        if self.action in ("challenge", "verify"):
            return [HasScope(), HasLogin()]
        return [HasScope()]

    def get_queryset(self) -> QuerySet[BiometricKey]:
        return BiometricKey.objects.visible_to(self.user_id)

    @extend_schema(request=BiometricKeyInput, responses={201: AnnouncedKeyOutput})
    def create(self, request: Request) -> Response:
        """Announce a device's key, which is pending until it signs the `challenge`.

        Needs a fresh login. One that was announced before for the same device and kind, and was
        never completed, is revoked.
        """
        values = given(BiometricKeyInput, request.data)
        key, challenge = announce_key(
            user_id=self.user_id,
            kind=KINDS[values["kind"]],
            device_id=values["device_id"],
            public_key=values["public_key"],
            label=values["label"],
        )
        shown = self.get_serializer(key).data
        return Response({**shown, "challenge": ChallengeOutput(challenge).data}, 201)

    @extend_schema(request=SignatureInput, responses=BiometricKeyOutput)
    def complete(self, request: Request, pk: UUID) -> Response:
        """Register the key by its first signature. Needs a fresh login.

        Signed are, one after the other: the ASCII text `commonplace biometric registration`,
        a zero byte, the 16 bytes of the key's id, the 32 bytes of the challenge.
        """
        values = given(SignatureInput, request.data)
        key = register_key(user_id=self.user_id, key_id=pk, **values)
        return Response(self.get_serializer(key).data)

    @extend_schema(request=None, responses=ChallengeOutput)
    def challenge(self, request: Request, pk: UUID) -> Response:
        """Ask for a challenge, which takes the place of the one before and lasts five minutes."""
        challenge = challenge_key(user_id=self.user_id, key_id=pk)
        return Response(ChallengeOutput(challenge).data)

    @extend_schema(request=SignatureInput, responses=BiometricKeyOutput)
    def verify(self, request: Request, pk: UUID) -> Response:
        """Prove by a signature who is there: the login then counts as fresh.

        Signed is the same as for the registration, with the text
        `commonplace biometric verification`. A challenge is used up by any attempt; ten failures
        in a row revoke the key.
        """
        values = given(SignatureInput, request.data)
        key = verify_key(user_id=self.user_id, session_id=self.session_id, key_id=pk, **values)
        return Response(self.get_serializer(key).data)

    @extend_schema(responses={204: None})
    def destroy(self, request: Request, pk: UUID) -> Response:
        """Revoke the key, for good; it stays in the list. To revoke it again changes nothing."""
        revoke_key(user_id=self.user_id, key_id=pk)
        return Response(status=204)
