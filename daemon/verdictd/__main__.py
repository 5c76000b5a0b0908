"""`python -m verdictd` is the command `verdictd`."""

from verdictd.cli.commands import main

main()
