"""The queue: a function library in the server, and one typed method for each of its functions."""
