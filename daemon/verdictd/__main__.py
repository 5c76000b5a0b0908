"""Run the command `verdictd` as `python -m verdictd`."""

from verdictd.cli.commands import main

main()
