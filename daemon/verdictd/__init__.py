"""A judge daemon: submissions from RabbitMQ, judged in the isolate sandbox."""

# The build takes the version from here; reading it from the installed metadata would slow each start.
__version__ = "0.1.0"
