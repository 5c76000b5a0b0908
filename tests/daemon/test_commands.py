"""The commands, as a person types them."""

import asyncio
import json
import os
import re
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from importlib.metadata import version
from pathlib import Path

import pytest

from support import commands
from support.amqp import declare
from support.boxes import own_boxes
from support.broker import Broker
from support.commands import Ended
from support.daemon import daemon, environment
from support.forkserver import Process
from verdictd.contract.result import Result
from verdictd.judging.languages import Registry

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]

PROGRAMS = Path(__file__).parent.parent / "programs"
OWN_BOXES = {"sandbox__isolate": "embedded", "sandbox__boxes": "1"}


async def command(*arguments: str | Path, **settings: str) -> Ended:
    """Run `verdictd` with these arguments, in the boxes of this module."""
    return await commands.command(*arguments, **(OWN_BOXES | settings))


@pytest.fixture(scope="module")
async def served(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """The URL of a broker whose submissions a daemon judges, for tests that leave nothing there."""
    url = broker.fresh_vhost()
    async with daemon(tmp_path_factory.mktemp("daemon") / "log", broker__url=url, **OWN_BOXES):
        yield url


async def test_run_judges_a_source_by_its_extension() -> None:
    """`verdictd run hello.c` needs no broker and no JSON, and shows what the program printed."""
    ended = await command("run", PROGRAMS / "hello.c")

    assert (0, "") == (ended.code, ended.err)
    assert ended.out.startswith("Accepted  hello.c\n")
    assert ended.out.endswith("\nOutput\n  hello, world\n")


async def test_run_shows_the_words_of_the_compiler(tmp_path: Path) -> None:
    """A student sees what is wrong, and that nothing ran."""
    file = tmp_path / "bad.c"
    file.write_text("int main(void) { return x; }\n")
    ended = await command("run", file)

    assert (1, "") == (ended.code, ended.err)
    assert ended.out.startswith("Compilation error  bad.c\n")
    assert "\nCompiler\n  " in ended.out
    assert "undeclared" in ended.out
    assert "CPU time" not in ended.out


async def test_run_of_several_files_is_one_line_each(tmp_path: Path) -> None:
    """Lines have the order of the files; files of the same name are told apart by their folders."""
    files = [tmp_path / folder / "same.py" for folder in ("one", "two")]
    for number, file in enumerate(files):
        file.parent.mkdir()
        file.write_text(f"raise SystemExit({number})")
    ended = await command("run", *files)
    titles, *lines = ended.out.splitlines()

    assert (1, "", "status") == (ended.code, ended.err, titles.split()[0])
    assert ["Accepted", "Runtime error (NZEC)"] == [line.split("  ")[0] for line in lines[:2]]
    assert [True, True] == [
        f"{file.parent.name}/same.py" in line for file, line in zip(files, lines, strict=False)
    ]
    assert ["", "1 of 2 accepted"] == lines[2:]


async def test_run_gives_results_as_json_lines_and_exits_with_1_unless_all_are_accepted() -> None:
    """A script gets the whole result of each file, in their order."""
    ended = await command("run", "--output", "json", PROGRAMS / "hello.c", PROGRAMS / "endless.json")
    results = [Result.model_validate_json(line) for line in ended.out.splitlines()]

    assert 1 == ended.code
    assert [("hello.c", "accepted"), ("endless", "time_limit_exceeded")] == [
        (result.id, result.status) for result in results
    ]


@pytest.mark.parametrize(
    ("expected", "status", "code"), [("sum.out", "accepted", 0), ("sum.in", "wrong_answer", 1)]
)
async def test_run_takes_input_and_expected_output_from_files(expected: str, status: str, code: int) -> None:
    """A source can be tried against a test case that lies in files."""
    ended = await command(
        "run",
        "-o",
        "json",
        PROGRAMS / "sum.py",
        "--stdin",
        PROGRAMS / "sum.in",
        "--expected",
        PROGRAMS / expected,
    )

    assert (code, status) == (ended.code, json.loads(ended.out)["status"])


@pytest.mark.parametrize("settings", [{}, {"limits__message_bytes": "1024"}])
async def test_run_judges_a_directory_of_tests(tmp_path: Path, settings: dict[str, str]) -> None:
    """Each pair of files is a test with a line of its own; the card of the submission stands below.

    Also where a message has no room for them.
    """
    for name, content in {
        "1.in": "1 2" + 1_000 * " ",
        "1.out": "3",
        "2.in": "2 2",
        "2.ans": "5",
        "10.in": "",
        "10.out": "0",
    }.items():
        (tmp_path / name).write_text(content)
    ended = await command("run", PROGRAMS / "sum.py", "--tests", tmp_path, **settings)
    table, card, _output = ended.out.split("\n\n")

    assert (1, "") == (ended.code, ended.err)
    assert [["test", "status"], ["1", "Accepted"], ["2", "Wrong answer"], ["10", "Skipped"]] == [
        re.split(r"\s{2,}", line)[:2] for line in table.splitlines()
    ]
    assert card.startswith("Wrong answer  sum.py\n")
    assert "\nTests      1 of 3 accepted\n" in card


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--tests", "."], 1, "verdictd: .: no tests"),
        (["--tests", ".", "--stdin", "sum.in"], 2, "not possible together with --stdin or --expected"),
    ],
)
async def test_run_says_why_there_are_no_tests(
    options: list[str], code: int, said: str, tmp_path: Path
) -> None:
    """Nothing is judged without the tests that were asked for."""
    words = [
        str(tmp_path) if word == "." else str(PROGRAMS / word) if word == "sum.in" else word
        for word in options
    ]
    ended = await command("run", PROGRAMS / "sum.py", *words)

    assert (code, "") == (ended.code, ended.out)
    assert said.replace(" .", f" {tmp_path}") in ended.err


