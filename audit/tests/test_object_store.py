"""The stream in an object store, through the same code as in a folder."""

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from django.core.files.storage import default_storage
from moto import mock_aws

from audit.errors import StreamConflictError
from audit.exporting import export_events
from audit.models import ExportBatch
from audit.tests.streams import add_events, export_everything, lines_of
from audit.verification import Problem, verify_stream
from common.storage import names_below
from common.tenancy import as_operator
from common.tests.connections import connect_as_superuser

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "operator"])

BUCKET = "stream-of-the-test"


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch, settings: Any) -> Iterator[Any]:
    """No request leaves the process."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "of-the-test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        store = boto3.resource("s3")
        settings.STORAGES = {
            **settings.STORAGES,
            "default": {
                "BACKEND": "storages.backends.s3.S3Storage",
                "OPTIONS": {
                    "bucket_name": BUCKET,
                    "default_acl": "private",
                    "querystring_auth": True,
                },
            },
        }
        yield store.create_bucket(Bucket=BUCKET)


def names(bucket: Any) -> list[str]:
    return sorted(stored.key for stored in bucket.objects.all())


def test_events_are_written_verified_and_completed_in_an_object_store(bucket: Any) -> None:
    assert list(names_below("observability")) == []
    add_events(3)
    (first,) = export_everything()
    add_events(400)
    (second,) = export_everything()

    assert names(bucket) == list(names_below("observability"))
    assert names(bucket) == [first.stored_as, second.stored_as]
    assert len(lines_of(first, second)) == 403
    report = verify_stream()
    assert (report.files, report.lines, report.problems) == (2, 403, [])

    whole = bucket.Object(second.stored_as).get()["Body"].read()
    lines = whole.splitlines(keepends=True)
    bucket.Object(second.stored_as).put(Body=b"".join(lines[:5] + lines[6:]))
    assert verify_stream().problems == [
        Problem(second.stored_as, 6, "line 9 of the stream is missing before it")
    ]
    bucket.Object(second.stored_as).delete()
    assert verify_stream().problems == [Problem(second.stored_as, None, "the file is missing")]

    # As if its writer had been killed before it told the row.
    forget_that_it_was_written(second)
    bucket.Object(second.stored_as).put(Body=whole)
    assert verify_stream().problems == []
    assert export_events() == second
    assert bucket.Object(second.stored_as).get()["Body"].read() == whole
    assert verify_stream().problems == []

    forget_that_it_was_written(second)
    bucket.Object(second.stored_as).put(Body=b"something else")
    with pytest.raises(StreamConflictError):
        export_events()
    assert bucket.Object(second.stored_as).get()["Body"].read() == b"something else"
    assert not default_storage.exists("observability")


def forget_that_it_was_written(batch: ExportBatch) -> None:
    with connect_as_superuser() as superuser:
        superuser.execute(b"SET session_replication_role = replica")
        superuser.execute(
            "UPDATE audit_export_batch SET written_at = NULL, head = NULL, sha256 = NULL, lines = 0"
            " WHERE id = %s",
            [batch.pk],
        )
    with as_operator("test"):
        assert ExportBatch.objects.planned().get() == batch
