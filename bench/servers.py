"""Throw-away servers: PostgreSQL, Stoa and Synapse, each a child process of its own.

Every one of them writes into a folder of its own, listens on the loopback
address only, is durable as it is by default, and is stopped by its process.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

SECRET = "bench"


class NotToBeHad(Exception):
    """Something that is needed is not installed, or did not start."""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@contextmanager
def running(command, log, stop=signal.SIGTERM, **options):
    """A process, ended by `stop` when the block is left, and killed if it does not heed that."""
    with open(log, "ab") as out:
        # A session of its own, so that Ctrl-C reaches only this script, which then stops it.
        options |= {"stdin": subprocess.DEVNULL, "stdout": out, "stderr": out}
        process = subprocess.Popen(command, start_new_session=True, **options)
    try:
        yield process
    finally:
        process.send_signal(stop)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def until_ready(process, log, seconds, ready):
    """Waits until `ready()`, as long as the process runs."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        if ready():
            return
        time.sleep(0.05)
    tail = Path(log).read_text(errors="replace")[-2000:]
    raise NotToBeHad(f"{process.args[0]} did not start:\n{tail}")


def answers(port):
    try:
        url = f"http://127.0.0.1:{port}/_matrix/client/versions"
        return urllib.request.urlopen(url, timeout=1).status == 200
    except (urllib.error.URLError, OSError):
        return False


@contextmanager
def postgres(folder, bin_dir):
    """A new PostgreSQL cluster. Yields its process id and port."""
    folder.mkdir()
    # PostgreSQL does not run as root.
    user = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.getuid() == 0 else {}
    if user:
        shutil.chown(folder, "postgres")
    data, log, port = folder / "data", folder / "log", free_port()
    initdb = [bin_dir / "initdb", "-D", data, "-U", "postgres", "-A", "trust"]
    locale = ["--encoding=UTF8", "--locale=C"]
    made = subprocess.run([*initdb, *locale], cwd=folder, capture_output=True, **user)
    if made.returncode != 0:
        raise NotToBeHad(made.stderr.decode())
    options = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": folder}
    command = [bin_dir / "postgres", "-D", data]
    for name, value in options.items():
        command += ["-c", f"{name}={value}"]
    # SIGINT is the shutdown that does not wait for clients.
    with running(command, log, signal.SIGINT, cwd=folder, **user) as process:
        psql = [bin_dir / "psql", "-h", "127.0.0.1", "-p", str(port), "-U", "postgres", "-q", "-c"]

        def query(sql):
            return subprocess.run([*psql, sql], capture_output=True).returncode == 0

        until_ready(process, log, 30, lambda: query("SELECT 1"))
        if not query("CREATE DATABASE bench"):
            raise NotToBeHad("the database could not be created")
        yield process.pid, port


class Server:
    """A server that listens on a port of its own, from when the block is entered until it is left."""

    start_within = 30

    def __init__(self, folder, cluster):
        self.folder, self.port, self.running = folder, free_port(), None
        self.database_pid, self.database_port = cluster or (None, None)

    @property
    def pid(self):
        return self.process.pid

    def __enter__(self):
        self.running = running(self.command(), self.log(), cwd=self.folder, **self.options())
        self.process = self.running.__enter__()
        until_ready(self.process, self.log(), self.start_within, lambda: answers(self.port))
        return self

    def __exit__(self, *error):
        self.running.__exit__(*error)

    def restart(self):
        """Ends the process, and starts another where it was."""
        self.__exit__(None, None, None)
        self.__enter__()

    def options(self):
        return {}


