"""Directory rules: parts of the host's file system that a box sees, and with which rights."""

from verdictd.sandbox.embedded.faults import UsageError

FILESYSTEMS = ("proc", "sysfs", "tmpfs", "devpts")
OPTIONS = ("rw", "dev", "noexec", "maybe", "fs", "tmp", "norec")
DEFAULTS = (
    "box=./box:rw",
    "bin",
    "dev",
    "dev/shm=tmpfs:fs:rw",
    "lib",
    "lib64:maybe",
    "proc=proc:fs",
    "tmp:tmp",
    "usr",
)


class Rule:
    """One directory of a box.

    `outside` is a path on the host, or relative to the box's own directory if it starts with `./`. With the
    option `fs` it is the name of a file system. It is empty with `tmp`; without `tmp`, empty removes a rule.
    """

    __slots__ = ("devices_only", "inside", "options", "outside")

    def __init__(
        self, inside: str, outside: str, options: frozenset[str], *, devices_only: bool = False
    ) -> None:
        self.inside = inside
        self.outside = outside
        self.options = options
        self.devices_only = devices_only

    @property
    def removes(self) -> bool:
        """Return whether this rule only removes the one for the same directory."""
        return not self.outside and "tmp" not in self.options


def parse_rule(text: str) -> Rule:
    """Parse a rule of the form `in=out:options`, `dir:options` or `in=`."""
    left, assigns, right = text.partition("=")
    if assigns:
        outside, *words = right.split(":")
    else:
        left, *words = left.split(":")
        outside = "" if "tmp" in words else f"/{left}"
    options = frozenset(words)
    problem = _problem(left, outside, options, assigned=bool(assigns))
    if problem:
        raise UsageError(f"Invalid directory rule '{text}': {problem}")
    return Rule("/".join(filter(None, left.split("/"))), outside, options)


def default_rules() -> list[Rule]:
    """Return the rules that hold by default.

    Of the host's /dev only harmless devices are included: a caller in the group of a disk must not pass that
    access on to the program.
    """
    rules = [parse_rule(text) for text in DEFAULTS]
    return [
        Rule("dev", "/dev", frozenset(("dev",)), devices_only=True) if rule.inside == "dev" else rule
        for rule in rules
    ]


def apply_rule(rules: dict[str, Rule], rule: Rule) -> None:
    """Add a rule to earlier ones; it takes the place of a rule for the same directory."""
    if rule.removes:
        rules.pop(rule.inside, None)
    else:
        rules[rule.inside] = rule


def _problem(inside: str, outside: str, options: frozenset[str], *, assigned: bool) -> str | None:
    for option in sorted(options):
        if option not in OPTIONS:
            return f"Unknown option '{option}'"
    parts = [part for part in inside.split("/") if part]
    if not parts or "." in parts or ".." in parts:
        return "Invalid path"
    if "tmp" in options:
        return "Temporary directory mounts do not have a right-hand side" if assigned else None
    if "fs" in options:
        return None if assigned and outside in FILESYSTEMS else "This filesystem is not supported"
    if outside and not outside.startswith(("/", "./")):
        return "Right-hand side must start with '/' or './'"
    return None
