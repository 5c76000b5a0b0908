"""The embedded sandbox's directory rules mean what isolate's mean."""

import pytest

from verdictd.sandbox.embedded.faults import UsageError
from verdictd.sandbox.embedded.options import Options, parse
from verdictd.sandbox.embedded.rules import parse_rule


def directories(*arguments: str) -> list[tuple[str, str, set[str]]]:
    """The rules in force for a run, as (inside, outside, options)."""
    options = Options()
    parse([*arguments, "--run", "--", "/bin/true"], options)
    return [(rule.inside, rule.outside, set(rule.options)) for rule in options.directories()]


def test_default_rules_are_those_of_isolate() -> None:
    """Without rules of its own a program sees these directories, in this order."""
    expected = [
        ("box", "./box", {"rw"}),
        ("bin", "/bin", set()),
        ("dev", "/dev", {"dev"}),
        ("dev/shm", "tmpfs", {"fs", "rw"}),
        ("lib", "/lib", set()),
        ("lib64", "/lib64", {"maybe"}),
        ("proc", "proc", {"fs"}),
        ("tmp", "", {"tmp"}),
        ("usr", "/usr", set()),
    ]

    assert expected == directories()


def test_default_dev_has_harmless_devices_only() -> None:
    """The host's disks are not even visible, unless a rule binds the whole of /dev."""
    options = Options()
    parse(["--run", "--", "/bin/true"], options)

    assert ["dev"] == [rule.inside for rule in options.directories() if rule.devices_only]


def test_no_default_dirs_leaves_only_the_given_rules() -> None:
    """With -D nothing is seen that was not asked for."""
    assert [("a/b", "/etc", {"noexec"})] == directories("-D", "-d", "/a//b/=/etc:noexec")


def test_single_directory_is_bound_to_its_own_name() -> None:
    """`dir:options` binds the host's directory of that name."""
    rule = parse_rule("opt/jdk:maybe")

    assert ("opt/jdk", "/opt/jdk", {"maybe"}) == (rule.inside, rule.outside, set(rule.options))


def test_replacing_rule_keeps_the_place_of_the_replaced() -> None:
    """The order of rules matters, so a replacement does not move to the end."""
    assert ("lib", "/opt/lib", set()) == directories("-d", "lib=/opt/lib")[4]


def test_rule_with_empty_right_side_removes() -> None:
    """`in=` takes a rule away, a default one too."""
    assert "proc" not in [inside for inside, _, _ in directories("-d", "proc=")]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("x=/y:bogus", "Unknown option 'bogus'"),
        ("../x=/etc", "Invalid path"),
        ("a/./b=/etc", "Invalid path"),
        ("/", "Invalid path"),
        ("=/etc", "Invalid path"),
        ("x=etc", "Right-hand side must start with '/' or './'"),
        ("x=s:tmp", "Temporary directory mounts do not have a right-hand side"),
        ("x=ext4:fs", "This filesystem is not supported"),
        ("proc:fs", "This filesystem is not supported"),
    ],
)
def test_invalid_rule_says_why(text: str, problem: str) -> None:
    """A rule that means nothing is a usage error, in isolate's words."""
    with pytest.raises(UsageError) as caught:
        parse_rule(text)

    assert f"Invalid directory rule '{text}': {problem}" == str(caught.value)
