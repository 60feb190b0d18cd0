"""Finding exports in folders."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

# Only files of these names are looked into: of a folder nobody said that all of it is exports.
EXPORT_SUFFIXES = (".jsonl", ".json", ".txt", ".zip")
# The files of a legacy state directory, which are read as one.
STATE_FILES = ("conversation_log.jsonl", "watermarks.json", "content_hashes.json")


def is_state_directory(path: Path) -> bool:
    """Whether a folder has at least two of the files: one alone may be anything."""
    return sum(_is_file(path / name) for name in STATE_FILES) > 1


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        # A name that is too long, or a folder that may not be entered.
        return False


def exports_below(path: Path, refused: Callable[[OSError], None]) -> Iterator[Path]:
    """The exports in a folder and in the folders below, in the order of their names; or the
    path itself if it is no folder. A legacy state directory is one export. `refused` is told of
    each folder that cannot be listed.
    """
    if not path.is_dir():
        yield path
        return
    for folder, folders, names in os.walk(path, onerror=refused):
        folders.sort()
        state = is_state_directory(Path(folder))
        if state:
            yield Path(folder)
        for name in sorted(names):
            if name.endswith(EXPORT_SUFFIXES) and not (state and name in STATE_FILES):
                yield Path(folder, name)
