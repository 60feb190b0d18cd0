from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error

from accounts.choices import ConsentType


def check_consents(app_configs: Sequence[Any] | None, **_: Any) -> list[CheckMessage]:
    """Each text is there, and versions are of texts that there are."""
    unknown = sorted(set(settings.CONSENT_VERSIONS) - set(ConsentType.values))
    folder = Path(settings.CONSENT_DOCUMENTS_DIR)
    missing = [kind for kind in ConsentType.values if not (folder / f"{kind}.md").is_file()]
    problems: list[CheckMessage] = [
        Error(f"CONSENT_VERSIONS names {name}, which is no consent.", id="accounts.E001")
        for name in unknown
    ]
    problems += [
        Error(f"CONSENT_DOCUMENTS_DIR has no {name}.md.", id="accounts.E002") for name in missing
    ]
    return problems
