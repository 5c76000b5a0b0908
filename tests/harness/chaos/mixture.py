"""Small programs of every kind, each with the verdict and the output that it must get."""

import json
import uuid
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from verdictd.contract.result import Status

# A program must not be too slow because the machine is crowded or its sandbox is held up.
PATIENT: Final = {"wall_time_limit": 30, "cpu_time_limit": 10}
# Each run says another number, so that answers with different numbers come from different runs.
SAY: Final = "echo $SRANDOM >&2\n"


@dataclass(frozen=True, slots=True)
class Case:
    """A message, and what its answer must say; where that is None, it may be anything."""

    id: str
    body: bytes
    status: Status | None
    stdout: str | None


def bash(source: str, *, status: Status = Status.ACCEPTED, stdout: str | None = None, **fields: Any) -> Case:
    """A program that says the number of its run, and goes on."""
    return case("bash", SAY + source, status, stdout, **fields)


def case(language: str, source: str, status: Status, stdout: str | None, **fields: Any) -> Case:
    """A submission with an id of its own."""
    submission = PATIENT | {"id": str(uuid.uuid4()), "language": language, "source_code": source} | fields
    return Case(submission["id"], json.dumps(submission).encode(), status, stdout)


def mixture(count: int, random: Random) -> list[Case]:
    """So many submissions: mostly short ones, a slow, a big, a compiled one now and then."""
    makers = [*_KINDS, *random.choices(_COMMON, k=max(0, count - len(_KINDS)))][:count]
    random.shuffle(makers)
    return [make(number) for number, make in enumerate(makers)]


def sleepers(count: int, seconds: float) -> list[Case]:
    """Submissions that only take time."""
    return [bash(f"sleep {seconds:g}; echo {number}", stdout=f"{number}\n") for number in range(count)]


def _accepted(number: int) -> Case:
    return bash(f"echo {number}", stdout=f"{number}\n", expected_output=f"{number}")


def _wrong(number: int) -> Case:
    return bash(f"echo {number}", status=Status.WRONG_ANSWER, stdout=f"{number}\n", expected_output="other")


def _failing(number: int) -> Case:
    return bash(f"exit {number % 99 + 1}", status=Status.RUNTIME_ERROR_NZEC, stdout="")


def _crashing(number: int) -> Case:
    return bash(f"echo {number}; kill -SEGV $$", status=Status.RUNTIME_ERROR_SIGSEGV, stdout=f"{number}\n")


def _resting(number: int) -> Case:
    return bash(f"sleep 0.1; echo {number}", stdout=f"{number}\n", expected_output=f"{number}")


def _too_slow(_: int) -> Case:
    return bash("sleep 30", status=Status.TIME_LIMIT_EXCEEDED, stdout="", wall_time_limit=0.3)


def _too_loud(_: int) -> Case:
    return bash("exec yes", status=Status.OUTPUT_LIMIT_EXCEEDED, max_output_size=16)


def _python(number: int) -> Case:
    return case("python", f"print({number})", Status.ACCEPTED, f"{number}\n", expected_output=f"{number}")


def _compiled(number: int) -> Case:
    source = f'#include <stdio.h>\nint main(void) {{ puts("{number}"); return 0; }}'
    return case("c", source, Status.ACCEPTED, f"{number}\n", expected_output=f"{number}")


def _not_compiling(number: int) -> Case:
    return case("c", f"int main(void) {{ return missing_{number}; }}", Status.COMPILATION_ERROR, "")


def _invalid(number: int) -> Case:
    return bash("true", status=Status.INVALID_SUBMISSION, stdout="", cpu_time_limit=1e6 + number)


_COMMON: Final = (*(_accepted, _wrong, _failing, _crashing) * 4, _resting, _python)
_KINDS: Final = (*_COMMON, _too_slow, _too_loud, _compiled, _not_compiling, _invalid)
"""At least one of each, so that no storm is without the rare ones."""
