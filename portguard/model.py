"""The records every layer uses: plain and frozen, with no behaviour beyond describing themselves.

The field names are the keys of the JSON documents; `render.documents` lists the few exceptions. Times are seconds since
the epoch, ports and pids are numbers, and what is unknown is None. Nothing here may import anything but `_namedtuple`.
"""

from __future__ import annotations

from portguard._namedtuple import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    Protocol = Literal["tcp", "udp"]
    Verdict = Literal["free", "ours", "conflict", "unavailable", "unknown"]
    Cause = Literal[
        "listener",
        "connection",
        "time-wait",
        "bound",
        "lease",
        "duplicate",
        "address-not-local",
        "excluded",
        "permission",
        "none",
    ]
    OwnerStatus = Literal["known", "hidden", "kernel", "none-found", "lookup-failed"]
    Outcome = Literal["free", "busy", "no-permission", "excluded", "not-local", "no-family", "failed"]
    RangeName = Literal["well-known", "registered", "dynamic"]
    Origin = Literal["declared", "environment", "dotenv", "lease"]
    Severity = Literal["error", "warning"]
    KillStatus = Literal["planned", "freed", "respawned", "still-held", "unknown", "refused", "declined", "nobody"]

PROTOCOLS: tuple[Protocol, ...] = ("tcp", "udp")
VERDICTS: tuple[Verdict, ...] = ("free", "ours", "conflict", "unavailable", "unknown")


class Source(NamedTuple):
    """Where a declaration stands: `file` is a path, `line` counts from 1. Both None for a port given by argument."""

    file: str | None
    line: int | None


class Declaration(NamedTuple):
    """One entry of the config, or a port given by argument.

    `port` is the number the project would use now, `declared_port` what the entry says, `moved_by` who changed it, and
    `origin` of what kind that is. `is_held` is false where its server could not start beside portguard's hold.
    `hosts` are kept as declared: "*", "localhost" or address literals. A published range ends at `last_port`, and
    `replicas` of its ports are needed. `is_published`: an engine will bind it, because a compose file says so.
    """

    name: str
    port: int
    declared_port: int
    source: Source
    protocols: tuple[Protocol, ...] = ("tcp",)
    hosts: tuple[str, ...] = ("*",)
    env: str | None = None
    service: str | None = None
    owner: tuple[str, ...] = ()
    optional: bool = False
    description: str | None = None
    moved_by: str | None = None
    origin: Origin = "declared"
    is_held: bool = True
    is_ad_hoc: bool = False
    last_port: int | None = None
    replicas: int = 1
    is_published: bool = False


class Config(NamedTuple):
    """What a config says: its declarations in the order of the file, the compose files it names, and what lint ignores.

    `ignored` maps the ids of findings to the reasons given; whether there are such findings is not judged here.
    """

    declarations: tuple[Declaration, ...]
    compose_files: tuple[str, ...]
    ignored: dict[str, str] = {}  # noqa: RUF012 - a default that nobody writes to; a Config is only read


class Checkout(NamedTuple):
    """Whose numbers they are: a checkout's `root` and its repository's `common` directory ("" without git), real paths.

    `directory` is where the config is, which distinguishes several projects in one checkout. `linked`: a worktree that
    was added to another checkout, or to a bare repository.
    """

    root: str
    common: str
    directory: str
    linked: bool


class Rival(NamedTuple):
    """Who else has a number that no one listens on.

    `kind` is "run" or "hold", of process `pid` in `directory`, or "assignment", of the checkout at `directory`.
    """

    kind: str
    directory: str
    pid: int | None


class Socket(NamedTuple):
    """One row of the system's socket tables.

    `state` is the kernel's state in lower case ("listen", "bound", "established", "time-wait", ...); "bound" is a TCP
    socket that does not listen, or a UDP socket without a peer. `v6only` is None if the table does not tell.
    `inode` is 0 if no process can hold it; `pids` is filled only by tables that name processes themselves.
    """

    protocol: Protocol
    address: str
    port: int
    state: str
    v6only: bool | None
    uid: int | None
    inode: int
    pids: tuple[int, ...] | None = None


