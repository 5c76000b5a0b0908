"""Directory rules: what of the host is seen inside a box, and how."""

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

    `outside` is a path of the host, or from the box's own directory where it starts with `./`. With the
    option `fs` it is a file system's name; with `tmp` it is empty. Empty without `tmp`, it removes a rule.
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
        """Whether this rule only takes away the one for the same directory."""
        return not self.outside and "tmp" not in self.options


def parse_rule(text: str) -> Rule:
    """The rule `in=out:options`, `dir:options` or `in=`."""
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
    """The rules that hold without being asked for.

    Of the host's /dev only the harmless devices are taken: whoever holds a disk's group must not lend it.
    """
    rules = [parse_rule(text) for text in DEFAULTS]
    return [
        Rule("dev", "/dev", frozenset(("dev",)), devices_only=True) if rule.inside == "dev" else rule
        for rule in rules
    ]


def apply_rule(rules: dict[str, Rule], rule: Rule) -> None:
    """Add a rule to those before it; one for the same directory keeps the place of the one it replaces."""
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
