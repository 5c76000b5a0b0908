"""Installation, start, settings, credentials, journal, instances: the service without faults."""

import re
import time
from functools import partial

from harness.vm.judge_box import README, JudgeBox, require
from harness.vm.submissions import HELLO, SLEEP

UNITS = ("verdictd.service", "verdictd@two.service", "isolate.service")


def units_are_valid(box: JudgeBox) -> str:
    """systemd itself finds nothing to complain about in what was installed."""
    units = [unit for unit in UNITS if box.has_isolate or not unit.startswith("isolate")]
    said = box.machine.try_(f"systemd-analyze verify --man=no {' '.join(units)}")
    ours = [line for line in said.out.splitlines() if "verdictd" in line]
    require(said.code == 0 and not ours, said.out)
    return f"{len(units)} units, no complaint"


def hardening_is_as_the_readme_says(box: JudgeBox) -> str:
    """`systemd-analyze security` gives the figures of the README for both variants."""
    said = dict(re.findall(r"^\| (user|root) \| ([\d.]+) \|", README.read_text(), re.MULTILINE))
    found = {"user": _exposure(box)}
    box.machine.run("/opt/verdictd/bin/verdictd systemd --write --as-root && systemctl daemon-reload")
    found["root"] = _exposure(box)
    box.machine.run("rm -r /usr/local/lib/systemd/system/verdictd*.service.d && systemctl daemon-reload")
    require(found == said, f"{found}, in the README {said}")
    return f"exposure {found['user']} as user, {found['root']} as root"


def _exposure(box: JudgeBox) -> str:
    out = box.machine.run("systemd-analyze security --no-pager verdictd.service || true")
    level = re.search(r"Overall exposure level for \S+: ([\d.]+)", out)
    require(level, out[-300:])
    assert level is not None
    return level[1]


def service_runs_as_its_user(box: JudgeBox) -> str:
    """What the README started is ready, and is no root."""
    require(box.show("ActiveState") == "active", box.machine.try_("systemctl status verdictd").out)
    user = box.machine.run("ps -o user= -p $(systemctl show -P MainPID verdictd)")
    require(user == "verdictd", user)
    return f"active, as user {user}"


def ready_means_consuming(box: JudgeBox) -> str:
    """The start waits for a broker that is away, beyond TimeoutStartSec, and ends with the consumer."""
    box.machine.run("systemctl stop rabbitmq-server")
    with box.drop_in("TimeoutStartSec=20"):
        box.machine.run("systemctl start --no-block verdictd")
        time.sleep(45)
        state, text = box.show("ActiveState"), box.show("StatusText")
        require(state == "activating" and "not connected to RabbitMQ" in text, f"{state}: {text}")
        box.machine.run("systemctl start rabbitmq-server && rabbitmqctl -q await_startup")
        waited_s = box.wait_for("active")
        consumers = box.machine.run("rabbitmqctl -q list_consumers queue_name")
        require("verdictd.submissions" in consumers, consumers)
    box.start()
    return f"activating for 45 s with 'not connected', active {waited_s:.0f} s after RabbitMQ"


def status_has_boxes_and_rates(box: JudgeBox) -> str:
    """`systemctl status` says what it does."""
    ids = box.publish(SLEEP, 1)
    box.machine.wait_until("a busy box", lambda: "1 of 2 boxes busy" in box.show("StatusText"))
    box.collect(ids)
    box.machine.wait_until("an idle box", lambda: "0 of 2 boxes busy" in box.show("StatusText"))
    text = box.show("StatusText")
    require(
        re.fullmatch(r"judging: 0 of 2 boxes busy, \d+ answered in the last minute \([\d.]+/s\)", text), text
    )
    return text


def metrics_know_the_process(box: JudgeBox) -> str:
    """No hardening takes away what the alert rules look at."""
    wanted = (
        "process_start_time_seconds",
        "process_open_fds",
        "process_resident_memory_bytes",
        "verdictd_ready",
    )
    with box.drop_in("Environment=VERDICTD_HTTP__ENABLED=true"):
        box.start()
        fetch = (
            "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8080/metrics').read().decode())"
        )
        lines = box.machine.run(f'python3 -c "{fetch}"').splitlines()
        found = {line.split()[0]: line.split()[1] for line in lines if line.startswith(wanted)}
    require(set(wanted) == set(found), found)
    return ", ".join(f"{name} {value}" for name, value in found.items())


def settings_error_is_final_and_in_the_status(box: JudgeBox) -> str:
    """Exit code 78 is not restarted, and `systemctl status` names the setting."""
    with box.drop_in("Environment=VERDICTD_SANDBOX__BOXES=0"):
        cursor = box.cursor()
        box.machine.try_("systemctl start verdictd")
        box.wait_for("failed")
        time.sleep(10)
        found = [box.show(name) for name in ("ActiveState", "ExecMainStatus", "NRestarts")]
        require(found == ["failed", "78", "0"], found)
        status = box.machine.try_("systemctl status --no-pager verdictd").out
        require(re.search(r'Status: ".*sandbox\.boxes', status), status)
        said = [entry for entry in box.journal(cursor) if "sandbox.boxes" in str(entry["MESSAGE"])]
        require([entry["PRIORITY"] for entry in said] == ["3"], f"in the journal: {said}")
        text = box.show("StatusText")
    box.start()
    return f"failed with 78 and no restart; status: {text}"


