"""What the storage's own interface does not promise."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from django.core.files import File
from django.core.files.storage import default_storage

DRAFTS = "drafts"


def place(name: str, file: IO[bytes]) -> bool:
    """Afterwards the file has the name, whole and for good; whoever looks before sees nothing.

    Only one at a time may write to a name. False, and nothing is kept, where the storage gave it
    another name. What a kill leaves lies in the folder of drafts until the next attempt.
    """
    try:
        path = Path(default_storage.path(name))
    except NotImplementedError:
        # An object store shows only what is whole.
        kept = default_storage.save(name, File(file))
        if kept != name:
            default_storage.delete(kept)
        return kept == name
    wanted = f"{DRAFTS}/{name.replace('/', '-')}"
    # Of one who was killed, if it is there: nobody else writes to this name.
    default_storage.delete(wanted)
    draft = default_storage.save(wanted, File(file))
    make_durable(draft)
    for folder in reversed([folder for folder in path.parents if not folder.exists()]):
        folder.mkdir(mode=0o700, exist_ok=True)
        make_path_durable(folder.parent)
    Path(default_storage.path(draft)).replace(path)
    make_durable(name)
    return True


def make_durable(name: str) -> None:
    """The file survives a power cut: a row is about to say that it is kept."""
    try:
        path = Path(default_storage.path(name))
    except NotImplementedError:
        # An object store answers only when it has it.
        return
    make_path_durable(path)
    make_path_durable(path.parent)


def make_path_durable(path: Path) -> None:
    """The file's bytes, or the folder's names, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def names_below(folder: str) -> Iterator[str]:
    """The names of all files in the folder and in those below it, in order."""
    folders, files = _listed(folder)
    # A bucket may name the folder itself, as a file without a name.
    kinds = {name: False for name in files if name} | dict.fromkeys(folders, True)
    for name, is_folder in sorted(kinds.items()):
        inner = f"{folder}/{name}" if folder else name
        if is_folder:
            yield from names_below(inner)
        else:
            yield inner


def folders_in(folder: str) -> list[str]:
    """The names of the folders that lie directly in the folder."""
    folders, _ = _listed(folder)
    return folders


def _listed(folder: str) -> tuple[list[str], list[str]]:
    """The folders and the files in it; none if it is not there."""
    try:
        return default_storage.listdir(folder)
    except FileNotFoundError:
        return [], []
