"""An ordinary user: runs a command without root's rights, with Python and the package in sight."""

import os
import stat
import sys
from pathlib import Path

import pytest

import verdictd

_NEEDED = sorted({Path(sys.prefix), Path(sys.base_prefix), Path(verdictd.__file__).parent.parent})
_NOBODY = "65534"

# In a mount namespace, folders that others must not enter are replaced by such that hold only what is needed.
_SCRIPT = """
set -e
limit=$1 stage=$2; shift 2
while [ "$1" != -- ]; do
    mount -t tmpfs -o mode=755 none "$stage"
    closed=$1 count=$2; shift 2
    for _ in $(seq "$count"); do
        mkdir -p "$stage/${1#"$closed"/}"
        mount --bind "$1" "$stage/${1#"$closed"/}"
        shift
    done
    mount --rbind "$stage" "$closed"
done
shift
cd /
exec prlimit --nofile="$limit:$limit" \\
    setpriv --reuid=NOBODY --regid=NOBODY --clear-groups --pdeathsig KILL "$@"
"""


def ordinary_user(stage: Path, *, open_files: int) -> list[str]:
    """A command that becomes the one given to it, as an ordinary user; only root can do that.

    `stage` is an empty folder of the caller's.
    """
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    closed: dict[Path, list[str]] = {}
    for path in _NEEDED:
        ancestors = [*reversed(path.resolve().parents)]
        outermost = next((each for each in ancestors if not each.stat().st_mode & stat.S_IXOTH), None)
        if outermost is not None:
            closed.setdefault(outermost, []).append(str(path.resolve()))
    folders = [word for each, paths in closed.items() for word in (str(each), str(len(paths)), *paths)]
    script = _SCRIPT.replace("NOBODY", _NOBODY)
    return ["unshare", "--mount", "sh", "-c", script, "sh", str(open_files), str(stage), *folders, "--"]


def require_set_uid(isolate: str | None) -> None:
    """Skip a test where there is no isolate that an ordinary user can run."""
    if isolate is None or not Path(isolate).stat().st_mode & stat.S_ISUID:
        pytest.skip("there is no isolate here that is set-uid")