class Process(NamedTuple):
    """A process behind a socket. No arguments, no environment: they carry secrets.

    `cwd_is_shared` tells that `cwd` names the same directory for us as for the process (it does not in a container).
    """

    pid: int
    name: str | None = None
    user: str | None = None
    exe: str | None = None
    cwd: str | None = None
    started_at: float | None = None
    parent_pid: int | None = None
    uid: int | None = None
    cwd_is_shared: bool = False


class ProcessStat(NamedTuple):
    """What the kernel says of a process (proc_pid_stat(5)).

    `group`, `session` and `terminal` are what job control goes by (credentials(7)); `terminal` is 0 for none.
    `started` is in clock ticks since boot. `is_ended`: a zombie, of which only the exit code is left.
    """

    name: str
    parent: int
    group: int
    session: int
    terminal: int
    is_kernel: bool
    started: int
    is_ended: bool


class Compose(NamedTuple):
    """What a container's labels say about the compose project it came from. Labels are anyone's to write."""

    project: str
    service: str | None
    working_dir: str | None


class Container(NamedTuple):
    """A container that holds a port: `engine` is "docker" or "podman", `id` the full identifier.

    `id` and `name` are empty where the engine could not be asked and only its forwarder tells of the container.
    """

    engine: str
    id: str
    name: str
    image: str | None = None
    compose: Compose | None = None


class Holder(NamedTuple):
    """The socket that occupies an endpoint, and who is behind it.

    `processes_complete` is False if the search stopped before it had seen every process, or was not allowed to.
    `state` is None if no socket table could be read; `uid` is the socket's user where the table tells; `unit` is the
    systemd service its processes run in, one of a user's own manager if `user_unit`.
    """

    protocol: Protocol
    address: str
    port: int
    state: str | None
    owner_status: OwnerStatus
    processes: tuple[Process, ...] = ()
    processes_complete: bool = True
    container: Container | None = None
    unit: str | None = None
    uid: int | None = None
    user_unit: bool = False


class Note(NamedTuple):
    """Something worth knowing that changes no verdict. `id` is stable; `source` is where it is written, if anywhere."""

    id: str
    message: str
    source: Source | None = None


class PortReport(NamedTuple):
    """The answer for one declaration and protocol. `last_port` is the end of a published range, else None."""

    name: str
    port: int
    declared_port: int
    protocol: Protocol
    hosts: tuple[str, ...]
    env: str | None
    service: str | None
    source: Source
    verdict: Verdict
    cause: Cause
    message: str
    hint: str | None
    suggestion: int | None
    notes: tuple[Note, ...]
    holders: tuple[Holder, ...]
    optional: bool = False
    last_port: int | None = None


