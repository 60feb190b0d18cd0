"""Finding exports in folders."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from dedup.errors import UnreadableFileError

# Only files of these names are looked into: of a folder nobody said that all of it is exports.
EXPORT_SUFFIXES = (".jsonl", ".meta.json")


def exports_below(path: Path) -> Iterator[Path]:
    """The exports in a folder and in the folders below, in the order of their names; or the
    path itself if it is no folder. Raises UnreadableFileError for a folder that cannot be listed.
    """
    if not path.is_dir():
        yield path
        return
    for folder, folders, names in os.walk(path, onerror=_refuse):
        folders.sort()
        for name in sorted(names):
            if name.endswith(EXPORT_SUFFIXES):
                yield Path(folder, name)


def _refuse(error: OSError) -> NoReturn:
    raise UnreadableFileError(f"{error.filename} cannot be read: {error.strerror}.") from error
