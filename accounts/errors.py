from common.errors import (
    ConflictError,
    DomainError,
    InvalidInputError,
    NotFoundError,
    RefusedError,
    TooManyError,
)


class UsernameTakenError(ConflictError):
    code = "username_taken"
    title = "This username is taken"


class WeakPasswordError(InvalidInputError):
    code = "weak_password"
    title = "The password is too weak"


class UnknownUserError(NotFoundError):
    code = "unknown_user"
    title = "There is no such user"


class LoginRequiredError(RefusedError):
    """A personal access token asks for what only a person who is logged in may do."""

    code = "login_required"
    title = "This needs a login"


class ReauthenticationRequiredError(RefusedError):
    code = "reauthentication_required"
    title = "This needs a fresh proof of who you are"


class TooManyTokensError(ConflictError):
    code = "too_many_tokens"
    title = "There are too many personal access tokens"


class TooManyPreferencesError(ConflictError):
    code = "too_many_preferences"
    title = "There are too many preferences"


class TooManyKeysError(ConflictError):
    code = "too_many_biometric_keys"
    title = "There are too many biometric keys"


class KeyExistsError(ConflictError):
    code = "biometric_key_exists"
    title = "This device has such a key"


class KeyStatusError(DomainError):
    """The key is pending where it should be active, or the other way round, or it is revoked."""

    code = "wrong_key_status"
    title = "The key is not in a state for this"


class ChallengeExpiredError(DomainError):
    code = "challenge_expired"
    title = "There is no challenge to answer"


class OtherDeviceError(RefusedError):
    code = "other_device"
    title = "The key belongs to another device"


class VerificationFailedError(DomainError):
    code = "verification_failed"
    title = "The signature is not the key's"
    status = 401


class LockedOutError(TooManyError):
    code = "login_locked"
    title = "Logins are locked for a while"


class ConsentsMissingError(InvalidInputError):
    """`errors` names each consent that is missing."""

    code = "consents_missing"
    title = "Not everything was agreed to"


class ConsentVersionOutdatedError(ConflictError):
    code = "consent_version_outdated"
    title = "There is another version of this text"


class ConsentRequiredError(RefusedError):
    """`errors` names each consent that is to be asked for."""

    code = "consent_required"
    title = "This needs your consent first"


class PremiumRequiredError(RefusedError):
    code = "premium_required"
    title = "This needs a premium subscription"


class UnknownStoreError(NotFoundError):
    code = "unknown_store"
    title = "Purchases of this store are not taken here"


class InvalidReceiptError(InvalidInputError):
    code = "invalid_receipt"
    title = "The receipt proves no purchase"


class PurchasePendingError(ConflictError):
    code = "purchase_pending"
    title = "The store waits for the payment"


class ReceiptOfAnotherAccountError(ConflictError):
    code = "receipt_of_another_account"
    title = "The purchase belongs to another account"


class CancelInStoreError(ConflictError):
    code = "cancel_in_store"
    title = "The subscription is cancelled in the store"


class NothingToCancelError(ConflictError):
    code = "nothing_to_cancel"
    title = "There is no subscription that goes on"


class InvalidNotificationError(InvalidInputError):
    code = "invalid_notification"
    title = "The message is not from the store"


class StoreUnavailableError(DomainError):
    code = "store_unavailable"
    title = "The store does not answer"
    status = 503


class ConfirmationMissingError(InvalidInputError):
    code = "confirmation_missing"
    title = "The word of confirmation is missing"


class SubscriptionActiveError(ConflictError):
    code = "subscription_active"
    title = "A paid subscription is active"


class ErasureUnderWayError(ConflictError):
    code = "erasure_under_way"
    title = "The account is being erased already"


class UnknownErasureError(NotFoundError):
    code = "unknown_erasure"
    title = "There is no such erasure, or it cannot be cancelled any more"


class ExportUnderWayError(ConflictError):
    code = "export_under_way"
    title = "An export is being built already"


class ExportNotReadyError(ConflictError):
    code = "export_not_ready"
    title = "The export has no file"


class UnknownLinkError(NotFoundError):
    code = "unknown_link"
    title = "The link is unknown, used or too old"


class ProcessingRestrictedError(RefusedError):
    code = "processing_restricted"
    title = "The processing of this account is restricted"
