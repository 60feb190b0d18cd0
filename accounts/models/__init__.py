from accounts.models.access_tokens import PersonalAccessToken
from accounts.models.answers import RecordedAnswer
from accounts.models.biometrics import BiometricChallenge, BiometricKey
from accounts.models.consents import Consent
from accounts.models.data_keys import DataKey, KeyCheck
from accounts.models.mail import OutgoingMail
from accounts.models.preferences import Preference
from accounts.models.privacy import Erasure, ErasureRequest, ExportRequest
from accounts.models.sessions import DeviceSession, StoredSession
from accounts.models.subscriptions import ReceivedNotification, Subscription
from accounts.models.users import User

__all__ = [
    "BiometricChallenge",
    "BiometricKey",
    "Consent",
    "DataKey",
    "DeviceSession",
    "Erasure",
    "ErasureRequest",
    "ExportRequest",
    "KeyCheck",
    "OutgoingMail",
    "PersonalAccessToken",
    "Preference",
    "ReceivedNotification",
    "RecordedAnswer",
    "StoredSession",
    "Subscription",
    "User",
]
