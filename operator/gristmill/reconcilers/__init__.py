"""What to do about a custom resource, as functions of what is wanted and what is there; and the objects that are made."""
