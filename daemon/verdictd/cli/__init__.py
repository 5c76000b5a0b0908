"""Command line of verdictd. May import every room; only `__main__` imports it."""
