"""`python -m paceline`, and `torchrun -m paceline`."""

from paceline.cli.main import main

main()
