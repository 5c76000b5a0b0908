"""The connections and channels of a whole daemon, as RabbitMQ counts them."""

import asyncio
import json
from pathlib import Path

import pytest

from support.broker import Broker, vhost
from support.receiver import SECRET
from support.web import site

pytestmark = [pytest.mark.anyio, pytest.mark.daemon]


async def test_daemon_with_callbacks_and_http_has_two_connections(
    broker: Broker, amqp_url: str, tmp_path: Path
) -> None:
    """One consumes and one publishes, whatever has been judged; queues are declared on one channel."""
    settings = {
        "broker__url": amqp_url,
        "callbacks__enabled": "true",
        "callbacks__secrets": SECRET,
        "sandbox__boxes": "2",
    }
    async with site(tmp_path / "log", **settings) as served:
        judged = [
            await served.post({"language": "bash", "source_code": f"echo {number}"}, wait=True)
            for number in range(3)
        ]
        columns = ("vhost", "client_properties", "channels")
        listed = await asyncio.to_thread(broker.ctl, "list_connections", "--formatter=json", *columns)
    found = {
        {name: value for name, _, value in one["client_properties"]}["connection_name"]: one["channels"]
        for one in json.loads(listed)
        if one["vhost"] == vhost(amqp_url)
    }

    assert [200, 200, 200] == [status for status, _ in judged]
    assert {"verdictd consume", "verdictd publish"} == found.keys()
    assert found["verdictd consume"] <= 9  # one to fetch and one to wait for each queue, one for control
    assert found["verdictd publish"] <= 3
