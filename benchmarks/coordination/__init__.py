"""Locks and trees beside what they are made of: bare calls of the same server in the same run."""
