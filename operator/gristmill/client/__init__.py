"""What people import: the handle of a run."""
