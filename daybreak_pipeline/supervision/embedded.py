"""The embedded server as something to watch."""

from __future__ import annotations

from pathlib import Path

from daybreak_pipeline.embedded_postgres import server


class EmbeddedServer:
    """The server of one home, which this process uses. It is no child of ours: what it ended with is in its log."""

    name = "the embedded server"
    is_server = True
    falls_with_server = False

    def __init__(self, home: Path, port: int) -> None:
        """Take the home, and the port that everybody who uses the server was given."""
        self._home = home
        self._port = port

    def start(self) -> None:
        """Start it again, unless another command has done so meanwhile. Returns when it accepts connections.

        Raises:
            UsageError: it does not start, or its port was taken.
        """
        server.revive(self._home, self._port)

    def ending(self) -> str | None:
        """Return that it is gone, None while it runs or another command starts or stops it."""
        return "is gone" if server.is_gone(self._home) else None

    def is_ready(self) -> bool:
        """Return that it works: ``start`` has waited for that."""
        return True

    def kill(self) -> None:
        """Stop a start that is under way in another thread. A running server has other users: they stop it."""
        server.abandon_start(self._home)
