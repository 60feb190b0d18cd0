"""From which pages and apps passkeys come."""

from allauth.mfa.adapter import get_adapter
from allauth.mfa.webauthn.internal import auth
from django.conf import settings
from fido2.server import Fido2Server
from fido2.webauthn import PublicKeyCredentialRpEntity


def accept_our_origins() -> None:
    """From here on a passkey is taken from PASSKEY_ORIGINS, and from nowhere else.

    allauth takes those of any page under the host's name with HTTPS, of no Android app, and while
    somebody develops those of anybody.
    """
    auth.get_server = _server


def _server() -> Fido2Server:
    entity = get_adapter().get_public_key_credential_rp_entity()
    return Fido2Server(PublicKeyCredentialRpEntity(**entity), verify_origin=_is_ours)


def _is_ours(origin: str) -> bool:
    return origin in settings.PASSKEY_ORIGINS
