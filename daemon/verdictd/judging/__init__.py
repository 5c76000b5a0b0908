"""Judging: turn a submission into a result.

May import sandbox, contract, settings and egress. Knows nothing of AMQP, HTTP or callbacks.
"""
