"""The process: build the parts, start, drain, stop, and take each delivery from its bytes to its settlement.

May import every room but cli.
"""
