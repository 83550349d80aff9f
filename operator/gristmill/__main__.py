"""`python -m gristmill` is the command line."""

from gristmill.cli.entry import main

main()
