"""What accounts keep of people, and how an erasure takes it."""

from uuid import UUID

from allauth.account.models import EmailAddress, EmailConfirmation
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount, SocialToken
from django.db import connections
from django.db.models import Q

from accounts.choices import AccountStatus
from accounts.models import (
    BiometricChallenge,
    BiometricKey,
    Consent,
    DataKey,
    DeviceSession,
    Erasure,
    ErasureRequest,
    ExportRequest,
    PersonalAccessToken,
    Preference,
    RecordedAnswer,
    StoredSession,
    Subscription,
    User,
)
from common.privacy import DELETED, blanked, kept, register, register_files, register_step
from common.tenancy import OPERATOR_ALIAS

PROOF = "proof that the erasure was asked for and carried out"
# Article 7 (1) of the GDPR. Where it came from is sealed, and so unreadable.
PROOF_OF_CONSENT = "proof that there was consent"
PROOF_OF_CONSENT_DAYS = 2557
SECRET = "opens things for whoever has it"  # noqa: S105 - a reason
FLEETING = "is gone within days"


def register_privacy() -> None:
    """From here on exports and erasures know the accounts."""
    register(
        User,
        owner="id",
        erased=blanked(unless=Q(account_status=AccountStatus.DELETED)),
        without=["password"],
    )
    # The rows stay without the keys: nothing more is ever sealed for whoever was erased.
    register(DataKey, erased=blanked(unless=Q(wrapped__isnull=True)), not_exported=SECRET)
    register(EmailAddress, erased=DELETED)
    register(EmailConfirmation, owner="email_address__user_id", erased=DELETED, not_exported=SECRET)
    register(SocialAccount, erased=DELETED)
    register(SocialToken, owner="account__user_id", erased=DELETED, not_exported=SECRET)
    register(Authenticator, erased=DELETED, without=["data"])
    register(DeviceSession, erased=DELETED)
    register(StoredSession, erased=DELETED, not_exported=SECRET)
    register(PersonalAccessToken, erased=DELETED, without=["digest"])
    register(BiometricKey, erased=DELETED)
    register(BiometricChallenge, erased=DELETED, not_exported=FLEETING)
    register(Consent, erased=kept(PROOF_OF_CONSENT, days=PROOF_OF_CONSENT_DAYS))
    register(Subscription, erased=DELETED, without=["external_digest"])
    register(Preference, erased=DELETED)
    register(RecordedAnswer, erased=DELETED, not_exported=FLEETING)
    register(ExportRequest, erased=DELETED, without=["link_digest"])
    register(ErasureRequest, erased=kept(PROOF), without=["token_digest"])
    register(Erasure, erased=kept(PROOF), not_exported="there is none for whoever can ask")
    register_files("exports", not_exported="exports of exports")
    register_step(erase_account)


def erase_account(user_id: UUID) -> dict[str, int]:
    """Afterwards the person's sessions, tokens, addresses and settings are gone."""
    with connections[OPERATOR_ALIAS].cursor() as cursor:
        cursor.execute("SELECT table_name, rows_deleted FROM accounts_erase_person(%s)", [user_id])
        return dict(cursor.fetchall())
