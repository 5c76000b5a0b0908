"""One box: reset it, place files in it, run a command in it, take files out of it."""

import asyncio
import errno
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from verdictd.concurrency import LARGE_BYTES, finish
from verdictd.errors import FaultKind, SandboxBroken
from verdictd.files import File
from verdictd.sandbox import devices, keyrings
from verdictd.sandbox.disk import LIST, DiskWatch, bearable_files, is_full, room
from verdictd.sandbox.embedded.guest import HOST_NAME
from verdictd.sandbox.emptying import emptied
from verdictd.sandbox.etc import Etc
from verdictd.sandbox.executables import can_execute, lies_in_box
from verdictd.sandbox.files import place, place_input, take
from verdictd.sandbox.isolate import cleanup_argv, init_argv, report, run_argv
from verdictd.sandbox.leftovers import REMOVE, remove_trees, trees
from verdictd.sandbox.model import BoxId, Command, Descriptor, Ending, Report, Sandbox
from verdictd.sandbox.pressure import NoiseMeter
from verdictd.sandbox.processes import ProcessResult, Watch, execute
from verdictd.sandbox.returned import take_wanted
from verdictd.sandbox.walk import DIRECTORY
from verdictd.sandbox.watcher import Watcher

T = TypeVar("T")

_MANAGE_DEADLINE_S = 60.0
_RUN_ALLOWANCE_S = 30.0  # beyond the wall limit: set-up before, and the walk through the files afterwards
_META_BYTES = 64 * 1024
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}


