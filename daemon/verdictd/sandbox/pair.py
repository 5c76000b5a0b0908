"""Two programs that talk to each other, each in a box of its own: what one writes is what the other reads."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from verdictd.concurrency import finish
from verdictd.errors import FaultKind, SandboxBroken
from verdictd.sandbox.box import Box
from verdictd.sandbox.inotify import EventsLost
from verdictd.sandbox.model import Command, Ending, NamedStreams, Report
from verdictd.sandbox.pipes import Pipes, open_pipes
from verdictd.sandbox.processes import Watch
from verdictd.sandbox.relay import Record, Relay, open_relay

_ENDING_S = 1.0
"""Time for the sandbox of a program that has ended, or for one that has closed its output to end."""


@dataclass(frozen=True, slots=True)
class Seat:
    """A program, and the box in which it runs.

    `dropped_bytes`: what it may still write after the other has ended, before its pipe breaks. `of_author`:
    it belongs to the author of the problem, and so does a fault of the sandbox in this box.
    """

    box: Box
    command: Command
    dropped_bytes: int
    of_author: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """Run of one of the two."""

    report: Report
    unread_bytes: int
    """Bytes that it had been written, and had not read, when the first of the two had ended."""
    broken: bool
    """True if it wrote more than is dropped after the other had ended, so that its pipe broke."""


@dataclass(frozen=True, slots=True)
class Meeting:
    """Runs of both. `program_first`: the program had ended before its partner did."""

    program: Part
    partner: Part
    program_first: bool


async def meet(
    program: Seat, partner: Seat, *, ends_program: Callable[[Report], bool], transcript_bytes: int = 0
) -> Meeting:
    """Run two programs at the same time, in boxes that are ready.

    When the partner ends first, `ends_program` decides by its report if the program is ended too. With
    `transcript_bytes`, the report of the program has so much of what both said. Raises SandboxBroken if
    either sandbox failed.
    """
    seats = (program, partner)
    try:
        if not transcript_bytes:
            with open_pipes(program.box.pipes) as (pipes, held):
                return await _meet(seats, pipes, held, ends_program)
        with open_relay(program.box.pipes, Record(transcript_bytes)) as relay:
            meeting = await _meet(seats, relay, ExitStack(), ends_program)
            report = replace(meeting.program.report, transcript=relay.transcript())
            return replace(meeting, program=replace(meeting.program, report=report))
    except (OSError, EventsLost) as error:
        message = f"cannot join boxes {program.box.number} and {partner.box.number}: {error}"
        raise SandboxBroken(message, FaultKind.FILES) from error


async def _meet(
    seats: Sequence[Seat], pipes: Pipes, held: ExitStack, ends_program: Callable[[Report], bool]
) -> Meeting:
    stop = asyncio.Event()

    async def stopped(_: int) -> Ending:
        await stop.wait()
        return Ending.STOPPED

    runs = [
        asyncio.create_task(_run(seats[0], pipes.streams[0], stopped)),
        asyncio.create_task(_run(seats[1], pipes.streams[1])),
    ]
    opening = asyncio.create_task(pipes.opened())
    tasks: list[asyncio.Task[Any]] = [*runs, opening]
    try:
        await _begun(runs, opening)
        pipes.note_closings()
        held.close()
        if isinstance(pipes, Relay):
            tasks.append(asyncio.create_task(pipes.carry()))
        await asyncio.wait(runs, return_when=asyncio.FIRST_COMPLETED)
        ended = 0 if runs[0].done() else 1
        unread = [pipes.unread(side) for side in (0, 1)]
        dropping = asyncio.create_task(pipes.drop(ended, seats[1 - ended].dropped_bytes))
        tasks.append(dropping)
        if ended == 1 and ends_program(await runs[1]):
            # A program that has ended by itself was not stopped, even if its sandbox is still there.
            if pipes.is_silent(0):
                await asyncio.wait(runs, timeout=_ENDING_S)
            stop.set()
        reports = await asyncio.gather(*runs)
        last = pipes.ended_last()
        program, partner = (
            Part(report, unread[side], broken=side != ended and dropping.done())
            for side, report in enumerate(reports)
        )
        return Meeting(program, partner, program_first=ended == 0 if last is None else last == 1)
    finally:
        await finish(_cancel(tasks))


async def _begun(runs: list[asyncio.Task[Report]], opening: asyncio.Task[None]) -> None:
    """Wait until both programs have their streams, or have ended; raises what one of the tasks raises."""
    pending: set[asyncio.Task[Any]] = {opening, *runs}
    while opening in pending and len(pending) > 1:
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()


async def _run(seat: Seat, streams: NamedStreams, *watches: Watch) -> Report:
    try:
        return await seat.box.run(replace(seat.command, streams=streams), *watches)
    except SandboxBroken as error:
        error.with_checker = seat.of_author
        raise


async def _cancel(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Cancel what is not done, and wait for it; nobody asks for its exceptions any more."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