class CheckReport(NamedTuple):
    """What `check` found. `config` and `sources` are paths; `ports` has one entry per name and protocol.

    `notes` are about the files as a whole.
    """

    config: str | None
    sources: tuple[str, ...]
    ports: tuple[PortReport, ...]
    exit_code: int
    notes: tuple[Note, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether every port may be used: exit code 0."""
        return self.exit_code == 0

    @property
    def summary(self) -> dict[str, int]:
        """The number of entries by verdict; every verdict has a key."""
        return {verdict: sum(port.verdict == verdict for port in self.ports) for verdict in VERDICTS}


class FreePort(NamedTuple):
    """A port that was handed out. `expires_at` is the end of the lease, None if there is none."""

    port: int
    protocols: tuple[Protocol, ...]
    leased: bool
    expires_at: float | None
    name: str | None = None


class FreeReport(NamedTuple):
    """What `free` handed out, and what the caller should know about it."""

    ports: tuple[FreePort, ...]
    notes: tuple[Note, ...]


class TableRow(NamedTuple):
    """One row of a whole socket table: the socket, and the other end of it, None if there is none."""

    socket: Socket
    remote_address: str | None = None
    remote_port: int | None = None


class Listener(NamedTuple):
    """What listens: a listening TCP socket, or a bound UDP socket without a peer.

    `service` is the usual name of the number, None if it has none. `user` is the name of the socket's user if no
    process is known. `project` is the compose project or the root of the git checkout it belongs to.
    """

    holder: Holder
    range: RangeName
    service: str | None
    user: str | None = None
    project: str | None = None


class Connection(NamedTuple):
    """A socket that does not listen. Without a peer (None) it is a TCP socket that was bound and no more."""

    holder: Holder
    remote_address: str | None
    remote_port: int | None
    user: str | None = None


class Listing(NamedTuple):
    """What `list` found, ordered by protocol, port and address; `connections` is None unless they were asked for."""

    listeners: tuple[Listener, ...]
    connections: tuple[Connection, ...] | None
    notes: tuple[Note, ...] = ()


class PortInfo(NamedTuple):
    """What a port number means. `protocols` are those that were asked about; the facts are given for both.

    `tcp` and `udp` are service names, None if no one gave the number one. `ephemeral` tells whether this kernel may
    assign it by itself (None: could not be read), which `ephemeral_range` it assigns from, and `privileged` whether
    binding it needs privileges here.
    """

    port: int
    protocols: tuple[Protocol, ...]
    range: RangeName
    tcp: str | None
    udp: str | None
    tools: tuple[str, ...]
    ephemeral: bool | None
    browser_blocked: bool
    privileged: bool
    notes: tuple[Note, ...]
    ephemeral_range: tuple[int, int] | None = None


class InfoReport(NamedTuple):
    """The answer of `info`: one entry for each number."""

    ports: tuple[PortInfo, ...]


class EnvPort(NamedTuple):
    """A declaration's variable and its number; `origin` tells where that comes from."""

    name: str
    env: str
    port: int
    declared_port: int
    protocols: tuple[Protocol, ...]
    origin: Origin


class EnvReport(NamedTuple):
    """A checkout's numbers. `variables` is what to export: those of `ports`, and COMPOSE_PROJECT_NAME if isolated.

    `config` is a path; `isolated` tells that this checkout has numbers of its own.
    """

    config: str | None
    checkout: Checkout
    isolated: bool
    ports: tuple[EnvPort, ...]
    variables: dict[str, str]
    notes: tuple[Note, ...] = ()


class LeaseInfo(NamedTuple):
    """One number that is handed out.

    `kind` is "free" (until a time), "hold" (kept by a process), "run" (as long as a command) or "assignment" (a
    checkout's own). `directory` is where it was taken, `checkout` the root it belongs to, `expires_at` None if
    the lease has no time limit. `listening` is None if that is unknown. `gone`: the checkout was deleted.
    """

    port: int
    protocols: tuple[Protocol, ...]
    kind: str
    name: str | None
    directory: str | None
    checkout: str | None
    process: Process | None
    since: float | None
    expires_at: float | None
    listening: bool | None
    gone: bool = False


class LeasesReport(NamedTuple):
    """The answer of `leases`: what is handed out, or was released."""

    leases: tuple[LeaseInfo, ...]


class InitReport(NamedTuple):
    """What `init` found and did: the config's `path` and `text`, and whether it had to be written.

    `sources` are the paths of the files that were read, `counts` the number of ports in each of them.
    """

    path: str
    text: str
    written: bool = False
    sources: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()
    notes: tuple[Note, ...] = ()


class SchemaReport(NamedTuple):
    """The JSON Schema of `portguard.toml`, as a document."""

    schema: dict[str, object] | None


class Suggestion(NamedTuple):
    """A port that some file of the repository speaks of, and that no one has declared yet.

    `env` is the variable that carries it, None if none does; `description` a few words on what it is.
    """

    name: str
    port: int
    source: Source
    protocol: Protocol = "tcp"
    host: str | None = None
    env: str | None = None
    description: str | None = None


class Finding(NamedTuple):
    """What `lint` has against the declarations. `id` is stable; `name` is the declaration's, None for a whole file's.

    `column` counts from 1, None if only the line is known.
    """

    id: str
    severity: Severity
    message: str
    hint: str | None
    source: Source
    column: int | None = None
    name: str | None = None


class LintReport(NamedTuple):
    """The answer of `lint`: what it read (paths), what it found, and how many findings the config turned off."""

    config: str | None
    sources: tuple[str, ...]
    findings: tuple[Finding, ...]
    ignored: int
    exit_code: int


class Background(NamedTuple):
    """What is known about where a holder comes from, each a fragment of a sentence or None.

    `checkout` is the git root its working directory lies in and `branch` the branch there; `started_by` what started
    it; `comeback` whether something would start it again.
    """

    checkout: str | None = None
    branch: str | None = None
    started_by: str | None = None
    comeback: str | None = None


class WhoPort(NamedTuple):
    """Who has one port: its holders (listening, or bound), and connections that use it as their own end.

    `backgrounds` belong to the holders, one each. `asked` is what was asked for where that is not the whole port.
    """

    port: int
    holders: tuple[Holder, ...]
    connections: tuple[Holder, ...]
    backgrounds: tuple[Background, ...]
    notes: tuple[Note, ...] = ()
    asked: str | None = None


class WhoReport(NamedTuple):
    """The answer of `who`: one entry for each port asked for."""

    ports: tuple[WhoPort, ...]
    exit_code: int


class Failure(NamedTuple):
    """Why something that was asked for did not come about; `code` is stable, `hint` the next step."""

    code: str
    message: str
    hint: str | None


class WaitPort(NamedTuple):
    """One port that was waited for; `target` is what was typed, `hosts` are as declared ones.

    `seconds` tells how long it took until it was so, None if it was not so in the end; `failure` then says what was
    there instead, and is None otherwise. `holders` are those who serve the port, or are in the way.
    """

    target: str
    port: int
    protocol: Protocol
    hosts: tuple[str, ...]
    reached: bool
    seconds: float | None
    holders: tuple[Holder, ...] = ()
    failure: Failure | None = None


class WaitReport(NamedTuple):
    """The answer of `wait`: one entry for each port asked for, all of them as one and the same look found them."""

    ports: tuple[WaitPort, ...]
    exit_code: int


class KillAction(NamedTuple):
    """One thing that `kill` ends.

    `kind` is "process", "container" or "unit", `name` its full name, `text` who that is in a sentence. `pids`
    are the processes that are signalled, the first ones first; `id` is the container's. `needs_name`: a stranger's,
    which is ended only for anyone who repeats the name.
    """

    kind: str
    name: str
    text: str
    pids: tuple[int, ...] = ()
    id: str | None = None
    needs_name: bool = False


class KillPort(NamedTuple):
    """What `kill` would do, or did, about one port; `target` is what was typed, `hosts` are as declared ones.

    `holders` held it at first, `successors` hold it now: the same processes, or later ones. `actions` is empty if
    nothing may be stopped; then `message` says why and `hint` what to do instead. The status is "unknown" if something
    was stopped, and neither a table nor a bind could show the result.
    """

    target: str
    port: int
    protocol: Protocol
    hosts: tuple[str, ...]
    status: KillStatus
    message: str
    hint: str | None
    actions: tuple[KillAction, ...] = ()
    holders: tuple[Holder, ...] = ()
    successors: tuple[Holder, ...] = ()


class KillReport(NamedTuple):
    """The answer of `kill`: one entry for each port; before anything is stopped, the plan. `dry_run`: it stays one."""

    ports: tuple[KillPort, ...]
    exit_code: int
    notes: tuple[Note, ...] = ()
    dry_run: bool | None = None
