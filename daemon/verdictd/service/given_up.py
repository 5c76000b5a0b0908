"""Submissions that RabbitMQ gave up by itself: those that nobody has answered, and why."""

from collections.abc import Mapping


def given_up_reason(headers: Mapping[str, object]) -> str | None:
    """Return why RabbitMQ dead-lettered a submission; None if a daemon did, which has answered it.

    A message can have died before, if an operator has put it back: its last death counts.
    """
    death = _last_death(headers)
    match death.get("reason"):
        case "rejected":
            return None
        case "expired":
            return f"it expired{_after(death.get('original-expiration'))} in the queue"
        case "delivery_limit":
            return "it was delivered too often without an answer"
        case "maxlen":
            return "the queue was full"
        case reason:
            return f"it was dead-lettered ({reason or 'for an unknown reason'})"


def _last_death(headers: Mapping[str, object]) -> Mapping[str, object]:
    deaths = headers.get("x-death")
    latest = deaths[0] if isinstance(deaths, list) and deaths else {}
    return latest if isinstance(latest, dict) else {}


def _after(milliseconds: object) -> str:
    known = isinstance(milliseconds, str) and milliseconds.isascii() and milliseconds.isdecimal()
    return f" after {int(str(milliseconds)[:18]) / 1000:g} s" if known else ""
