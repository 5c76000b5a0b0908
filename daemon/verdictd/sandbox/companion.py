"""The second box of a place in the pool: for programs of the problem's author, such as checkers.

A place has both, so that they are leased together and nobody who has one waits for the other. The second one
is made when a submission first asks for it, and from then on reset, recovered and removed with the first one.
"""

from verdictd.sandbox import recovery
from verdictd.sandbox.box import Box


async def companion(box: Box) -> Box:
    """Return the second box of a leased one, clean and for the time of the lease; raises SandboxBroken.

    The tested program was never in it.
    """
    second = box.companion
    if second is None:
        raise RuntimeError(f"box {box.number} has no companion")
    if not second.needed:
        second.needed = True
        await recovery.recover(second)
    return second


async def recover(box: Box) -> int:
    """Recover the box, and the second one if it is needed, or was left by a killed daemon."""
    killed = await recovery.recover(box)
    second = box.companion
    if second is not None and (second.needed or second.exists):
        second.needed = True
        killed += await recovery.recover(second)
    return killed


async def reset(box: Box) -> None:
    """Reset the box, and the second one if something ran in it. Raises SandboxBroken."""
    await box.reset()
    if box.companion is not None and box.companion.needed:
        await box.companion.ready()


async def cleanup(box: Box) -> None:
    """Remove the box, and the second one if it was made. Raises SandboxBroken."""
    await box.cleanup()
    if box.companion is not None and box.companion.needed:
        await box.companion.cleanup()
