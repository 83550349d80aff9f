"""The operator's process: answer health, wait to lead, operate; end when it does not lead any more."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys

from kubernetes.aio import client as api
from kubernetes.aio import config as api_config

from gristmill.controllers import log_lines
from gristmill.controllers.cluster import Cluster
from gristmill.controllers.config import Config
from gristmill.controllers.leading import lead, release
from gristmill.controllers.operating import Operator
from gristmill.controllers.web import Board, serve
from gristmill.errors import GristmillError

log = logging.getLogger("gristmill")

#: The API server takes values that are nested 10,000 levels deep. What can't be read stops the watch of all: it is
#: read, and refused as a fault of that one resource.
_RECURSION = 30_000


async def _work() -> int:
    """Do what the operator is there for; return the exit code."""
    config = Config.from_environment()
    if os.environ.get("KUBERNETES_SERVICE_HOST"):
        api_config.load_incluster_config()  # type: ignore[no-untyped-call]
    else:
        await api_config.load_kube_config()  # type: ignore[no-untyped-call]
    stop = asyncio.Event()
    async with api.ApiClient() as client:
        cluster = Cluster(client)
        board = Board(cluster)
        await serve(board)

        async def operate() -> None:
            log.info("%s leads", config.identity)
            board.operator = Operator(config, cluster)
            board.fault = board.operator.fault
            try:
                await board.operator.run(stop)
            except Exception:
                log.exception("%s can't go on", config.identity)
                raise
            finally:
                stop.set()

        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        leading = asyncio.create_task(lead(client, config.namespace, config.identity, operate))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait([leading, stopping], return_when=asyncio.FIRST_COMPLETED)
        if stop.is_set():
            await release(client, config.namespace, config.identity)
            return 0
        leading.result()
        log.error("%s does not lead any more", config.identity)
        return 1


async def _run() -> None:
    """Work, and end at once: no thread that waits for the queue may hold up the end of who does not lead any more."""
    try:
        code = await _work()
    except GristmillError as error:
        print(f"error: {error}", file=sys.stderr)
        code = error.exit_code
    except Exception:
        log.exception("the operator can't go on")
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def main() -> None:
    """Run the operator, and end with its exit code."""
    sys.setrecursionlimit(_RECURSION)
    log_lines.begin()
    asyncio.run(_run())


if __name__ == "__main__":
    main()
