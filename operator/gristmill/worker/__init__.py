"""The worker: a supervisor that leases and commits (`service.supervise`), children that run the user's code."""