def credentials_are_settings(box: JudgeBox) -> str:
    """The broker's URL and the secrets of webhooks come from files that only root reads."""
    box.machine.run(
        "rabbitmqctl -q add_user judge s3cret && rabbitmqctl -q add_vhost judge && "
        "rabbitmqctl -q set_permissions -p judge judge '.*' '.*' '.*'"
    )
    url, folder = "amqp://judge:s3cret@127.0.0.1:5672/judge", "/etc/verdictd/credentials"
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    before = box.machine.run(f"cat {folder}/broker__url")
    box.machine.write(f"{folder}/broker__url", url, 0o600)
    box.machine.write(f"{folder}/callbacks__secrets", secret, 0o600)
    try:
        callbacks = {"ENABLED": "true", "ALLOW_NETWORKS": "127.0.0.0/8", "ALLOW_PORTS": "8081"}
        with box.drop_in(
            *(f"Environment=VERDICTD_CALLBACKS__{key}={text}" for key, text in callbacks.items())
        ):
            box.start()
            consumers = box.machine.run("rabbitmqctl -q list_consumers -p judge queue_name")
            require("verdictd.callbacks" in consumers, consumers)
            signature = _callback_signature(box, url)
            seen = box.machine.run(
                "systemctl show verdictd; cat /proc/$(systemctl show -P MainPID verdictd)/environ"
            )
            require("s3cret" not in seen and secret not in seen, "a secret can be seen")
            reads = box.machine.try_(f"setpriv --reuid=verdictd --clear-groups cat {folder}/broker__url")
            require(reads.code != 0, "the user of the service reads the file")
    finally:
        box.machine.write(f"{folder}/broker__url", before, 0o600)
        box.machine.run(f"rm {folder}/callbacks__secrets")
    box.start()
    return f"consumes on the credential's virtual host; callback signed {signature}"


def _callback_signature(box: JudgeBox, url: str) -> str:
    """Receive one callback in the machine; its signature."""
    receiver = (
        "import http.server as h\n"
        "class R(h.BaseHTTPRequestHandler):\n"
        "    def do_POST(self):\n"
        "        print(self.headers['webhook-signature'], flush=True)\n"
        "        self.send_response(204); self.end_headers()\n"
        "server = h.HTTPServer(('127.0.0.1', 8081), R)\n"
        "print('listening', flush=True)\n"
        "server.handle_request()\n"
    )
    box.machine.write("/root/receiver.py", receiver)
    box.machine.run("systemd-run --quiet --unit=receiver python3 /root/receiver.py")
    said = partial(box.machine.run, "journalctl --sync; journalctl -o cat -u receiver")
    box.machine.wait_until("receiver", lambda: "listening" in said())
    box.publish(HELLO | {"callback_url": "http://127.0.0.1:8081/"}, url=url)
    box.machine.wait_until("callback", lambda: "v1," in said())
    signature = re.search(r"v1,\S{8}", said())
    require(signature, "not signed")
    assert signature is not None
    return signature[0]


def journal_has_its_fields(box: JudgeBox) -> str:
    """Each line is found by unit and identifier, is JSON, and has the priority of its level."""
    cursor = box.cursor()
    box.restart()
    box.judge(HELLO)
    (line,) = [entry for entry in box.journal(cursor) if "submission.answered" in str(entry["MESSAGE"])]
    fields = {name: line.get(name) for name in ("_SYSTEMD_UNIT", "SYSLOG_IDENTIFIER", "PRIORITY")}
    expected = {"_SYSTEMD_UNIT": "verdictd.service", "SYSLOG_IDENTIFIER": "verdictd", "PRIORITY": "6"}
    require(fields == expected, fields)
    return ", ".join(f"{name}={value}" for name, value in fields.items())


def errors_have_their_priority(box: JudgeBox) -> str:
    """`journalctl -p err` shows what is wrong, and nothing else."""
    before = box.machine.run("cat /etc/verdictd/credentials/broker__url")
    box.machine.write("/etc/verdictd/credentials/broker__url", "amqp://guest:wrong@127.0.0.1:5672/", 0o600)
    cursor = box.cursor()
    try:
        box.machine.run("systemctl restart --no-block verdictd")
        box.machine.wait_until("error", lambda: box.events(cursor, "broker.unavailable"))
    finally:
        box.machine.write("/etc/verdictd/credentials/broker__url", before, 0o600)
    priorities = {
        entry["PRIORITY"] for entry in box.journal(cursor) if "broker.unavailable" in str(entry["MESSAGE"])
    }
    box.restart()
    require(priorities == {"3"}, f"PRIORITY of an error: {', '.join(sorted(priorities))}")
    return "PRIORITY=3 for broker.unavailable"


def instances_share_a_host(box: JudgeBox) -> str:
    """Two daemons with ranges of their own judge side by side; a third on a range of theirs is refused."""
    with box.instances({"verdictd@one": 0, "verdictd@two": 10, "verdictd@three": 11}):
        box.machine.run("systemctl start verdictd@one verdictd@two")
        results = box.collect(box.publish(SLEEP, 4))
        used = {result["worker"]["box"] for result in results}
        require(used & {0, 1} and used & {10, 11}, f"boxes {sorted(used)}")
        box.machine.try_("systemctl start verdictd@three")
        box.wait_for("failed", "verdictd@three")
        refused = box.show("StatusText", "verdictd@three")
        require("box 11 is in use" in refused, refused)
    return f"boxes {sorted(used)}; the third: {refused[:50]}"
