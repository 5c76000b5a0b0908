"""The embedded sandbox reads isolate's command line, more strictly than isolate does."""

import pytest

from verdictd.sandbox.embedded.faults import UsageError
from verdictd.sandbox.embedded.options import Options, parse

RUN = ["--run", "--", "/bin/true"]


def parsed(*arguments: str) -> Options:
    options = Options()
    parse(list(arguments), options)
    return options


def refusal(*arguments: str) -> str:
    with pytest.raises(UsageError) as caught:
        parsed(*arguments)
    return str(caught.value)


@pytest.mark.parametrize("words", [["-b7"], ["-b", "7"], ["--box-id=7"], ["--box-id", "7"]])
def test_box_id_in_every_spelling_is_7(words: list[str]) -> None:
    """An option's argument is attached to it or the next word."""
    assert 7 == parsed(*words, "--init").box_id


def test_word_after_double_dash_is_the_program() -> None:
    """Nothing after `--` is an option of ours."""
    assert ["-b9", "--init"] == parsed("-b7", "--run", "--", "-b9", "--init").command


def test_clustered_short_options_are_all_taken() -> None:
    """Short options without arguments share a word; the last one in it may have an argument."""
    options = parsed("-svvb3", *RUN)

    assert (True, 2, 3) == (options.silent, options.verbose, options.box_id)


def test_later_value_replaces_an_earlier_one() -> None:
    """Of an option that is given twice, the last one counts."""
    assert 2.5 == parsed("-t1", "--time=2.5", *RUN).time_s


def test_one_process_is_allowed_by_default() -> None:
    """Without `--processes` the program cannot fork."""
    assert 1 == parsed(*RUN).processes


def test_processes_without_number_is_unlimited() -> None:
    """The number of `--processes` is optional, and is never the next word."""
    assert None is parsed("-p", *RUN).processes


def test_processes_with_number_is_that_number() -> None:
    """The number is attached to the option."""
    assert (5, 6) == (parsed("-p5", *RUN).processes, parsed("--processes=6", *RUN).processes)


def test_64_open_files_are_allowed_by_default() -> None:
    """The default is the one of isolate's manual page."""
    assert 64 == parsed(*RUN).open_files


@pytest.mark.parametrize(
    ("option", "attribute"),
    [
        ("--time", "time_s"),
        ("--wall-time", "wall_time_s"),
        ("--mem", "mem_kib"),
        ("--fsize", "fsize_kib"),
        ("--open-files", "open_files"),
        ("--processes", "processes"),
    ],
)
def test_0_is_unlimited(option: str, attribute: str) -> None:
    """A limit of 0 does not limit."""
    assert None is getattr(parsed(f"{option}=0", *RUN), attribute)


@pytest.mark.parametrize("text", ["nan", "inf", "abc", "-1", "1e3", "0.0004", "", ".", "1.2.3", "٣", "1 "])
def test_bad_time_is_refused(text: str) -> None:
    """A value that is not a plain decimal number, or would round to 0, must not become "unlimited"."""
    assert f"Invalid numeric parameter: {text}" in refusal(f"--time={text}", *RUN)


@pytest.mark.parametrize("text", ["abc", "-1", "1.5", "5x", "", "0x10", "9" * 16])
def test_bad_size_is_refused(text: str) -> None:
    """Sizes are whole numbers that still fit the kernel's counters in bytes."""
    assert f"Invalid numeric parameter: {text}" == refusal(f"--mem={text}", *RUN)


def test_box_1000_is_out_of_range() -> None:
    """Box ids end at 999, as isolate's do."""
    assert "Sandbox ID out of range (allowed: 0-999)" == refusal("-b1000", "--init")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Please specify an isolate command (e.g. --init, --run)."),
        (["--init", "--run", "--", "x"], "Only one command is allowed."),
        (["--run"], "--run mode requires a command to run"),
        (["--init", "extra"], "--init mode takes no parameters"),
        (["--nonsense"], "unrecognized option '--nonsense'"),
        (["-Z"], "invalid option -- 'Z'"),
        (["--init=1"], "option '--init' doesn't allow an argument"),
        (["--run", "-t"], "option requires an argument -- 'time'"),
        (["--cg-mem=1000", *RUN], "Options related to control groups require --cg to be set."),
        (["-r", "x", "--stderr-to-stdout", *RUN], "--stderr and --stderr-to-stdout exclude each other"),
        (["-q", "1,1", "--init"], "Disk quotas are not supported by this sandbox."),
        (["-E", "=x", *RUN], "Invalid environment rule '=x'"),
    ],
)
def test_wrong_usage_says_what_is_wrong(arguments: list[str], message: str) -> None:
    """An invalid command line is refused, and nothing is started."""
    assert message == refusal(*arguments)


def test_meta_is_known_after_a_later_error() -> None:
    """The meta file named before the error can be emptied, so that no older one is taken for it."""
    options = Options()
    with pytest.raises(UsageError):
        parse(["-M", "meta", "-t", "nan", *RUN], options)

    assert "meta" == options.meta


def test_environment_holds_only_what_is_asked_for() -> None:
    """Nothing is inherited without a rule; later rules win, and an empty value removes."""
    options = parsed("-EA=1", "-EA=", "-EB=2", "-EHOME", "-EABSENT", *RUN)
    inherited = {b"HOME": b"/root", b"SECRET": b"x"}

    assert {b"LIBC_FATAL_STDERR_": b"1", b"B": b"2", b"HOME": b"/root"} == options.environment(inherited)


def test_full_environment_is_applied_before_the_rules() -> None:
    """`--full-env` inherits everything wherever it stands; the rules then change it."""
    options = parsed("-EHOME=/box", "-ESECRET=", "-e", *RUN)
    inherited = {b"HOME": b"/root", b"SECRET": b"x", b"LANG": b"C"}

    assert {b"HOME": b"/box", b"LANG": b"C", b"LIBC_FATAL_STDERR_": b"1"} == options.environment(inherited)


def test_environment_keeps_bytes_that_are_no_text() -> None:
    """Values are bytes; what Python could not decode reaches the program as it was."""
    options = parsed("-EX=\udcff", *RUN)

    assert b"\xff" == options.environment({})[b"X"]
