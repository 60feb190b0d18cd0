"""What goes wrong with keys and sealed things.

None of it is meant for a caller of the API, who is told no more than `server_error`: the sentence
is for the log and for whoever runs the house. None holds a secret, or says what exactly in a
sealed thing was wrong.
"""


class EncryptionError(Exception):
    """The base of all of them."""


class DecryptionError(EncryptionError):
    """It was changed, moved to another place, or sealed with another key: it is not known which."""

    def __init__(self) -> None:
        super().__init__("What is sealed cannot be opened: it was changed or moved, or is damaged.")


class MissingKeyError(EncryptionError):
    """A key that is needed is not configured, or is another one; the sentence says what to do."""


class DestroyedKeyError(EncryptionError):
    """The person's keys were destroyed: what they sealed is lost, as was meant."""

    def __init__(self) -> None:
        super().__init__("The keys of this person were destroyed.")


class KeyServiceError(EncryptionError):
    """The service that holds the keys gave no answer; it may be tried again."""


class SealedFieldError(EncryptionError):
    """A sealed column was used in a way in which nothing can be sealed."""
