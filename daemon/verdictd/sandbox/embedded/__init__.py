"""Embedded default: an executable that speaks isolate's command line.

It runs as a process of its own, `python -I -S <this directory>/__main__.py ...`, one for each command, and
leaves out what is slow to import: dataclasses, pathlib, typing, argparse. The daemon imports little of it:
`trees.empty` and `faults.BoxError` for the recovery of a box, `kernel.keyctl`, the host name of a box.
"""
