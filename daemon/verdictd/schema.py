"""JSON schemas (to be replaced by the full module)."""

from pathlib import Path


def write(directory: Path) -> None:
    """Write the schemas."""
