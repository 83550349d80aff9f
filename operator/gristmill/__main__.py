"""`python -m gristmill` is the command line."""

from gristmill.cli.main import main

main()
