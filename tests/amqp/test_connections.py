"""The connections and channels of a whole daemon, as RabbitMQ counts them."""

import asyncio
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
        found = dict(
            await asyncio.to_thread(
                broker.evaluate_json,
                '[[element(3, lists:keyfind(<<"connection_name">>, 1, Properties)), Channels]'
                f' || [{{vhost, <<"{vhost(amqp_url)}">>}}, {{channels, Channels}}, {{_, Properties}}]'
                " <- rabbit_networking:connection_info_all([vhost, channels, client_properties])]",
            )
        )

    assert [200, 200, 200] == [status for status, _ in judged]
    assert {"verdictd consume", "verdictd publish"} == found.keys()
    assert found["verdictd consume"] <= 9  # one to fetch and one to wait for each queue, one for control
    assert found["verdictd publish"] <= 3
