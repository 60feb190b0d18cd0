"""The files of the stream."""

from django.contrib import admin

from audit.admin.events import StreamAdmin
from audit.admin.presenting import label_of, second_of
from audit.models import ExportBatch


@admin.register(ExportBatch)
class ExportBatchAdmin(StreamAdmin):
    list_display = ["sequence", "written", "state", "lines", "first_line", "stored_as"]
    search_fields = ["=sequence", "=stored_as"]
    search_help_text = "The number of a file, or its whole name"
    fields = [
        "sequence", "stored_as", "state", "planned", "written", "lines", "first_line", "last_line",
        "transactions", "hash_before", "hash_of_last", "sum_of_file", "id",
    ]  # fmt: skip
    ordering = ["-sequence"]

    @admin.display(description="Planned, UTC")
    def planned(self, row: ExportBatch) -> str:
        return second_of(row.planned_at)

    @admin.display(description="Written, UTC")
    def written(self, row: ExportBatch) -> str:
        return second_of(row.written_at)

    @admin.display(description="State")
    def state(self, row: ExportBatch) -> str:
        if row.written_at:
            return label_of("Written", "success")
        return label_of("Planned: the next export writes it", "warning")

    @admin.display(description="Last line")
    def last_line(self, row: ExportBatch) -> str:
        return str(row.first_line + row.lines - 1) if row.lines else "-"

    @admin.display(description="Transactions")
    def transactions(self, row: ExportBatch) -> str:
        return f"after {row.after}, up to {row.upto}"

    @admin.display(description="Hash of the line before")
    def hash_before(self, row: ExportBatch) -> str:
        return _hex(row.previous_head)

    @admin.display(description="Hash of the last line")
    def hash_of_last(self, row: ExportBatch) -> str:
        return _hex(row.head)

    @admin.display(description="SHA-256 of the file")
    def sum_of_file(self, row: ExportBatch) -> str:
        return _hex(row.sha256)


def _hex(digest: bytes | memoryview | None) -> str:
    return bytes(digest).hex() if digest else "-"
