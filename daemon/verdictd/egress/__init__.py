"""HTTP requests of the daemon: the addresses that they may reach, and a client that reaches no others.

The client takes megabytes, which a daemon without callbacks and URLs does without.
"""
