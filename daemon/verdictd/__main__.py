"""`python -m verdictd` is the command `verdictd`."""

from verdictd.cli import main

main()
