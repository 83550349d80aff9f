"""A run without a cluster: state folder, embedded server, keeper, runner."""