class Box:
    """A numbered box of one sandbox; `meta_directory` also holds its /etc.

    After SandboxBroken the box must not be used until `recover` has succeeded. A box belongs to one task at a
    time. State: the root directory, whether it was initialised with control groups, and whether it was used,
    perhaps by an earlier daemon.

    `companion`: the second box of a place in the pool; `needed`, of such a box: a submission has asked for it
    (see `sandbox.companion`).
    """

    def __init__(
        self, sandbox: Sandbox, number: BoxId, meta_directory: Path, companion: "Box | None" = None
    ) -> None:
        self.sandbox = sandbox
        self.number = number
        self.companion = companion
        self.needed = False
        self._meta = meta_directory / f"meta-{number}"
        self.pipes = meta_directory / f"pipes-{number}"
        """Directory that may be made for pipes to another box."""
        # Isolate's boxes share the name of the host.
        host_name = HOST_NAME.decode() if sandbox.name == "embedded" else socket.gethostname()
        self.etc = Etc(meta_directory / f"etc-{number}", host_name)
        self._root: Path | None = None
        self._with_groups = sandbox.control_groups
        self.used = True
        self._ended_well = False

    def __repr__(self) -> str:
        return f"Box({self.number}, used={self.used})"

    @property
    def exists(self) -> bool:
        """True if the sandbox has a directory for the box, perhaps from an earlier daemon."""
        return os.path.lexists(self.sandbox.box_root / str(self.number))

    async def reset(self, *, control_groups: bool = True) -> Path:
        """Remove every file, process and memory mark of earlier runs from the box; return its root."""
        with_groups = self.sandbox.control_groups and control_groups
        little = self._ended_well and not (self._with_groups or with_groups)
        if not (little and self._root and emptied(self._root)):
            self._root = await self._initialise(with_groups)
        self._with_groups, self.used = with_groups, False
        if self.etc.ids is not None and self.sandbox.name != "embedded":
            await keyrings.clear(*self.etc.ids)
        return self._root

    async def _initialise(self, with_groups: bool) -> Path:
        await self._remove_trees()
        if self._root is not None and with_groups != self._with_groups:
            await self.cleanup()
        output = await self._manage(init_argv(self.sandbox, self.number, control_groups=with_groups))
        root = Path(output.strip())
        if not root.is_absolute():
            raise SandboxBroken(
                f"--init of box {self.number} printed {output!r} instead of a directory", FaultKind.MANAGE
            )
        return root

    async def ready(self, *, control_groups: bool = True) -> None:
        """Reset the box unless it is unused and in the mode asked for."""
        if self.used or self._with_groups != (self.sandbox.control_groups and control_groups):
            await self.reset(control_groups=control_groups)

    async def cleanup(self) -> None:
        """Remove the box, also if a killed daemon has left it in the other control group mode."""
        await self._remove_trees()
        try:
            await self._cleanup(control_groups=self._with_groups)
        except SandboxBroken as error:
            # Isolate refuses every command, --cleanup included, in a mode other than that of --init.
            try:
                await self._cleanup(control_groups=not self._with_groups)
            except SandboxBroken:
                raise error from None
        self._root, self.used = None, False

    async def _remove_trees(self) -> None:
        """Remove trees that the sandbox might not be able to remove; raises SandboxBroken if they stay.

        It is not an error if the sandbox runs no command: it may never have made the box.
        """
        if not self.used or self.sandbox.name == "embedded":  # which removes trees of any depth itself
            return
        root = self._root or self.sandbox.box_root / str(self.number)
        if root.is_absolute():  # else it is not known yet where the sandbox keeps its boxes
            found = trees(root)
            if not found or await finish(asyncio.to_thread(remove_trees, found)):
                return
        for control_groups in (self._with_groups, not self._with_groups):
            ended = await self._run_own(REMOVE, control_groups=control_groups)
            if ended.returncode == 0:
                return
            if ended.returncode == 1:
                raise SandboxBroken(f"cannot remove the directories in box {self.number}", FaultKind.MANAGE)

    async def _cleanup(self, *, control_groups: bool) -> None:
        await self._manage(cleanup_argv(self.sandbox, self.number, control_groups=control_groups))

    async def _manage(self, argv: list[str]) -> str:
        manage = partial(execute, argv, stdin=b"", output_bytes=_META_BYTES, deadline_s=_MANAGE_DEADLINE_S)
        ended = await manage()
        if ended.returncode != 0 and is_full(self.sandbox.box_root) and await room(self.sandbox.box_root):
            ended = await manage()
        if ended.returncode != 0:
            said = ended.stderr.data[-500:].decode(errors="replace").strip()
            raise SandboxBroken(
                f"{argv[-1]} of box {self.number} exited with {ended.returncode}: {said}", FaultKind.MANAGE
            )
        return os.fsdecode(ended.stdout.data)

    async def place(self, files: Sequence[File], *, mode: int = 0o644) -> None:
        """Write files into the working directory of a box in which no program has run."""
        if files:
            size_bytes = sum(len(file.content) for file in files)
            await self._write(partial(place, files=files, mode=mode), size_bytes)

    async def place_input(self, name: str, content: bytes | Descriptor) -> None:
        """Write a file that the program may only read into the working directory."""
        size_bytes = len(content) if isinstance(content, bytes) else os.fstat(content).st_size
        await self._write(partial(place_input, name=name, content=content), size_bytes)

    async def _write(self, write: Callable[[int], None], size_bytes: int) -> None:
        if self.used:
            raise RuntimeError(f"box {self.number} was not reset after a program ran in it")
        with self._directory() as directory:
            try:
                if size_bytes < LARGE_BYTES:
                    write(directory)
                else:
                    # A thread cannot be cancelled: it would write through a closed descriptor, whose number
                    # may belong to another box by then.
                    await finish(asyncio.to_thread(write, directory))
            except OSError as error:
                raise await self._not_written(f"cannot write into box {self.number}", error) from error

    async def _not_written(self, doing: str, error: OSError) -> SandboxBroken:
        """Return the fault: if others have filled the disk, wait until they are gone."""
        through_others = error.errno in _NO_ROOM and await room(self.sandbox.box_root)
        return SandboxBroken(f"{doing}: {error}", FaultKind.DISK if through_others else FaultKind.FILES)

    async def run(self, command: Command, *watches: Watch) -> Report:
        """Run one command; raises SandboxBroken if the sandbox failed, whatever the command did.

        It is ended when one of `watches` returns, with that reason.
        """
        executable = self._executable(command.argv[0])
        if command.input_file is not None:
            await self.place_input(command.input_file, command.stdin)
        self.used, self._ended_well = True, False
        argv = run_argv(self.sandbox, self.number, self._meta, command, rules=await self._rules(command))
        constraints = command.constraints
        in_group = self.sandbox.control_groups and command.control_groups
        watcher = Watcher(constraints, floor_kib=self.sandbox.resident_floor_kib)
        disk = DiskWatch(self._initialised_root(), constraints, bearable_files=bearable_files(self.sandbox))
        # A command that asked for limits of each process has no limits of all of them.
        memory = [watcher.watch] if command.control_groups and not in_group else []
        meter = NoiseMeter()
        ended = await execute(
            argv,
            stdin=command.stdin if command.input_file is None else b"",
            output_bytes=constraints.output_bytes,
            dropped_bytes=constraints.dropped_bytes,
            deadline_s=constraints.wall_time_s + _RUN_ALLOWANCE_S,
            stderr=None if command.streams is None else command.streams.errors,
            watches=[*memory, disk.watch, *watches],
            # Most programs end before there is anything to look at.
            watched_after_s=0 if watches else min(watcher.first_look_s, disk.interval_s),
        )
        noise = meter.noise()
        self._ended_well = ended.returncode in {0, 1}
        meta = self._read_meta()
        exceeded = await self._disk_exceeded(disk, command, ended.ended_for)
        result = report(
            ended.returncode,
            meta,
            ended.stdout,
            ended.stderr,
            executable=executable,
            ended_for=ended.ended_for,
            exceeded=exceeded or watcher.exceeded,
            watched=watcher.watched,
            group_kib=constraints.memory_kib if in_group else None,
            noise=noise,
        )
        if not command.wanted:
            return result
        output_file, files = await self._read(partial(take_wanted, wanted=command.wanted))
        return replace(result, output_file=output_file, files=files)

    async def _rules(self, command: Command) -> list[str]:
        """Prepare what lies beside the box for a run; return the directory rules for it."""
        try:
            self._meta.unlink(missing_ok=True)
            rules = self.etc.rules(command)
            if self.sandbox.name != "embedded":
                rules += devices.rules()
        except OSError as error:
            raise await self._not_written(f"cannot prepare a run in {self._meta.parent}", error) from error
        return rules

    def _executable(self, program: str) -> Callable[[], bool]:
        """Return what tells whether a program can be executed; one in the box is looked at before it runs."""
        if not lies_in_box(program):
            return partial(self._can_execute, program)
        found = not self.used and self._can_execute(program)
        return lambda: found

    def _can_execute(self, program: str) -> bool:
        with self._directory() as directory:
            return can_execute(directory, program)

    async def _disk_exceeded(
        self, disk: DiskWatch, command: Command, ended_for: Ending | None
    ) -> Ending | None:
        """Return the limit that the files in the box exceed; raises SandboxBroken for a full disk."""
        exceeded = await disk.exceeded()
        if exceeded is None and disk.unseen:
            exceeded = await self._unseen_exceeded(disk, command)
        if Ending.DISK not in {exceeded, ended_for}:
            await disk.check()
        if disk.on_suspicion and exceeded is None:
            raise SandboxBroken(
                f"ended in box {self.number}, since others made many files on its disk", FaultKind.RUN
            )
        return exceeded

    async def _unseen_exceeded(self, disk: DiskWatch, command: Command) -> Ending | None:
        """List the files that this daemon must not read, from inside."""
        ended = await self._run_own(
            LIST, control_groups=self.sandbox.control_groups and command.control_groups
        )
        if ended.returncode not in {0, 1}:
            raise SandboxBroken(f"cannot list the files in box {self.number}", FaultKind.RUN)
        # With 1, the program made a directory unreadable: it holds what the disk has lost.
        return Ending.DISK if ended.returncode == 1 else disk.listed(ended.stdout)

    async def _run_own(self, command: Command, *, control_groups: bool) -> ProcessResult:
        """Run a command of ours on what the last program left."""
        sandbox = replace(self.sandbox, control_groups=control_groups)
        constraints = command.constraints
        return await execute(
            run_argv(sandbox, self.number, self._meta, command),
            stdin=b"",
            output_bytes=constraints.output_bytes,
            deadline_s=constraints.wall_time_s + _RUN_ALLOWANCE_S,
        )

    def _read_meta(self) -> str:
        """Read the meta file, which lies outside the box; its message may hold any byte."""
        try:
            with self._meta.open("rb") as file:
                return file.read(_META_BYTES).decode(errors="replace")
        except FileNotFoundError:
            return ""

    async def take(self, patterns: Sequence[str], max_bytes: int) -> tuple[File, ...]:
        """Read the matching files in the working directory; raises UnusableFile as `files.take` does."""
        return await self._read(partial(take, patterns=patterns, max_bytes=max_bytes))

    async def _read(self, read: Callable[[int], T]) -> T:
        with self._directory() as directory:
            try:
                return await finish(asyncio.to_thread(read, directory))
            except OSError as error:
                raise SandboxBroken(
                    f"cannot read from box {self.number}: {error}", FaultKind.FILES
                ) from error

    def _initialised_root(self) -> Path:
        if self._root is None:
            raise SandboxBroken(f"box {self.number} was not initialised", FaultKind.FILES)
        return self._root

    @contextmanager
    def _directory(self) -> Iterator[int]:
        """Open the working directory. Its parents belong to the sandbox, and it must not be a link."""
        root = self._initialised_root()
        try:
            directory = os.open(f"{root}/box", DIRECTORY)
        except OSError as error:
            raise SandboxBroken(f"cannot open box {self.number}: {error}", FaultKind.FILES) from error
        try:
            yield directory
        finally:
            os.close(directory)
