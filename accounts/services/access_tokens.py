from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from accounts.choices import Scope
from accounts.models import PersonalAccessToken, User
from accounts.tokens import HINT_LENGTH, digest_of, new_secret
from common.tenancy import acting_as, as_operator, current_alias


def issue_token(
    *,
    user: User,
    name: str,
    scopes: Sequence[Scope] = tuple(Scope),
    expires_at: datetime | None = None,
    reason: str = "",
) -> str:
    """Afterwards the user has one more access token; its secret is returned this once.

    With a `reason` it is the house that issues it, and not the person.
    """
    secret = new_secret()
    with as_operator(reason) if reason else acting_as(user.pk):
        PersonalAccessToken.objects.create(
            user=user,
            name=name,
            digest=digest_of(secret),
            hint=secret[:HINT_LENGTH],
            scopes=sorted(scopes),
            expires_at=expires_at,
        )
    return secret


def revoke_tokens(*, token_ids: Sequence[UUID]) -> int:
    """Afterwards the tokens open nothing; returns how many did until then.

    Runs as whoever calls: a person within `acting_as`, or the operator.
    """
    with transaction.atomic(using=current_alias()):
        return PersonalAccessToken.objects.filter(pk__in=token_ids, revoked_at=None).update(
            revoked_at=timezone.now()
        )
