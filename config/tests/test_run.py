"""A new user's path: run it, call what it prints, kill it, run it again, stop it."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from dedup.tests.test_api_imports import transcript
from embedded import Services

ROOT = Path(__file__).parents[2]
PATIENCE = 90


class House:
    """`manage.py run` over data of its own."""

    def __init__(self, local: Path) -> None:
        self.local = local
        self.port = _two_free_ports()
        self.site = f"http://localhost:{self.port}"

    def start(self) -> list[str]:
        """Run, and return what it printed until it was ready."""
        self.process = subprocess.Popen(
            [sys.executable, "manage.py", "run"],
            cwd=ROOT,
            env=self.environment(),
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        lines: list[str] = []
        while not lines or not lines[-1].startswith("Try it"):
            line = self.process.stdout.readline()
            assert line, f"it ended with {self.process.wait()} after {lines}"
            lines.append(line.rstrip("\n"))
        return lines

    def kill(self) -> None:
        """End everything at once, as a power cut would."""
        self.process.kill()
        for process in self.processes():
            # Those whose parent is gone may end by themselves.
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.communicate()

    def environment(self) -> dict[str, str]:
        ours = {"LOCAL_DIR": str(self.local), "PORT": str(self.port), "SAMPLE_DATA": "true"}
        inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        return inherited | ours

    def get(self, path: str) -> dict[str, object]:
        return self.fetch(urllib.request.Request(self.site + path))

    def wait_until_ready(self) -> None:
        """Each of the web's processes looks for itself: one may still say what it saw earlier."""
        end = time.monotonic() + 30
        while True:
            try:
                assert self.get("/readyz")["status"] == "ok"
            except urllib.error.HTTPError as error:
                if error.code != 503 or time.monotonic() > end:
                    raise
                time.sleep(0.5)
            else:
                return

    def fetch(self, request: urllib.request.Request) -> dict[str, object]:
        token = (self.local / "api-token").read_text().strip()
        request.add_header("Authorization", f"Bearer {token}")
        with urllib.request.urlopen(request, timeout=30) as answer:
            body: dict[str, object] = json.load(answer)
        return body

    def upload(self, content: bytes) -> str:
        body = (
            b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n'
            + content
            + b"\r\n--x--\r\n"
        )
        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        request = urllib.request.Request(f"{self.site}/api/v1/imports/", body, headers)
        return str(self.fetch(request)["id"])

    def processes(self) -> list[psutil.Process]:
        """Everything that runs for these data: ours, and both servers."""
        found = []
        for process in psutil.process_iter():
            try:
                marker = process.environ().get("COMMONPLACE_SUPERVISED")
                if marker == str(self.local.resolve()) or self._is_server(process):
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return found

    def _is_server(self, process: psutil.Process) -> bool:
        # Root keeps the data elsewhere where others cannot reach the checkout.
        homes = [self.local.resolve(), (self.local / "data").resolve()]
        return any(Path(process.cwd()).is_relative_to(home) for home in homes) and (
            process.name() in ("postgres", "redis-server")
        )


@pytest.fixture
def house() -> Iterator[House]:
    with tempfile.TemporaryDirectory(prefix="commonplace run ") as folder:
        # As umask makes a checkout's folders, not private as temporary ones are.
        Path(folder).chmod(0o755)
        house = House(Path(folder) / ".local")
        try:
            yield house
        finally:
            house.kill()
            Services(house.local).stop()


def test_run_kill_run_again_and_stop(house: House) -> None:
    first = house.start()
    assert "'admin' with the password" in first[0]
    assert [line.split()[0] for line in first[1:]] == ["Site", "Admin", "API", "Try"]
    house.wait_until_ready()

    call = first[-1].removeprefix("Try it").strip()
    answer = subprocess.run(["bash", "-c", call], capture_output=True, check=True, cwd=ROOT)
    assert len(json.loads(answer.stdout)["results"]) > 0

    import_id = house.upload(transcript("Rye", "Spelt"))
    assert _completed(house, import_id)["new_messages"] == 2
    assert _last_event(house, import_id) == "event: done"
    second = subprocess.run(
        [sys.executable, "manage.py", "run"],
        cwd=ROOT,
        env=house.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert second.returncode != 0
    assert str(house.process.pid) in second.stderr

    house.kill()

    again = house.start()
    assert [line.split()[0] for line in again] == ["Site", "Admin", "API", "Try"]
    assert house.get(f"/api/v1/imports/{import_id}/")["status"] == "completed"
    assert len(house.get("/api/v1/messages/?q=spelt")["results"]) == 1  # type: ignore[arg-type]

    house.process.send_signal(signal.SIGINT)
    house.process.communicate(timeout=60)
    assert house.process.returncode == 0
    assert house.processes() == []


def _completed(house: House, import_id: str) -> dict[str, object]:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        row = house.get(f"/api/v1/imports/{import_id}/")
        if row["status"] == "completed":
            return row
        time.sleep(0.2)
    pytest.fail("no worker read the upload")


def _last_event(house: House, import_id: str) -> str:
    url = str(house.get(f"/api/v1/imports/{import_id}/")["events_url"])
    token = (house.local / "api-token").read_text().strip()
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=30) as stream:
        events = stream.read().decode().strip().split("\n\n")
    return str(events[-1].split("\n")[0])


def _two_free_ports() -> int:
    """A port that is free together with the next one."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
            try:
                second.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            return port
