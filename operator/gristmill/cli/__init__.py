"""The command line: it parses arguments and prints; it decides nothing."""
