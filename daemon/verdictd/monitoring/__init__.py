"""Monitoring: readiness, status, rates, and notifications to systemd.

May import judging, amqp and everything below them.
"""
