"""RabbitMQ: take submissions, publish results, settle deliveries.

May import contract, settings and metrics; has never heard of boxes.
"""
