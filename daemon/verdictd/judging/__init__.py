"""Judging: a submission becomes a result.

May import sandbox, contract, settings and egress; has never heard of AMQP or HTTP.
"""
