"""systemd/verdictd.toml says what the code does."""

import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import annotated_types
import pytest
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from verdictd.cli.configuration import load
from verdictd.settings import Settings

FILE = Path(__file__).parents[2] / "systemd" / "verdictd.toml"
TEXT = FILE.read_text()
SETTING = re.compile(r"^#(([a-z_]+)\.([a-z_]+) = .*)$", re.MULTILINE)
DOCUMENTED = tomllib.loads(SETTING.sub(r"\1", TEXT))
CHOSEN, RARE = (
    [(found[2], found[3]) for found in SETTING.finditer(part)]
    for part in TEXT.split("# ---- Rarely needed", maxsplit=1)
)


def fields() -> Iterator[tuple[str, str, FieldInfo]]:
    for section, described in Settings.model_fields.items():
        assert isinstance(described.annotation, type)
        assert issubclass(described.annotation, BaseModel)
        for name, field in described.annotation.model_fields.items():
            yield section, name, field


def plain(value: object) -> object:
    """A default as TOML would give it."""
    match value:
        case SecretStr():
            return value.get_secret_value()
        case Path():
            return str(value)
        case BaseModel():
            return value.model_dump()
        case tuple():
            return [plain(item) for item in value]
        case _:
            return value


def comment(section: str, name: str) -> str:
    """The comment above a setting, or above the settings that it is grouped with."""
    (group,) = (
        group for group in TEXT.split("\n\n") if re.search(rf"^#{section}\.{name} = ", group, re.MULTILINE)
    )
    return " ".join(line.removeprefix("# ") for line in group.splitlines() if line.startswith("# "))


def bounds(field: FieldInfo) -> str:
    """The bounds of a number in the words of the file; empty where it has none."""
    least = more_than = most = None
    for bound in field.metadata:
        match bound:
            case annotated_types.Ge():
                least = bound.ge
            case annotated_types.Gt():
                more_than = bound.gt
            case annotated_types.Le():
                most = bound.le
    if least is not None:
        return f"at least {least}" if most is None else f"{least} to {most}"
    return "" if more_than is None else f"more than {more_than}, at most {most}"


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting from the machine that the tests run on."""
    for name in ("CREDENTIALS_DIRECTORY", *(name for name in os.environ if name.startswith("VERDICTD_"))):
        monkeypatch.delenv(name, raising=False)


def test_file_as_it_is_changes_nothing() -> None:
    """Every setting in it is commented out."""
    assert Settings().model_dump() == load(FILE).model_dump()
    assert {} == tomllib.loads(TEXT)


def test_file_has_every_setting_and_no_other() -> None:
    """Once each."""
    assert sorted((section, name) for section, name, _ in fields()) == sorted([*CHOSEN, *RARE])


def test_settings_that_an_operator_chooses_stand_first() -> None:
    """They are few; the rest follows in the order of the code."""
    in_order = [(section, name) for section, name, _ in fields() if (section, name) not in CHOSEN]
    known = list(Settings.model_fields)

    assert len(CHOSEN) <= 15
    assert ("broker", "url") == CHOSEN[0]
    assert in_order == sorted(RARE, key=lambda setting: known.index(setting[0]))


def test_settings_are_documented_with_their_defaults_and_bounds() -> None:
    """Where there is no default, the file says what holds instead, and has an example."""
    for section, name, field in fields():
        said = comment(section, name)

        assert bounds(field) in said, (section, name)
        if field.default is None:
            assert "efault: " in said, (section, name)
        else:
            assert plain(field.default) == DOCUMENTED[section][name], (section, name)


def test_examples_in_the_file_are_right(tmp_path: Path) -> None:
    """With every line uncommented it is still a settings file."""
    file = tmp_path / "verdictd.toml"
    file.write_text(SETTING.sub(r"\1", TEXT))

    assert (4, Path("/etc/verdictd/ca.pem")) == (load(file).sandbox.boxes, load(file).broker.ca_file)
