"""Hands out a job's results from inside the cluster, where its output can be reached: `gristmill results` starts it.

It listens for one connection and writes JSON lines; the last line is END, so that what was cut off is noticed. It asks
nobody who they are, so only its own pod reaches it: a port-forward begins there, and takes a right in the namespace.
"""

from __future__ import annotations

import socket
import sys
from itertools import islice

import orjson

from gristmill.errors import GristmillError
from gristmill.sinks import read_results

PORT = 8081
END = b"\x04\n"
#: seconds in which somebody must come
_PATIENCE = 60.0
_BATCH = 1000


def main(url: str) -> int:
    """Write the results of an output folder to the first who connects; return the exit code."""
    with socket.create_server(("127.0.0.1", PORT)) as server:
        server.settimeout(_PATIENCE)
        connection, _ = server.accept()
    with connection:
        try:
            results = read_results(url)
            while batch := list(islice(results, _BATCH)):
                connection.sendall(b"".join([orjson.dumps(result) + b"\n" for result in batch]))
            connection.sendall(END)
        except GristmillError as error:
            print(f"error: {error}", file=sys.stderr)
            return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
