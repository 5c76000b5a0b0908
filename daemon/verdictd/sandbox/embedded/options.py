"""Command line: isolate's options, parsed strictly."""

from __future__ import annotations

from verdictd.sandbox.embedded.faults import UsageError
from verdictd.sandbox.embedded.rules import Rule, apply_rule, default_rules, parse_rule

TYPE_CHECKING = False  # importing typing takes milliseconds
if TYPE_CHECKING:
    from collections.abc import Callable

MODES = ("init", "run", "cleanup", "version", "check-config", "print-cg-root")
FLAGS = ("cg", "full-env", "no-default-dirs", "share-net", "silent", "stderr-to-stdout", "wait")
SHORT = {
    "b": "box-id",
    "c": "chdir",
    "d": "dir",
    "D": "no-default-dirs",
    "e": "full-env",
    "E": "env",
    "f": "fsize",
    "i": "stdin",
    "k": "stack",
    "m": "mem",
    "M": "meta",
    "n": "open-files",
    "o": "stdout",
    "p": "processes",
    "q": "quota",
    "r": "stderr",
    "s": "silent",
    "t": "time",
    "v": "verbose",
    "w": "wall-time",
    "x": "extra-time",
}
LAST_BOX = 999


class Options:
    """Parsed command line. None as a limit means no limit."""

    def __init__(self) -> None:
        self.mode = ""
        self.command: list[str] = []
        self.box_id = 0
        self.meta: str | None = None
        self.stdin: str | None = None
        self.stdout: str | None = None
        self.stderr: str | None = None
        self.stderr_to_stdout = False
        self.chdir = "box"
        self.time_s: float | None = None
        self.wall_time_s: float | None = None
        self.extra_time_s: float | None = None
        self.mem_kib: int | None = None
        self.stack_kib: int | None = None
        self.fsize_kib: int | None = None
        self.core_kib = 0
        self.open_files: int | None = 64
        self.processes: int | None = 1
        self.cg = False
        self.cg_mem_kib: int | None = None
        self.env: list[str] = ["LIBC_FATAL_STDERR_=1"]
        self.full_env = False
        self.dir: list[Rule] = []
        self.no_default_dirs = False
        self.share_net = False
        self.silent = False
        self.verbose = 0
        self.wait = False

    def directories(self) -> list[Rule]:
        """Return the directory rules in force, in the order of mounting."""
        rules = {} if self.no_default_dirs else {rule.inside: rule for rule in default_rules()}
        for rule in self.dir:
            apply_rule(rules, rule)
        return list(rules.values())

    def environment(self, inherited: dict[bytes, bytes]) -> dict[bytes, bytes]:
        """Return the program's environment, given the environment of this process."""
        result = dict(inherited) if self.full_env else {}
        for rule in self.env:
            name, assigns, value = rule.encode(errors="surrogateescape").partition(b"=")
            if assigns and not value:
                result.pop(name, None)
            elif assigns:
                result[name] = value
            elif name in inherited:
                result[name] = inherited[name]
        return result


def parse(arguments: list[str], options: Options) -> None:
    """Fill in `options`; after a UsageError they hold what was read until then, so that `meta` is known."""
    rest = list(arguments)
    while rest and rest[0].startswith("-") and rest[0] != "-":
        word = rest.pop(0)
        if word == "--":
            break
        if word.startswith("--"):
            name, assigns, value = word[2:].partition("=")
            _take(options, name, value if assigns else None, rest)
        else:
            _take_short(options, word[1:], rest)
    options.command = rest
    _check(options)


def _take_short(options: Options, letters: str, rest: list[str]) -> None:
    """Read one word of short options: letters without arguments, then perhaps one with its argument."""
    while letters:
        letter, letters = letters[0], letters[1:]
        if letter not in SHORT:
            raise UsageError(f"invalid option -- '{letter}'")
        name = SHORT[letter]
        if name in FLAGS or name == "verbose":
            _take(options, name, None, rest)
        else:
            _take(options, name, letters or None, rest)
            return


