"""Commands: what `verdictd` does on a terminal. May import every room; nothing imports it but `__main__`."""
