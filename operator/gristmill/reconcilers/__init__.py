"""What to do about a custom resource, as functions of what is wanted and what is there; the objects to make."""
