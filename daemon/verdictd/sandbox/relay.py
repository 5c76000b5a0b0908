"""Pipes between two boxes with the daemon in between, which notes who says what.

It reads a piece only after the one before was taken, so a program that is not listened to waits as it would
without the daemon.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from io import FileIO
from pathlib import Path

from verdictd.sandbox.inotify import FileEvents
from verdictd.sandbox.model import NamedStreams, Transcript, Utterance
from verdictd.sandbox.pipes import (
    READ_BYTES,
    Pipes,
    has_no_writer,
    make_pipe,
    named_streams,
    open_end,
    pipe_directory,
    read_piece,
    waiting_bytes,
    writable,
)

_UTTERANCE_BYTES = 64  # of each, beside its text


class Record:
    """A bounded record. State: what was said, in order, and how much room is left."""

    def __init__(self, most_bytes: int) -> None:
        self._left_bytes = most_bytes
        self._said: list[tuple[int, bytearray]] = []
        self._truncated = False

    def add(self, speaker: int, piece: bytes) -> None:
        """Note what a side says; pieces that nobody interrupts are one."""
        goes_on = bool(self._said) and self._said[-1][0] == speaker
        room_bytes = max(0, self._left_bytes - (0 if goes_on else _UTTERANCE_BYTES))
        kept = b"" if self._truncated else piece[:room_bytes]
        self._truncated |= len(kept) < len(piece)
        if not kept:
            return
        if not goes_on:
            self._said.append((speaker, bytearray()))
            self._left_bytes -= _UTTERANCE_BYTES
        self._said[-1][1].extend(kept)
        self._left_bytes -= len(kept)

    def transcript(self) -> Transcript:
        """Return what was noted so far."""
        said = tuple(Utterance(by_program=side == 0, text=bytes(text)) for side, text in self._said)
        return Transcript(said, self._truncated)


class Relay(Pipes):
    """The pipes of both sides, as `Pipes`. State: the bytes on their way to each side."""

    def __init__(
        self,
        streams: Sequence[NamedStreams],
        readers: Sequence[FileIO],
        events: FileEvents,
        *,
        writers: Sequence[FileIO],
        outputs: Sequence[FileIO],
        record: Record,
    ) -> None:
        super().__init__(streams, readers, events)
        self._writers = writers
        self._outputs = outputs
        self._record = record
        self._on_the_way = [0, 0]

    async def carry(self) -> None:
        """Carry what each side says to the other, until both have ended their outputs."""
        async with asyncio.TaskGroup() as both:
            for side in (0, 1):
                both.create_task(self._carry(side, 1 - side))

    async def _carry(self, speaker: int, listener: int) -> None:
        output = self._outputs[speaker]
        with self._writers[listener] as writer:
            while piece := await read_piece(output):
                self._record.add(speaker, piece)
                try:
                    await self._say(listener, writer, piece)
                except BrokenPipeError:  # nobody reads any more: pass that on
                    output.close()
                    return

    async def _say(self, listener: int, writer: FileIO, piece: bytes) -> None:
        rest = memoryview(piece)
        while rest := rest[writer.write(rest) or 0 :]:
            self._on_the_way[listener] = len(rest)
            await writable(writer.fileno())
        self._on_the_way[listener] = 0

    def is_silent(self, side: int) -> bool:
        """Return True if a side has closed its output, perhaps since it has ended."""
        return has_no_writer(self._outputs[side])

    def unread(self, side: int) -> int:
        """Return the number of bytes that wait to be read by a side."""
        return super().unread(side) + self._on_the_way[side] + waiting_bytes(self._outputs[1 - side])

    def transcript(self) -> Transcript:
        """Return what was said, once both have ended: also what was not carried any more."""
        for side, output in enumerate(self._outputs):
            while not output.closed and (piece := output.read(READ_BYTES)):
                self._record.add(side, piece)
        return self._record.transcript()


@contextmanager
def open_relay(directory: Path, record: Record) -> Iterator[Relay]:
    """Make the pipes in a directory, which is made for them, and removed at the end.

    As the daemon has an end of each, programs open theirs without waiting for each other.
    """
    with pipe_directory(directory), ExitStack() as stack:
        inputs = [make_pipe(directory / f"input-{side}") for side in (0, 1)]
        outputs = [make_pipe(directory / f"output-{side}") for side in (0, 1)]
        yield Relay(
            named_streams(directory, inputs, outputs),
            [stack.enter_context(open_end(path, "rb")) for path in inputs],
            stack.enter_context(FileEvents()),
            writers=[stack.enter_context(open_end(path, "wb")) for path in inputs],
            outputs=[stack.enter_context(open_end(path, "rb")) for path in outputs],
            record=record,
        )