def _take(options: Options, name: str, value: str | None, rest: list[str]) -> None:
    """Read one option; its argument is `value`, or else the first word of `rest`."""
    if name in VALUES:
        if value is None:
            if not rest:
                raise UsageError(f"option requires an argument -- '{name}'")
            value = rest.pop(0)
        _set(options, name, value)
    elif name == "processes":
        options.processes = None if value is None else _size(value)
    elif name not in FLAGS and name not in MODES and name != "verbose":
        raise UsageError(f"unrecognized option '--{name}'")
    elif value is not None:
        raise UsageError(f"option '--{name}' doesn't allow an argument")
    elif name == "verbose":
        options.verbose += 1
    elif name in FLAGS:
        setattr(options, name.replace("-", "_"), True)
    elif options.mode:
        raise UsageError("Only one command is allowed.")
    else:
        options.mode = name


def _set(options: Options, name: str, value: str) -> None:
    """Set an option with an argument: the last value counts, but rules are collected."""
    attribute, convert = VALUES[name]
    many = getattr(options, attribute)
    if isinstance(many, list):
        many.append(convert(value))
    else:
        setattr(options, attribute, convert(value))


def _check(options: Options) -> None:
    if not options.mode:
        raise UsageError("Please specify an isolate command (e.g. --init, --run).")
    if options.mode == "run" and not options.command:
        raise UsageError("--run mode requires a command to run")
    if options.mode != "run" and options.command:
        raise UsageError(f"--{options.mode} mode takes no parameters")
    if options.cg_mem_kib is not None and not options.cg:
        raise UsageError("Options related to control groups require --cg to be set.")
    if options.stderr is not None and options.stderr_to_stdout:
        raise UsageError("--stderr and --stderr-to-stdout exclude each other")


def _box_id(text: str) -> int:
    number = _number(text)
    if number > LAST_BOX:
        raise UsageError(f"Sandbox ID out of range (allowed: 0-{LAST_BOX})")
    return number


def _number(text: str) -> int:
    # Numbers with more digits do not fit the kernel's counters of bytes.
    if not (text.isascii() and text.isdigit() and len(text) <= 15):
        raise UsageError(f"Invalid numeric parameter: {text}")
    return int(text)


def _size(text: str) -> int | None:
    return _number(text) or None


def _seconds(text: str) -> float | None:
    """Parse seconds with a fraction. Less than a millisecond would round to 0, which means no limit."""
    whole, _, fraction = text.partition(".")
    digits = whole + fraction
    if not (digits.isascii() and digits.isdigit() and len(whole) <= 9):
        raise UsageError(f"Invalid numeric parameter: {text}")
    seconds = float(text)
    if 0 < seconds < 0.001:
        raise UsageError(f"Invalid numeric parameter: {text} (less than a millisecond)")
    return seconds or None


def _variable(text: str) -> str:
    if not text or text.startswith("="):
        raise UsageError(f"Invalid environment rule '{text}'")
    return text


def _no_quota(_text: str) -> None:
    raise UsageError("Disk quotas are not supported by this sandbox.")


VALUES: dict[str, tuple[str, Callable[[str], object]]] = {
    "box-id": ("box_id", _box_id),
    "chdir": ("chdir", str),
    "cg-mem": ("cg_mem_kib", _size),
    "core": ("core_kib", _number),
    "dir": ("dir", parse_rule),
    "env": ("env", _variable),
    "extra-time": ("extra_time_s", _seconds),
    "fsize": ("fsize_kib", _size),
    "mem": ("mem_kib", _size),
    "meta": ("meta", str),
    "open-files": ("open_files", _size),
    "quota": ("mode", _no_quota),
    "stack": ("stack_kib", _size),
    "stderr": ("stderr", str),
    "stdin": ("stdin", str),
    "stdout": ("stdout", str),
    "time": ("time_s", _seconds),
    "wall-time": ("wall_time_s", _seconds),
}
