"""Domain errors: what went wrong, for whom it may concern, whichever door they came through.

`code` is a public contract (docs/errors.md); `status` is the HTTP status the API answers with.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class FieldError:
    """One thing wrong with one field of the input; `field` is a dotted path or empty."""

    field: str
    code: str
    message: str


class DomainError(Exception):
    """The base of every error that a caller is meant to see."""

    code: ClassVar[str] = "error"
    title: ClassVar[str] = "The request could not be carried out"
    status: ClassVar[int] = 400

    def __init__(self, detail: str, *, errors: Sequence[FieldError] = ()) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = list(errors)


class InvalidInputError(DomainError):
    code = "invalid_input"
    title = "The input is not valid"
    status = 400


class RefusedError(DomainError):
    """They are known, and may not do this."""

    code = "refused"
    title = "This is refused"
    status = 403


class NotFoundError(DomainError):
    code = "not_found"
    title = "There is no such thing here"
    status = 404


class ConflictError(DomainError):
    code = "conflict"
    title = "The request contradicts the present state"
    status = 409


class IdempotencyInFlightError(ConflictError):
    code = "idempotency_in_flight"
    title = "A request with this Idempotency-Key is being carried out"


class IdempotencyKeyReusedError(DomainError):
    code = "idempotency_key_reused"
    title = "This Idempotency-Key was used for another request"
    status = 422


class TooManyError(DomainError):
    """`retry_after` is the time in seconds after which it may be tried again."""

    code = "throttled"
    title = "There were too many requests"
    status = 429

    def __init__(self, detail: str, *, retry_after: int) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class TooLargeError(DomainError):
    code = "too_large"
    title = "The request is too large"
    status = 413


class TooSlowError(DomainError):
    code = "too_slow"
    title = "The database took too long"
    status = 503
