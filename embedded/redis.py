"""The embedded Redis."""

import signal
import socket
from pathlib import Path

from embedded.account import Account
from embedded.programs import redis_server
from embedded.server import Server


class Redis(Server):
    """Redis behind a unix socket in a folder that nobody else may enter."""

    title = "Redis"
    key = "redis"
    program = "redis-server"
    # Written commands reach the file before they are confirmed: even a kill loses none.
    stop_signals = ((signal.SIGTERM, 60.0), (signal.SIGKILL, 10.0))

    @property
    def socket(self) -> Path:
        return self._places.socket_folder / "redis.sock"

    def accepts(self) -> bool:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(3)
            try:
                connection.connect(str(self.socket))
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith(b"+PONG")
            except OSError:
                return False

    def is_main(self, command_line: list[str]) -> bool:
        return "redis-server" in command_line[0]

    def prepare(self, account: Account) -> None:
        self.socket.unlink(missing_ok=True)

    def command(self, account: Account) -> list[str]:
        command = [str(redis_server(account)), "--port", "0", "--daemonize", "no", "--dir", "."]
        command += ["--unixsocket", str(self.socket), "--unixsocketperm", "700"]
        command += ["--maxmemory-policy", "noeviction", "--save", ""]
        command += ["--appendonly", "yes" if self._durable else "no", "--appendfsync", "everysec"]
        return command
