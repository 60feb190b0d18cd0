from collections.abc import Mapping
from uuid import UUID

from accounts.choices import ConsentMethod, ConsentSource, ConsentType
from accounts.consents.documents import Document, current_document
from accounts.errors import ConsentsMissingError, ConsentVersionOutdatedError
from accounts.models import Consent
from accounts.selectors.consents import ConsentState, consent_states
from common import context
from common.errors import FieldError, InvalidInputError
from common.locks import lock
from common.tenancy import acting_as


def require_all(versions: Mapping[str, int]) -> None:
    """Raises ConsentsMissingError, which names each text that is missing or unknown by its field,
    and ConsentVersionOutdatedError, unless everything is agreed to as it stands."""
    missing = [kind for kind in ConsentType.values if kind not in versions]
    if missing:
        raise ConsentsMissingError(
            "Everything has to be agreed to: see errors.",
            errors=[FieldError(kind, "required", "This consent is missing.") for kind in missing],
        )
    _current(versions)


def accept_all_at_registration(*, user_id: UUID, versions: Mapping[str, int]) -> None:
    """Afterwards the person has agreed to everything that must be agreed to.

    Raises what `require_all` raises; then nothing is written.
    """
    require_all(versions)
    accept_consents(
        user_id=user_id,
        versions=versions,
        method=ConsentMethod.BUNDLED,
        source=ConsentSource.REGISTRATION,
    )


def accept_consents(
    *, user_id: UUID, versions: Mapping[str, int], method: ConsentMethod, source: ConsentSource
) -> list[ConsentState]:
    """Afterwards the person has agreed to these versions; what they had agreed to stays as it is.

    Returns where they stand with every text. Raises InvalidInputError for a text that there is
    not, and ConsentVersionOutdatedError unless each version is the current one; then nothing is
    written.
    """
    documents = _current(versions)
    with acting_as(user_id):
        # What is said at the same time is written once.
        lock(f"consents:{user_id}")
        stand = {state.type: state for state in consent_states(user_id)}
        Consent.objects.bulk_create(
            _given(user_id, document, method, source)
            for document in documents
            if stand[document.type].needed
        )
        return consent_states(user_id)


def withdraw_consent(
    *, user_id: UUID, kind: ConsentType, source: ConsentSource
) -> list[ConsentState]:
    """Afterwards the person's agreement to this text is withdrawn, if there was one.

    Returns where they stand with every text.
    """
    with acting_as(user_id):
        lock(f"consents:{user_id}")
        given = Consent.objects.visible_to(user_id).latest_of_each_type().filter(type=kind)
        row = given.first()
        if row is not None and row.given:
            # What is withdrawn is what was given, whichever version is current.
            Consent.objects.create(
                user_id=user_id,
                type=kind,
                version=row.version,
                given=False,
                document_sha256=row.document_sha256,
                method=ConsentMethod.GRANULAR,
                source=source,
                **_origin(),
            )
        return consent_states(user_id)


def _current(versions: Mapping[str, int]) -> list[Document]:
    """The documents that are meant, in the order of their kinds."""
    unknown = sorted(set(versions) - set(ConsentType.values))
    if unknown:
        raise InvalidInputError(
            "There is no such consent: see errors.",
            errors=[FieldError(name, "unknown", "There is no such consent.") for name in unknown],
        )
    documents = [current_document(kind) for kind in ConsentType if kind.value in versions]
    outdated = [one for one in documents if versions[one.type.value] != one.version]
    if outdated:
        raise ConsentVersionOutdatedError(
            "Show the current text and ask again: see errors.",
            errors=[
                FieldError(one.type.value, "outdated", f"The current version is {one.version}.")
                for one in outdated
            ],
        )
    return documents


def _given(
    user_id: UUID, document: Document, method: ConsentMethod, source: ConsentSource
) -> Consent:
    return Consent(
        user_id=user_id,
        type=document.type,
        version=document.version,
        given=True,
        document_sha256=document.sha256,
        method=method,
        source=source,
        **_origin(),
    )


def _origin() -> dict[str, str | None]:
    origin = context.origin.get()
    return {"address": origin.address or None, "agent": origin.agent or None}