@pytest.fixture
def problem(tmp_path: Path) -> Path:
    """A problem package, one of whose submissions gets another verdict than that of its folder."""
    sum_of_two = (PROGRAMS / "sum.py").read_text()
    files = {
        "problem.yaml": "name: Sum\nlicense: cc0\nlimits: {time_limit: 2, code: 128}\n",
        "data/sample/1.in": "1 2",
        "data/sample/1.ans": "3",
        "data/secret/large/1.in": "20 22",
        "data/secret/large/1.ans": "42",
        "submissions/accepted/sum.py": sum_of_two,
        "submissions/wrong_answer/correct.py": sum_of_two,
        "submissions/wrong_answer/sample_only.py": "print(3)",
        "submissions/run_time_error/exit.py": "raise SystemExit(1)",
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    return tmp_path


VERIFIED = [
    ["as expected", "submission", "verdict", "test"],
    ["yes", "accepted/sum.py", "Accepted"],
    ["yes", "run_time_error/exit.py", "Runtime error (NZEC)", "sample-1"],
    ["no", "wrong_answer/correct.py", "Accepted"],
    ["yes", "wrong_answer/sample_only.py", "Wrong answer", "secret-large-1"],
    [],
    ["wrong_answer/correct.py: The output matches the expected output."],
    [],
    ["3 of 4 as expected"],
]


def without_times(out: str) -> list[list[str]]:
    """Return the words of each line, without figures of time."""
    lines = [re.split(r"\s{2,}", line.strip()) for line in out.splitlines()]
    return [[word for word in line if not re.fullmatch(r"CPU time|[0-9.]+ s|", word)] for line in lines]


async def test_verify_says_which_submissions_got_the_verdict_of_their_folder(problem: Path) -> None:
    """Exit code 1 if one did not; parts of the package that are not used are named."""
    ended = await command("verify", problem)

    assert (1, "verdictd: problem.yaml: limits.code is not used\n") == (ended.code, ended.err)
    assert VERIFIED == without_times(ended.out)


async def test_verify_takes_tests_that_no_message_has_room_for(problem: Path) -> None:
    """They stay in their files; a test may be a link to another, as in problems with groups."""
    (problem / "data/secret/large/1.in").write_text("20 22" + 1_000 * " ")
    for name in ("2.in", "2.ans"):
        (problem / "data/secret/large" / name).symlink_to(name.replace("2", "1"))
    ended = await command("verify", problem, limits__message_bytes="2000")

    assert (1, "verdictd: problem.yaml: limits.code is not used\n") == (ended.code, ended.err)
    assert VERIFIED == without_times(ended.out)


async def test_verify_ends_well_when_all_are_as_expected(problem: Path) -> None:
    """A script gets the whole results, each with the folder of its submission, and exit code 0."""
    (problem / "submissions/wrong_answer/correct.py").unlink()
    ended = await command("verify", problem, "-o", "json")
    results = [json.loads(line) for line in ended.out.splitlines()]

    assert 0 == ended.code
    assert ["accepted", "run_time_error", "wrong_answer"] == [
        result["metadata"]["expected"] for result in results
    ]


INTERACTIVE = {
    "problem.yaml": "validation: custom interactive\nlimits: {time_limit: 2}\n",
    "output_validators/talk.sh": 'read -r guess; [ "$guess" = "$(<"$1")" ] && exit 42; exit 43',
    "submissions/accepted/right.sh": "echo 4",
    "submissions/wrong_answer/wrong.sh": "echo 3",
    "submissions/run_time_error/crashes.sh": "exit 3",
}
COUNTS_DOWN = """
read -r said; read -r given < "$1"
[ $said = $((given - 1)) ] || exit 43
[ $said = 0 ] || echo $said > "$3nextpass.in"; exit 42
"""
MULTI_PASS = {
    "problem.yaml": "type: multi-pass\nlimits: {time_limit: 2, validation_passes: 4}\n",
    "output_validator/counts.sh": COUNTS_DOWN,
    "submissions/accepted/right.sh": "read -r given; echo $((given - 1))",
    "submissions/wrong_answer/wrong.sh": "echo 3",
    "submissions/run_time_error/crashes.sh": "read -r given; [ $given = 4 ] || exit 3; echo 3",
}


@pytest.mark.parametrize("package", [INTERACTIVE, MULTI_PASS])
async def test_verify_lets_the_validator_of_a_problem_talk_or_ask_for_passes(
    package: dict[str, str], tmp_path: Path
) -> None:
    """If it is interactive, or multi-pass."""
    files = package | {"data/secret/1.in": "4", "data/secret/1.ans": ""}
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    ended = await command("verify", tmp_path)

    assert (0, "") == (ended.code, ended.err)


@pytest.mark.parametrize("place", [(), ("--data-at", "data")])
async def test_submit_of_a_package_is_verified_by_the_daemons(
    amqp_url: str, problem: Path, place: tuple[str, ...]
) -> None:
    """The same table, of submissions that went through the queue, with their tests or by reference."""
    own = OWN_BOXES | {"broker__url": amqp_url, "data__directory": str(problem)}
    async with daemon(problem / "daemon.log", **own):
        ended = await command("submit", problem, *place, broker__url=amqp_url)

    assert 1 == ended.code
    assert VERIFIED == without_times(ended.out)


async def test_source_is_run_against_a_package(problem: Path) -> None:
    """`--tests` takes the package's limits and checker too."""
    ended = await command("run", PROGRAMS / "sum.py", "--tests", problem, "-o", "json")
    result = json.loads(ended.out)

    assert (0, 2, ["sample", "secret-large"]) == (
        ended.code,
        result["limits"]["cpu_time_limit"],
        [group["name"] for group in result["groups"]],
    )


async def test_submit_takes_a_package_alone(problem: Path) -> None:
    """Another file, or an option for source files, would not be used."""
    ended = await command("submit", problem, PROGRAMS / "hello.c")

    assert 2 == ended.code
    assert "a problem package is submitted alone" in ended.err


async def test_run_says_what_is_wrong_with_a_file(tmp_path: Path) -> None:
    """An invalid submission is shown with its reasons, and terminal escapes in it do nothing."""
    file = tmp_path / "bad.json"
    file.write_text(json.dumps({"language": "python", "source_code": "", "\x1b[2Jcolour": 1}))
    ended = await command("run", file)

    assert 1 == ended.code
    assert ended.out.startswith("Invalid submission  bad.json\n")
    assert "  / [2Jcolour: unknown field\n" in ended.out
    assert "\x1b" not in ended.out


async def test_run_of_a_missing_file_is_a_usage_error(tmp_path: Path) -> None:
    """Exit code 2, and the name of the file."""
    ended = await command("run", tmp_path / "missing.c")

    assert 2 == ended.code
    assert "missing.c" in ended.err


async def test_submit_publishes_and_shows_the_results(served: str) -> None:
    """A daemon judges the files; their results are printed in the order in which they came."""
    ended = await command(
        "submit",
        "-o",
        "json",
        PROGRAMS / "sum.py",
        PROGRAMS / "sum.py",
        PROGRAMS / "endless.json",
        broker__url=served,
    )
    statuses = sorted(json.loads(line)["status"] for line in ended.out.splitlines())

    assert (1, ["accepted", "accepted", "time_limit_exceeded"]) == (ended.code, statuses)


async def test_submit_shows_results_as_run_does(served: str) -> None:
    """Results have the names of their files, and their order; off a terminal no progress is shown."""
    ended = await command("submit", PROGRAMS / "endless.json", PROGRAMS / "hello.c", broker__url=served)

    assert (1, "") == (ended.code, ended.err)
    assert [["Time limit exceeded", "endless.json"], ["Accepted", "hello.c"]] == [
        re.split(r"\s{2,}", line)[:2] for line in ended.out.splitlines()[1:3]
    ]


async def test_submit_names_the_files_whose_results_do_not_come(amqp_url: str) -> None:
    """A queue that no daemon reads gives no results; exit code 1."""
    await declare(amqp_url)
    ended = await command("submit", "--timeout", "1", PROGRAMS / "hello.c", broker__url=amqp_url)

    assert (1, "", "verdictd: no result in time for hello.c\n") == (ended.code, ended.out, ended.err)


@pytest.mark.parametrize(
    ("options", "settings"),
    [((), {"broker__submissions_queue": "nobody.reads"}), (("--queue", "nobody.reads"), {})],
    ids=["settings", "option"],
)
async def test_submit_to_a_queue_that_is_not_there_says_so(
    served: str, options: tuple[str, ...], settings: dict[str, str]
) -> None:
    """The command does not wait for a result that cannot come; --queue names another queue."""
    ended = await command(
        "submit", "--timeout", "30", *options, PROGRAMS / "endless.json", broker__url=served, **settings
    )

    assert 1 == ended.code
    assert "'nobody.reads' does not exist" in ended.err


async def test_submit_without_a_broker_says_so() -> None:
    """Exit code 1, and what could not be reached."""
    ended = await command("submit", PROGRAMS / "hello.c", broker__url="amqp://guest:hidden@127.0.0.1:1/")

    assert 1 == ended.code
    assert "127.0.0.1:1" in ended.err
    assert "hidden" not in ended.err


async def test_check_names_all_that_does_not_work_and_says_what_to_do(tmp_path: Path) -> None:
    """A broker, or a reference program that prints something else; the rest is tried, without the cache.

    Of the languages that are installed, most are made such that are not: another test tries them all.
    """
    file, cache = tmp_path / "own.toml", tmp_path / "cache"
    table = '[[language]]\nname = "{}"\nsource_file = "a.sh"\nrun_cmd = "{} a.sh"\nreference = "echo 41"\n'
    absent = {known.name for known in Registry.load().available} - {"bash", "c"}
    file.write_text(
        "".join(table.format(*row) for row in [("odd", "bash"), *((name, "none") for name in absent)])
    )
    cache.mkdir()
    settings = {
        "judge__languages_file": str(file),
        "judge__cache_kib": "1024",
        "judge__cache_directory": str(cache),
    }
    ended = await command("check", broker__url="amqp://guest:hidden@127.0.0.1:1/", **settings)

    assert 1 == ended.code
    assert "FAILED broker" in ended.out
    assert "-> start RabbitMQ" in ended.out
    assert "language c:" in ended.out
    assert "hidden" not in ended.out
    assert "FAILED language odd" in ended.out
    assert f"artifact cache: {cache}: 0 programs, 0 KiB of 1 MiB" in ended.out
    assert [] == list(cache.iterdir())


async def test_languages_lists_them_with_what_is_missing() -> None:
    """One line of JSON for each language."""
    ended = await command("languages", "-o", "json")
    found = {entry["name"]: entry for entry in map(json.loads, ended.out.splitlines())}

    assert 0 == ended.code
    assert ["py", "python3"] == found["python"]["also"]
    assert found["c"]["available"]


async def test_wrong_setting_ends_with_78_and_names_itself(tmp_path: Path) -> None:
    """systemd does not start such a service again; a person reads which setting it is."""
    file = tmp_path / "verdictd.toml"
    file.write_text("[sandbox]\nboxes = 0\n")
    ended = await command("serve", "--config", file, sandbox__boxes="0")

    assert 78 == ended.code
    assert "sandbox.boxes" in ended.err


async def test_wrong_languages_file_ends_with_78_and_names_itself(tmp_path: Path) -> None:
    """A mistake in the operator's own languages is one in the settings."""
    file = tmp_path / "own.toml"
    file.write_text('[[language]]\nname = "odd"\n')
    ended = await command("serve", judge__languages_file=str(file))

    assert 78 == ended.code
    assert str(file) in ended.err


async def test_missing_isolate_is_named() -> None:
    """The start fails if isolate is not where the setting says."""
    ended = await command("serve", sandbox__isolate="/nonexistent/isolate")

    assert 1 == ended.code
    assert "/nonexistent/isolate" in ended.err


async def test_old_isolate_is_refused_unless_allowed(tmp_path: Path) -> None:
    """Isolate 2.5 has faults that this daemon does not work around."""
    old = tmp_path / "isolate"
    old.write_text("#!/bin/sh\necho 'The process isolator 2.5'\n")
    old.chmod(0o755)
    ended = await command("serve", sandbox__isolate=str(old))

    assert 1 == ended.code
    assert "2.5 is older than 2.6" in ended.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        *(
            [name, "--help"]
            for name in ("serve", "run", "verify", "submit", "check", "top", "languages", "schema", "systemd")
        ),
    ],
)
async def test_help_is_there(arguments: list[str]) -> None:
    """Every command explains itself."""
    ended = await command(*arguments)

    assert (0, "") == (ended.code, ended.err)
    assert "Usage:" in ended.out


