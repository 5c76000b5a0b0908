"""Many submissions at once, from files: judged on this host, or by the daemons behind the queue."""

import asyncio
from collections.abc import Callable

from verdictd.amqp.requests import submit_all
from verdictd.contract.codec import decode, peek_id
from verdictd.contract.result import Result
from verdictd.contract.submission import submission_model
from verdictd.errors import InvalidSubmission, SandboxBroken
from verdictd.judging.judgehost import Judgehost, open_judgehost
from verdictd.judging.verdicts import INVALID, internal_error
from verdictd.settings import Settings

Bodies = list[tuple[str, bytes]]
"""What each is called, and the submission as JSON."""


async def judge(settings: Settings, bodies: Bodies) -> list[Result]:
    """Judge them here, without a broker; the results are in the same order."""
    async with open_judgehost(settings) as host:
        return await asyncio.gather(*(_judge_one(settings, host, *body) for body in bodies))


async def _judge_one(settings: Settings, host: Judgehost, name: str, body: bytes) -> Result:
    try:
        submission = decode(body, submission_model(settings.limits), message_id=name)
        return await host.judge.judge(host.admission.admit(submission))
    except InvalidSubmission as error:
        return host.judge.unjudged(peek_id(body, name), INVALID, error.problems)
    except SandboxBroken as error:
        return host.judge.unjudged(peek_id(body, name), internal_error(str(error)))


async def submit(
    settings: Settings, bodies: Bodies, *, timeout_s: float, on_result: Callable[[], None]
) -> list[Result]:
    """Publish them, and return the results that come in time, as they come.

    Raises BrokerUnavailable when the submissions queue does not exist or the connection is lost.
    """
    results = []
    keyed = [(f"{number} {name}", body) for number, (name, body) in enumerate(bodies)]
    try:
        async for _, reply in submit_all(settings.broker, keyed, timeout_s=timeout_s):
            results.append(Result.model_validate_json(reply))
            on_result()
    except TimeoutError:
        pass  # who has fewer results than bodies knows
    return results
