"""Makes the machine, installs the service in it, tries each check, and shows a table."""

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.text import Text

from harness.vm import faults, hostile, starting
from harness.vm.image import BuildFailed, image
from harness.vm.judge_box import CheckFailed, JudgeBox, Skipped
from harness.vm.machine import MachineFailed, machine

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "build" / "systemd"
PYTHON = "3.11"  # of the Debian in the machine

Check = Callable[[JudgeBox], str]

CHECKS: tuple[Check, ...] = (
    starting.service_runs_as_its_user,
    starting.units_are_valid,
    starting.hardening_is_as_the_readme_says,
    starting.status_has_boxes_and_rates,
    starting.metrics_know_the_process,
    starting.journal_has_its_fields,
    starting.errors_have_their_priority,
    starting.settings_error_is_final_and_in_the_status,
    starting.credentials_are_settings,
    starting.instances_share_a_host,
    faults.isolate_judges_with_control_groups,
    faults.embedded_judges_with_control_groups,
    faults.isolate_judges_as_root,
    faults.embedded_judges_as_root,
    faults.watchdog_restarts_what_hangs,
    faults.stop_drains,
    faults.restarts_under_load_lose_nothing,
    faults.killed_daemon_loses_nothing,
    faults.keeper_of_groups_comes_back,
    faults.stopped_keeper_stops_the_service_and_starts_it,
    faults.missing_isolate_costs_no_submission,
    faults.deleted_queue_comes_back,
    faults.reboot_loses_nothing,
    starting.ready_means_consuming,
    hostile.busy_box_has_its_share_in_isolate,
    hostile.busy_box_has_its_share_in_embedded,
    hostile.two_daemons_bear_hostile_programs,
    hostile.two_daemons_bear_them_without_groups,
)

console = Console(highlight=False, soft_wrap=True)


def main() -> int:
    """Run the checks; 0 if none failed."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends the machine too, as Ctrl-C does
    parser = argparse.ArgumentParser(prog="make systemd-test", description=__doc__)
    parser.add_argument(
        "--isolate", type=Path, help="a folder with a built isolate; else its checks are skipped"
    )
    parser.add_argument(
        "--only", default="", help="only the checks whose names this regular expression finds"
    )
    arguments = parser.parse_args()
    wanted = [check for check in CHECKS if re.search(arguments.only, check.__name__)]
    began_s = time.monotonic()
    try:
        say(began_s, "making the image of the machine, where there is none of this recipe")
        made = image(FOLDER, arguments.isolate)
        with tempfile.TemporaryDirectory(prefix="verdictd-wheels-") as folder:
            wheels(Path(folder))
            say(began_s, "starting the machine; it is emulated, and slow")
            with machine(made, FOLDER / "run") as running:
                box = JudgeBox(running, has_isolate=made.has_isolate)
                running.run("systemctl start rabbitmq-server && rabbitmqctl -q await_startup")
                say(began_s, "installing the service as systemd/README.md says")
                box.install(Path(folder))
                failed = [check for check in wanted if not show(began_s, check, box)]
    except (BuildFailed, MachineFailed, CheckFailed) as error:
        console.print(Text(f"FAILED: {error}", "bold red"))
        return 1
    except KeyboardInterrupt:
        return 130
    say(began_s, f"{len(wanted)} checks, {len(failed)} failed")
    return 1 if failed else 0


def say(began_s: float, text: str, style: str = "") -> None:
    """One line, with the time since the start."""
    console.print(Text(f"{time.monotonic() - began_s:6.0f} s  {text}", style))


def show(began_s: float, check: Check, box: JudgeBox) -> bool:
    """Try a check and show its row; False if it failed."""
    try:
        box.start()  # where the check before has failed in the middle
        outcome, found, style = "passed", check(box), "green"
    except Skipped as skipped:
        outcome, found, style = "skipped", str(skipped), "yellow"
    except (CheckFailed, MachineFailed) as error:
        outcome, found, style = "FAILED", str(error), "bold red"
    name = check.__name__.replace("_", " ")
    say(began_s, f"{outcome:<8} {name:<41} {found}", style)
    return outcome != "FAILED"


def wheels(folder: Path) -> None:
    """The package of this checkout, and what it needs, for the Python in the machine."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-qq"]
    quiet = {**os.environ, "PIP_NO_INPUT": "1"}
    subprocess.run(
        [*pip, "wheel", "--no-deps", "--wheel-dir", folder, ROOT], env=quiet, timeout=300, check=True
    )
    (wheel,) = folder.glob("verdictd-*.whl")
    platforms = [
        f"--platform={name}_x86_64" for name in ("manylinux2014", "manylinux_2_17", "manylinux_2_28")
    ]
    subprocess.run(
        [
            *pip,
            "download",
            "--only-binary=:all:",
            f"--python-version={PYTHON}",
            *platforms,
            "--dest",
            folder,
            wheel,
        ],
        env=quiet,
        timeout=600,
        check=True,
    )


if __name__ == "__main__":
    sys.exit(main())
