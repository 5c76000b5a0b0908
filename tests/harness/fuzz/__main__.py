"""Fuzz what reads bytes of strangers: `python -m harness.fuzz [NAME ...]`; without names all, one by one."""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from harness.fuzz.seeds import SEEDS

SECONDS_OF_ALL = 50  # a start takes a few more


def main() -> int:
    """Run the targets; return 1 if one of them found anything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(SEEDS)}")
    parser.add_argument("--seconds", type=int, default=SECONDS_OF_ALL, help="for all together")
    options = parser.parse_args()
    names = options.names or [*SEEDS]
    return max([run(name, options.seconds // len(names)) for name in names])


def run(name: str, seconds: int) -> int:
    """Run one target in a process of its own; libFuzzer prints what it finds, and how to repeat it."""
    with tempfile.TemporaryDirectory(prefix="verdictd-fuzz-") as directory:
        corpus = Path(directory)
        for number, seed in enumerate(SEEDS[name]):
            (corpus / str(number)).write_bytes(seed)
        target = [sys.executable, "-m", "harness.fuzz.target", name]
        bounds = [f"-max_total_time={seconds}", "-max_len=4096", "-timeout=10", "-rss_limit_mb=1024"]
        # What is found is printed in base64 as well.
        ended = subprocess.run([*target, directory, *bounds, f"-artifact_prefix={directory}/"], check=False)
    return min(ended.returncode, 1) if ended.returncode >= 0 else 1


if __name__ == "__main__":
    sys.exit(main())