class Stoa(Server):
    """A new Stoa on SQLite, or on a PostgreSQL cluster."""

    def __init__(self, program, folder, cluster):
        super().__init__(folder, cluster)
        self.program = program

    def log(self):
        return self.folder / "stoa.log"

    def command(self):
        return [self.program, "serve"]

    def options(self):
        settings = {
            "SERVER_NAME": "bench.local",
            "DATA_DIR": self.folder / "data",
            "LISTEN__CLIENT": f"127.0.0.1:{self.port}",
            "LISTEN__METRICS": f"127.0.0.1:{free_port()}",
            "REGISTRATION__SHARED_SECRET": SECRET,
            "LIMITS__ENABLED": "false",
            "LOG__FILTER": "warn",
        }
        if self.database_port:
            url = f"postgres://postgres@127.0.0.1:{self.database_port}/bench"
            settings["DATABASE__URL"] = url
        environment = {k: v for k, v in os.environ.items() if not k.startswith("STOA_")}
        return {"env": environment | {f"STOA_{k}": str(v) for k, v in settings.items()}}


class Synapse(Server):
    """A new Synapse, as one process."""

    start_within = 120

    def __init__(self, venv, folder, cluster):
        super().__init__(folder, cluster)
        self.venv = venv

    def log(self):
        return self.folder / "synapse.log"

    def command(self):
        config = synapse_config(self.folder, self.port, self.database_port)
        (self.folder / "homeserver.yaml").write_text(config)
        (self.folder / "log.yaml").write_text(SYNAPSE_LOG)
        python = self.venv / "bin" / "python"
        command = [python, "-m", "synapse.app.homeserver", "-c", "homeserver.yaml"]
        keys = [*command, "--generate-keys"]
        made = subprocess.run(keys, cwd=self.folder, capture_output=True)
        if made.returncode != 0:
            raise NotToBeHad(made.stderr.decode())
        return command


SYNAPSE_LOG = """\
version: 1
handlers: {stderr: {class: logging.StreamHandler}}
root: {level: WARNING, handlers: [stderr]}
disable_existing_loggers: false
"""


def synapse_config(folder, port, database_port):
    """Synapse without federation, presence and limits."""
    unlimited = "{per_second: 100000, burst_count: 100000}"
    if database_port:
        database = f"""
  name: psycopg2
  args: {{host: 127.0.0.1, port: {database_port}, user: postgres, dbname: bench,
          cp_min: 5, cp_max: 10}}
  allow_unsafe_locale: true"""
    else:
        database = f"""
  name: sqlite3
  args: {{database: "{folder}/homeserver.db"}}"""
    return f"""\
server_name: bench.local
pid_file: "{folder}/synapse.pid"
signing_key_path: "{folder}/signing.key"
media_store_path: "{folder}/media"
log_config: "{folder}/log.yaml"
registration_shared_secret: {SECRET}
macaroon_secret_key: bench
form_secret: bench
report_stats: false
federation_domain_whitelist: []
trusted_key_servers: []
presence: {{enabled: false}}
# Accounts are made before measuring, and need not take long.
bcrypt_rounds: 4
listeners:
  - {{port: {port}, bind_addresses: [127.0.0.1], type: http, tls: false,
      resources: [{{names: [client]}}]}}
database: {database}
rc_message: {unlimited}
rc_registration: {unlimited}
rc_joins_per_room: {unlimited}
rc_room_creation: {unlimited}
rc_admin_redaction: {unlimited}
rc_login: {{address: {unlimited}, account: {unlimited}, failed_attempts: {unlimited}}}
rc_joins: {{local: {unlimited}, remote: {unlimited}}}
rc_invites: {{per_room: {unlimited}, per_user: {unlimited}, per_issuer: {unlimited}}}
"""


def find_postgres():
    """The folder with PostgreSQL's programs: what is on the PATH, else the newest of Debian's."""
    on_path = shutil.which("initdb")
    versions = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    newest = sorted(versions, key=lambda p: float(p.parent.parent.name), reverse=True)
    for initdb in [on_path, *newest]:
        if initdb:
            return Path(initdb).resolve().parent
    raise NotToBeHad("PostgreSQL is not installed; on Debian: apt install postgresql")


def install_synapse(venv, version):
    """Installs Synapse into a virtual environment, unless it is there."""
    if not (venv / "bin" / "python").exists():
        print(f"installing Synapse {version} into {venv}", file=sys.stderr)
        packages = [f"matrix-synapse[postgres]=={version}", "psycopg2-binary"]
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        subprocess.run([venv / "bin" / "pip", "install", "--quiet", *packages], check=True)
