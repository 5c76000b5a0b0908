"""Input and expected outputs of tests, wherever they are: in the message, in a directory, on a server.

A file by reference is copied into the cache, and from there it is a descriptor: its bytes never pass through
the memory of the daemon as a whole.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, BinaryIO, Self, TypeVar, assert_never

import structlog

from verdictd import metrics
from verdictd.concurrency import KeyedLock, backoff, finish
from verdictd.contract.content import ProvidedFile, Reference, RemoteFile
from verdictd.errors import DataUnavailable, InvalidSubmission, Problem, file_error
from verdictd.judging.data_cache import DataCache, WrongData
from verdictd.judging.data_directory import ProvidedFiles
from verdictd.sandbox.model import Descriptor
from verdictd.settings import DataSettings

if TYPE_CHECKING:
    from verdictd.judging.data_download import Downloads

FD = TypeVar("FD", Descriptor, Descriptor | None)

_AT_ONCE = 4
"""Files of a submission that are looked up at the same time: a slow server delays nobody else's."""
_THREADS = 8
_TRIES = 3
_LONGEST_PAUSE_S = 2
_MAX_PROBLEMS = 20

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class OpenData:
    """Content of a test for as long as it is needed: bytes, or the descriptor of a file."""

    source: bytes | Descriptor = field(repr=False)

    @property
    def size_bytes(self) -> int:
        """Number of bytes."""
        return len(self.source) if isinstance(self.source, bytes) else os.fstat(self.source).st_size

    def open(self) -> BinaryIO:
        """Open a stream of its own, at the beginning."""
        if isinstance(self.source, bytes):
            return BytesIO(self.source)
        return open(f"/proc/self/fd/{self.source}", "rb")  # noqa: PTH123 - not a path


