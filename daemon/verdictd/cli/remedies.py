"""Remedies for faults of the broker that `verdictd check` finds."""

from yarl import URL

from verdictd.amqp import connection
from verdictd.errors import BrokerUnavailable
from verdictd.settings import BrokerSettings


def broker_remedy(error: BrokerUnavailable, settings: BrokerSettings) -> str:
    """Return what the operator can do about it; it names the settings, and holds no password."""
    url = URL(settings.url.get_secret_value())
    user, vhost = url.user or "guest", url.path.removeprefix("/") or "/"
    said = str(error)
    remedies = {
        connection.WRONG_LOGIN: (
            "correct user and password in broker.url, percent-encoded, or run: "
            f"rabbitmqctl change_password {user} (guest may connect from RabbitMQ's own host only)"
        ),
        connection.NO_VHOST: (
            f"correct the end of broker.url, or run: rabbitmqctl add_vhost {vhost}; "
            f"rabbitmqctl set_permissions -p {vhost} {user} '.*' '.*' '.*'"
        ),
        connection.NO_TLS: "correct the port in broker.url (5671 is usual for TLS), or begin it with amqp://",
        connection.CLOSED_AT_ONCE: (
            "if this port is for TLS, begin broker.url with amqps://; "
            "if not, correct the port (5672 is usual)"
        ),
        connection.BAD_CERTIFICATE: (
            "set broker.ca_file to the authority that signed it, and name the host in broker.url as it does"
        ),
        "TLS cannot be set up": "correct broker.ca_file, broker.cert_file and broker.key_file",
        "ACCESS_REFUSED": "give the user the rights that systemd/README.md lists",
        "inequivalent": "delete the queue when it is empty, or set broker.declare = false",
        "NOT_FOUND": "declare the queue, or set broker.declare = true",
    }
    otherwise = "start RabbitMQ, or correct host and port in broker.url"
    return next((remedy for fault, remedy in remedies.items() if fault in said), otherwise)
