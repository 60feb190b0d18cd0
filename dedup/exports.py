"""Finding exports in folders."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

# Only files of these names are looked into: of a folder nobody said that all of it is exports.
EXPORT_SUFFIXES = (".jsonl", ".meta.json")


def exports_below(path: Path, refused: Callable[[OSError], None]) -> Iterator[Path]:
    """The exports in a folder and in the folders below, in the order of their names; or the
    path itself if it is no folder. `refused` is told of each folder that cannot be listed.
    """
    if not path.is_dir():
        yield path
        return
    for folder, folders, names in os.walk(path, onerror=refused):
        folders.sort()
        for name in sorted(names):
            if name.endswith(EXPORT_SUFFIXES):
                yield Path(folder, name)
