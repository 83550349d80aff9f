"""Gristmill and its peers do the same real work, in turns, on this machine: `python -m benchmarks --help`."""
