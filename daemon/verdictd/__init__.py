"""A judge daemon: submissions from RabbitMQ, judged in the isolate sandbox."""

__version__ = (
    "0.1.0"  # the package's metadata takes it from here: reading it from there would slow each start
)
