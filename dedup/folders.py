"""The files of a folder, read one after the other here or by several processes."""

import os
from collections.abc import Callable, Sequence

from dedup.exports import Export, size_of
from dedup.outcomes import Order, Outcome, Read, read_export
from dedup.side_by_side import read_side_by_side

MOST_PROCESSES = 4
# Less than this is read before a second process has loaded what it needs.
WORTH_PROCESSES_BYTES = 8 << 20


def processes_for(exports: Sequence[Export], asked: int | None) -> int:
    """How many processes are to read the files: as many as asked for, or as are worth it."""
    most = len(exports)
    if asked is not None:
        return min(asked, most)
    if sum(size_of(export.path) for export in exports) < WORTH_PROCESSES_BYTES:
        return 1
    return min(os.cpu_count() or 1, MOST_PROCESSES, most)


def read_exports(
    exports: Sequence[Export],
    order: Order,
    *,
    processes: int,
    hear: Callable[[int, int], None],
    take: Callable[[int, Outcome], None],
    read: Read | None = None,
) -> None:
    """Afterwards `take` was told of every file what became of it, under the file's number.

    `hear` is told how many bytes of a file are read. `read` stands in for `import_path`, in this
    process only. An interrupt leaves whole files only.
    """
    if processes > 1:
        read_side_by_side(exports, order, processes, hear, take)
        return
    for number, export in enumerate(exports):

        def hear_bytes(_: int, size: int, number: int = number) -> None:
            hear(number, size)

        take(number, read_export(export, order, hear_bytes, read))
