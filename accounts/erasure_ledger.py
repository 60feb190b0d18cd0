"""Who was erased: rows of the ledger, and files that outlive a restore of the database.

`erasures/<person>.json` says from the first moment on that somebody is erased, and
`erasures/<person>.done.json` is the signed receipt. Neither is ever written anew.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from io import BytesIO
from typing import Any
from uuid import UUID

from django.core.files.storage import default_storage
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.crypto import salted_hmac

from accounts.choices import ErasureStatus
from accounts.models import Erasure, ErasureRequest
from accounts.models.privacy import UNDER_WAY
from audit.choices import SecurityKind
from audit.recording import record
from common.encryption.canonical import canonical
from common.ids import uuid7
from common.locks import lock
from common.privacy import Fate, personal_tables
from common.storage import names_below, place
from common.tenancy import as_operator

FOLDER = "erasures"
LEDGER_FILE = re.compile(rf"{FOLDER}/([0-9a-f-]{{36}})\.json")
RECEIPT_FORMAT = "1.0"
RECEIPT_KEPT = timedelta(days=90)
REASON = "enter an erasure into the ledger"


def put_in_ledger_file(user_id: UUID) -> None:
    """Afterwards the storage says for good that this person is erased."""
    said = {"user_id": str(user_id), "began_at": timezone.now().isoformat()}
    with as_operator(REASON):
        _place_once(f"{FOLDER}/{user_id}.json", said)


def complete(user_id: UUID, counts: Mapping[str, int], *, requested_at: datetime | None) -> None:
    """Afterwards the ledger has the person, in the database and in the storage, and whoever asked
    for it can fetch the receipt."""
    with as_operator(REASON):
        # One that was killed before its transaction ended has signed it already.
        receipt = _place_once(
            f"{FOLDER}/{user_id}.done.json", signed_receipt(user_id, counts, requested_at)
        )
        erased_at = datetime.fromisoformat(receipt["completed_at"])
        digest = hashlib.sha256(canonical(receipt)).digest()
        Erasure.objects.bulk_create(
            [
                Erasure(
                    user_id=user_id,
                    erased_at=erased_at,
                    summary=receipt["deleted"],
                    receipt_sha256=digest,
                )
            ],
            ignore_conflicts=True,
        )
        ErasureRequest.objects.filter(user_id=user_id, status__in=UNDER_WAY).update(
            status=ErasureStatus.COMPLETED,
            completed_at=erased_at,
            touched_at=Now(),
            receipt=receipt,
            receipt_until=erased_at + RECEIPT_KEPT,
        )
        # Before the end of the transaction: rather told twice than not at all.
        record(SecurityKind.PERSON_ERASED, user_id=user_id, details=receipt["deleted"])


def signed_receipt(
    user_id: UUID, counts: Mapping[str, int], requested_at: datetime | None
) -> dict[str, Any]:
    """What was deleted and what is kept, and why, under a signature by our secret key."""
    receipt: dict[str, Any] = {
        "format": RECEIPT_FORMAT,
        "id": str(uuid7()),
        "user_id": str(user_id),
        "requested_at": requested_at.isoformat() if requested_at else None,
        "completed_at": timezone.now().isoformat(),
        "deleted": dict(sorted(counts.items())),
        "kept": [
            {"table": table.name, "basis": table.erased.basis, "days": table.erased.days}
            for table in personal_tables()
            if table.erased.fate is Fate.KEPT
        ],
    }
    return receipt | {"signature": signature_of(receipt)}


def signature_of(receipt: Mapping[str, Any]) -> str:
    """HMAC-SHA-256 of everything in the receipt but the signature itself."""
    said = {key: value for key, value in receipt.items() if key != "signature"}
    return salted_hmac("accounts.erasure.receipt", canonical(said), algorithm="sha256").hexdigest()


def forget_receipts() -> None:
    """Afterwards the receipts that are past their time are gone; the ledger has their digests."""
    with as_operator("forget old receipts"):
        ErasureRequest.objects.filter(receipt_until__lte=timezone.now()).update(
            receipt=None, receipt_until=None
        )


def _place_once(name: str, said: dict[str, Any]) -> dict[str, Any]:
    """What the file says, which is what whoever came first has written."""
    # Two may be at the same person, and only one at a time may write to a name.
    lock(name)
    if default_storage.exists(name):
        with default_storage.open(name, "rb") as file:
            found: dict[str, Any] = json.load(file)
        return found
    place(name, BytesIO(canonical(said) + b"\n"))
    return said


def erased_people() -> list[UUID]:
    """Everybody whose erasure has begun, by the rows and the files of the ledger."""
    with as_operator("read the ledger of erasures"):
        ids = set(Erasure.objects.values_list("user_id", flat=True))
        # Of these the sweep takes care.
        at_work = ErasureRequest.objects.filter(status=ErasureStatus.IN_PROGRESS)
        under_way = set(at_work.values_list("user_id", flat=True))
    return sorted((ids | erased_by_files()) - under_way)


def erased_by_files() -> set[UUID]:
    matches = (LEDGER_FILE.fullmatch(name) for name in names_below(FOLDER))
    return {UUID(match[1]) for match in matches if match}
