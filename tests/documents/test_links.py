"""Links between the documents lead somewhere."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    *sorted(ROOT.glob("*.md")),
    *(ROOT / name / "README.md" for name in ("schemas", "systemd", "daemon")),
]


def prose(file: Path) -> str:
    """The text of a document without its code blocks."""
    return re.sub(r"```.*?```", "", file.read_text(), flags=re.DOTALL)


def anchors(file: Path) -> set[str]:
    """The headings of a document as GitHub names them."""
    headings = re.findall(r"^#+ (.*)$", prose(file), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("file", DOCUMENTS, ids=lambda file: str(file.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(file: Path) -> None:
    """Of this document and of others."""
    for link in re.findall(r"\]\((?!https?:)([^)]+)\)", prose(file)):
        path, _, heading = link.partition("#")
        target = file.parent / path if path else file

        assert target.exists(), link
        assert not heading or heading in anchors(target), link
