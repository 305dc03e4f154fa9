"""``python -m daybreak_pipeline.orchestration.web FD``: the process that ``webserver`` starts.

It gets a listening socket, so that nobody can take the port first, and the token on standard input: everybody on the
machine can see arguments, and every program that this one starts can see the environment.
"""

from __future__ import annotations

import logging
import signal
import socket
import sys

from daybreak_pipeline.errors import DaybreakError
from daybreak_pipeline.orchestration.web.server import serve


def main() -> int:
    """Serve until SIGINT or SIGTERM, and return the exit code."""
    for number in (signal.SIGINT, signal.SIGTERM):  # SIGINT too: a shell makes its background jobs ignore it
        signal.signal(number, signal.default_int_handler)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    try:
        with socket.socket(fileno=int(sys.argv[1])) as listener:
            listener.set_inheritable(False)
            serve(listener, sys.stdin.readline().strip())
    except DaybreakError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except KeyboardInterrupt:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
