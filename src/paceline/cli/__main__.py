"""`python -m paceline.cli`."""

from paceline.cli.main import main

main()
