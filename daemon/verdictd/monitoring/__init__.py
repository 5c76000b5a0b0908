"""What the daemon says of itself: readiness, status, rates, systemd.

May import judging, amqp and everything below them.
"""
