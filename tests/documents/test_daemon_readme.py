"""daemon/README.md leads to what is there."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "daemon" / "verdictd"
TEXT = (ROOT / "daemon" / "README.md").read_text()
ROOMS = re.findall(r"^\| `(\w+)` \|", TEXT, re.MULTILINE)
PATHS = sorted(set(re.findall(r"`([a-z_/]+(?:\.py|\.toml|/))`", TEXT)) - {"pyproject.toml", "build/"})
NAMES = sorted(set(re.findall(r"`([a-z_/]+\.py)`\s+`([\w.]+)`", TEXT)))


def test_table_has_every_room() -> None:
    """Folders and files, in the order of the import contract."""
    rooms = {
        path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    (layers,) = (
        contract["layers"]
        for contract in settings["tool"]["importlinter"]["contracts"]
        if contract["name"] == "rooms"
    )
    order = {room: floor for floor, layer in enumerate(layers) for room in layer.split(" | ")}

    assert rooms - {"__init__"} == set(ROOMS)
    assert ROOMS == sorted(ROOMS, key=lambda room: order[room])


def test_paths_exist() -> None:
    """In the package, or in the repository."""
    assert len(PATHS) > 50
    assert [] == [path for path in PATHS if not ((PACKAGE / path).exists() or (ROOT / path).exists())]


def test_functions_and_classes_are_in_their_files() -> None:
    """A method is found by its class and its own name."""
    assert len(NAMES) > 30
    for path, name in NAMES:
        source = (PACKAGE / path).read_text()
        for part in name.split("."):
            assert re.search(rf"^\s*(?:async )?(?:def|class) {part}\b", source, re.MULTILINE), (path, name)


def test_newcomer_finds_these_in_one_step() -> None:
    """A checker, a reply, a reset."""
    table = TEXT[TEXT.index("## Where is it") : TEXT.index("## Decisions")]

    for subject, path in [
        ("add a checker", "judging/checkers/"),
        ("a reply is published", "amqp/publisher.py` `Publisher.publish"),
        ("a box is reset", "sandbox/box.py` `Box.reset"),
    ]:
        (row,) = (row for row in table.splitlines() if subject in row)
        assert path in row
