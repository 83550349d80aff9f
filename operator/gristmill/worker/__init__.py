"""The worker: a supervisor that leases and commits, children that run the user's code."""

from gristmill.worker.supervisor import supervise

__all__ = ["supervise"]
