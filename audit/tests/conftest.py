from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def files(settings: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The folder of stored files: each test has a stream of its own."""
    settings.MEDIA_ROOT = str(tmp_path / "files")  # type: ignore[attr-defined]
    return tmp_path / "files"
