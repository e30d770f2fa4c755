"""`python -m improv.cli`, for environments without `improv` on the path."""

from improv.cli import main

main()
