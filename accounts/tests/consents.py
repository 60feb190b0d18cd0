"""What tests of other subjects need of consents."""

from accounts.choices import ConsentMethod, ConsentSource, ConsentType
from accounts.consents.documents import current_version
from accounts.models import User
from accounts.services.consents import accept_consents


def agree_to_everything(user: User) -> None:
    accept_consents(
        user_id=user.pk,
        versions={kind.value: current_version(kind) for kind in ConsentType},
        method=ConsentMethod.BUNDLED,
        source=ConsentSource.API,
    )
