"""`python -m improv.cli`, for where the command is not on the path."""

from improv.cli import main

main()
