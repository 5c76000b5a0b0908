"""HTTP out: deliver results to the `callback_url` of their submissions.

May import amqp and everything below it.
"""