async def test_version_is_that_of_the_package() -> None:
    """`verdictd --version` needs no settings and no broker."""
    ended = await command("--version")

    assert (0, f"verdictd {version('verdictd')}\n") == (ended.code, ended.out)


async def test_languages_are_listed_in_columns() -> None:
    """For a person: name, aliases, and what is missing on this host."""
    ended = await command("languages")
    titles, *lines = ended.out.splitlines()

    assert (0, "") == (ended.code, ended.err)
    assert "language    aliases         compiled  missing on this host" == titles
    assert "c                           yes" in lines
    assert "python      py python3      no" in lines


async def test_systemd_writes_only_if_told_to(tmp_path: Path) -> None:
    """First the command says what would change; with --write it does that, and says what comes next."""
    planned = await command("systemd", "--root", tmp_path)
    before = list(tmp_path.iterdir())
    written = await command("systemd", "--root", tmp_path, "--write")
    settings = tmp_path / "etc/verdictd/verdictd.toml"

    assert ([], True) == (before, settings.exists())
    assert (
        f"would be written  {settings}\nNothing was written. Add --write to write the files.\n" in planned.out
    )
    assert f"\nwritten           {settings}\n\nNext, as root:\n" in written.out


async def test_unknown_command_is_a_usage_error() -> None:
    """Exit code 2."""
    ended = await command("judge")

    assert 2 == ended.code


def test_command_is_installed() -> None:
    """`pip install .` gives the command beside the interpreter."""
    assert os.access(Path(sys.executable).parent / "verdictd", os.X_OK)


READ = {
    "check": ("check", "--no-broker"),
    "languages": ("languages",),
    "run": ("run", str(PROGRAMS / "hello.c")),
    "help": ("--help",),
    "systemd": ("systemd",),
}


@pytest.mark.parametrize("arguments", READ.values(), ids=READ.keys())
async def test_command_ends_quietly_when_nobody_reads_its_output(arguments: tuple[str, ...]) -> None:
    """As other tools in a pipe with `head`: by SIGPIPE, without a traceback, and its boxes are closed."""
    reader, writer = os.pipe()
    with own_boxes(OWN_BOXES) as own, tempfile.TemporaryFile() as err, os.fdopen(writer, "wb") as out:
        process = await Process.fork([*arguments], environment(**own), out=out, err=err)
        if arguments[0] == "check":
            await asyncio.to_thread(os.read, reader, 1)  # the rest comes while boxes are open
        os.close(reader)
        out.close()
        code = await process.wait()
        err.seek(0)

        assert (-signal.SIGPIPE, b"") == (code, err.read())
