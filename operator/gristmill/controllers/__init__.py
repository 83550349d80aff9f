"""The operator: kopf handlers and all Kubernetes I/O. What is decided is decided in `reconcilers`."""
