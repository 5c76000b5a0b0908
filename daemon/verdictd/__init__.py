"""A judge daemon: submissions from RabbitMQ, judged in the isolate sandbox."""

from importlib.metadata import version

__version__ = version("verdictd")  # read once: it takes a tenth of a millisecond
