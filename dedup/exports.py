"""Finding exports in folders."""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

# Only files of these names are looked into: of a folder nobody said that all of it is exports.
EXPORT_SUFFIXES = (".jsonl", ".json", ".txt", ".zip")
# The files of a legacy state directory, which are read as one.
STATE_FILES = ("conversation_log.jsonl", "watermarks.json", "content_hashes.json")


@dataclass(frozen=True)
class Export:
    """A file, or a legacy state directory; `named` if a person named it, not a folder above."""

    path: Path
    named: bool = False


def is_state_directory(path: Path) -> bool:
    """Whether a folder has at least two of the files: one alone may be anything."""
    return sum(_is_file(path / name) for name in STATE_FILES) > 1


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        # A name that is too long, or a folder that may not be entered.
        return False


def exports_below(
    path: Path, refused: Callable[[OSError], None], *, of_any_name: bool = False
) -> Iterator[Path]:
    """The exports in a folder and in the folders below, in the order of their names; or the
    path itself if it is no folder. A legacy state directory is one export. `refused` is told of
    each folder that cannot be listed. Of any name, hidden files are still left out.
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
            if _is_looked_into(name, of_any_name) and not (state and name in STATE_FILES):
                yield Path(folder, name)


def find_exports(
    paths: Iterable[Path], refused: Callable[[OSError], None], *, of_any_name: bool = False
) -> Iterator[Export]:
    """Each export below the paths once, also where a link leads to it again."""
    seen: set[Path] = set()
    for path in paths:
        for found in exports_below(path, refused, of_any_name=of_any_name):
            real = found.resolve()
            if real not in seen:
                seen.add(real)
                yield Export(found, named=found == path)


def export_at(path: Path, *, of_any_name: bool = False) -> Path | None:
    """The export that a file in a folder is, or belongs to; None if it is not looked into."""
    if path.name in STATE_FILES and is_state_directory(path.parent):
        return path.parent
    return path if _is_looked_into(path.name, of_any_name) else None


def count_others_below(path: Path) -> int:
    """The files below a folder that are not looked into because of their names."""
    return sum(
        not _is_looked_into(name, of_any_name=False)
        for _, _, names in os.walk(path)
        for name in names
    )


def size_of(path: Path) -> int:
    """In bytes, of a state directory with all its files; 0 for what has gone meanwhile."""
    return sum(size for size, _ in fingerprint_of(path) or ())


def fingerprint_of(path: Path) -> tuple[tuple[int, int], ...] | None:
    """Size and time of change of an export, or of each file of a state directory; None if it
    has gone. What is written to it changes this."""
    files = [path / name for name in STATE_FILES] if is_state_directory(path) else [path]
    found = []
    for file in files:
        try:
            status = file.stat()
        except OSError:
            continue
        found.append((status.st_size, status.st_mtime_ns))
    return tuple(found) or None


def _is_looked_into(name: str, of_any_name: bool) -> bool:  # noqa: FBT001 - handed on as it came
    return not name.startswith(".") if of_any_name else name.endswith(EXPORT_SUFFIXES)
