"""The worker: a supervisor that leases and commits, children that run the user's code."""

from gristmill.worker.service import supervise

__all__ = ["supervise"]
