"""Locks, elections and a configuration tree for any program: on a cluster by its own objects, elsewhere by a Valkey."""
