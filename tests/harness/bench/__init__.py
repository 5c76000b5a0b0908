"""Benchmarks: the daemon beside the bare sandbox, in one run, as ratios."""
