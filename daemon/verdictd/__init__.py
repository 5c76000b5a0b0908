"""A judge daemon: submissions from RabbitMQ, judged in the isolate sandbox."""
