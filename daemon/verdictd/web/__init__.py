"""HTTP in: submissions, status, metrics, documents.

May import monitoring, judging, amqp and everything below them.
"""