class DataStore:
    """Opens test data, and fetches it into a cache on disk where it is given by reference.

    State: the files that are being looked up.
    """

    def __init__(
        self,
        settings: DataSettings,
        *,
        cache: DataCache,
        downloads: "Downloads | None",
        threads: ThreadPoolExecutor,
    ) -> None:
        self._timeout_s = settings.timeout_s
        self._cache = cache
        self._provided = None if settings.directory is None else ProvidedFiles(settings.directory, cache)
        self._downloads = downloads
        self._threads = threads
        self._finding = KeyedLock()

    @classmethod
    @asynccontextmanager
    async def open_store(cls, settings: DataSettings) -> AsyncIterator[Self]:
        """Make a store with threads of its own, for names and disks that do not answer. Raises OSError."""
        cache = DataCache.of(settings)
        if settings.enabled:
            cache.prepare()
        names = ThreadPoolExecutor(_THREADS, thread_name_prefix="test-data-names")
        threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="test-data")
        downloads = None
        if settings.allow_urls:
            from verdictd.judging.data_download import Downloads  # noqa: PLC0415 - with its HTTP client

            downloads = Downloads(settings, names)
        try:
            yield cls(settings, cache=cache, downloads=downloads, threads=threads)
        finally:
            names.shutdown(wait=False, cancel_futures=True)
            threads.shutdown(wait=False, cancel_futures=True)

    def problem(self, reference: Reference) -> str | None:
        """Return the reason why this judge never fetches such a file, or None."""
        match reference:
            case ProvidedFile():
                if self._provided is None:
                    return "this judge has no directory of test data (data.directory)"
                return None
            case RemoteFile():
                if self._downloads is None:
                    return "this judge fetches no test data (data.allow_urls)"
                return self._downloads.problem(reference.url)
            case _ as unreachable:
                assert_never(unreachable)

    async def fetch(self, wanted: Mapping[str, Reference]) -> None:
        """Put into the cache what is not there yet; `wanted` has the paths of the fields.

        Raises InvalidSubmission if files are missing or have another digest, DataUnavailable if they cannot
        be had now.
        """
        if not wanted:
            return
        slots = asyncio.Semaphore(_AT_ONCE)
        looked_up = [
            asyncio.create_task(self._look_up(path, reference, slots))
            for reference, path in {reference: path for path, reference in wanted.items()}.items()
        ]
        try:
            async with asyncio.timeout(self._timeout_s):
                problems = [problem for problem in await asyncio.gather(*looked_up) if problem is not None]
        except TimeoutError:
            metrics.TEST_DATA.labels(metrics.DataLookup.FAILED).inc()
            limit = f"{self._timeout_s:g} s (data.timeout_s)"
            raise DataUnavailable(f"the test data was not there within {limit}") from None
        finally:
            for task in looked_up:
                task.cancel()
            await asyncio.gather(*looked_up, return_exceptions=True)
        if problems:
            raise InvalidSubmission(problems[:_MAX_PROBLEMS])

    async def _look_up(self, path: str, reference: Reference, slots: asyncio.Semaphore) -> Problem | None:
        try:
            async with slots:
                os.close(await self._opened(reference))
        except WrongData as error:
            return Problem(path, str(error))
        return None

    def open(self, content: bytes | Reference, path: str) -> AbstractAsyncContextManager[OpenData]:
        """Open the content of a field for as long as the block lasts; raises as `fetch` does."""
        if isinstance(content, bytes):
            return nullcontext(OpenData(content))
        return self._open_file(content, path)

    @asynccontextmanager
    async def _open_file(self, reference: Reference, path: str) -> AsyncIterator[OpenData]:
        try:
            fd = await self._opened(reference)
        except WrongData as error:
            raise InvalidSubmission([Problem(path, str(error))]) from error
        try:
            yield OpenData(fd)
        finally:
            os.close(fd)

    async def _opened(self, reference: Reference) -> Descriptor:
        """Return a descriptor of the file in the cache, after it was fetched if it was not there."""
        try:
            # By the URL too: a slow one must not delay those who name another for the same file.
            async with self._finding.hold(reference):
                return await self._find(reference)
        except WrongData:
            metrics.TEST_DATA.labels(metrics.DataLookup.WRONG).inc()
            raise
        except DataUnavailable:
            metrics.TEST_DATA.labels(metrics.DataLookup.FAILED).inc()
            raise
        except OSError as error:
            metrics.TEST_DATA.labels(metrics.DataLookup.FAILED).inc()
            raise DataUnavailable(f"the cache of test data fails: {file_error(error)}") from error

    async def _find(self, reference: Reference) -> Descriptor:
        match reference:
            case ProvidedFile():
                if self._provided is None:
                    raise WrongData(self.problem(reference))
                return await self._in_thread(partial(self._provided.open, reference.name))
            case RemoteFile():
                return await self._find_remote(reference)
            case _ as unreachable:
                assert_never(unreachable)

    async def _find_remote(self, remote: RemoteFile) -> Descriptor:
        find = partial(self._cache.open, remote.sha256)
        found = await self._in_thread(find)
        metrics.TEST_DATA.labels(
            metrics.DataLookup.FETCHED if found is None else metrics.DataLookup.HIT
        ).inc()
        if found is None:
            await self._download_patiently(remote)
            found = await self._in_thread(find)
        if found is None:
            raise DataUnavailable(f"the file {remote.sha256} did not stay in the cache (data.cache_kib)")
        return found

    async def _in_thread(self, find: Callable[[], FD]) -> FD:
        """Find a file in a thread; if nobody waits for its descriptor any more, it is closed."""
        finding = asyncio.get_running_loop().run_in_executor(self._threads, find)
        try:
            return await asyncio.shield(finding)
        except asyncio.CancelledError:
            finding.add_done_callback(_close)
            raise

    async def _download_patiently(self, remote: RemoteFile) -> None:
        pauses = backoff(_LONGEST_PAUSE_S)
        for tries_left in reversed(range(_TRIES)):
            try:
                await self._download(remote)
                return
            except DataUnavailable as error:
                if not tries_left:
                    raise
                log.warning("data.tried_again", error=str(error))
            await asyncio.sleep(next(pauses))

    async def _download(self, remote: RemoteFile) -> None:
        if self._downloads is None:
            raise WrongData(self.problem(remote))
        loop = asyncio.get_running_loop()
        async with aclosing(self._downloads.download(remote.url)) as chunks:
            with self._cache.incoming() as file:

                async def write(chunk: bytes) -> None:
                    await loop.run_in_executor(self._threads, file.write, chunk)

                async for chunk in chunks:
                    await finish(write(chunk))  # the thread has the descriptor until it is done
                if file.digest != remote.sha256:
                    raise WrongData(f"the file has another SHA-256: {file.digest}")
                file.keep()


def _close(finding: asyncio.Future[FD]) -> None:
    if not finding.cancelled() and finding.exception() is None and (fd := finding.result()) is not None:
        os.close(fd)
