"""The embedded default: an executable that speaks isolate's command line.

It is run as a process, `python -I -S <this directory>/__main__.py ...`, and never imported by the daemon. It
starts for every run, so it leaves out what is slow to import: dataclasses, pathlib, typing, argparse.
"""
