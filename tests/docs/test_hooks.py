"""The hooks as users have them: pre-commit from its package, this tree as the hook repository, git at work.

pre-commit and the environment that it makes for the hooks are installed once a session, in a temporary directory that
is the home of all that runs here. The package index is that of pip's variables and of the machine's pip.conf. What is
tested is the tree as it lies here, committed or not: a copy of it is the repository that the configs name.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.conftest import PORTGUARD
from tests.worlds import capabilities
from tests.worlds.servers import plain_server

pytestmark = [
    pytest.mark.registries,
    pytest.mark.slow,  # two environments are made, from a package index
    pytest.mark.needs("git"),
    pytest.mark.timeout(400),
    pytest.mark.xdist_group("pre-commit"),
]

ROOT = Path(__file__).parents[2]
PACKAGE = "pre-commit>=4,<5"
CONFIG = ".pre-commit-config.yaml"
NAMES = {"portguard-lint": "portguard lint", "portguard-check": "portguard check"}
_PATIENCE = 180  # seconds, for pip on a busy machine

# Tells what pre-commit hands to a hook.
_WITNESS = """
  - repo: local
    hooks:
      - id: witness
        name: witness
        language: system
        entry: sh -c 'env >"$WITNESS"'
        always_run: true
        pass_filenames: false
"""

Done = subprocess.CompletedProcess[str]


class Tools(NamedTuple):
    """What a session installs: pre-commit, a home, the hook repository, and a project that has its hooks."""

    pre_commit: str
    home: str
    hooks: str
    template: str


class Project:
    """A user's repository, or one of its worktrees."""

    def __init__(self, path: Path, tools: Tools) -> None:
        self.path = path
        self.tools = tools

    def run(self, *argv: str | Path, environ: dict[str, str] | None = None) -> Done:
        """Run a command here, without a terminal; what it says is all in `stdout`."""
        return _run(self.tools.home, argv, self.path, environ)

    def git(self, *arguments: str | Path, environ: dict[str, str] | None = None) -> Done:
        """Run git here."""
        return self.run("git", *arguments, environ=environ)

    def pre_commit(self, *arguments: str | Path) -> Done:
        """Run pre-commit here."""
        return self.run(self.tools.pre_commit, *arguments)

    def stage(self, files: dict[str, str]) -> None:
        """Write files, and add them to what is committed next."""
        for name, text in files.items():
            path = self.path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        _checked(self.git("add", "--", *files))

    def commit(self, files: dict[str, str], environ: dict[str, str] | None = None) -> Done:
        """Write and stage files and commit what is staged, hooks and all."""
        self.stage(files)
        return self.git("commit", "-m", "change", environ=environ)

    def keep(self, files: dict[str, str]) -> None:
        """Commit files as one who does not use the hooks."""
        self.stage(files)
        _checked(self.git("commit", "--quiet", "--no-verify", "-m", "keep"))

    def head(self) -> tuple[str, str]:
        """Return what is checked out, and its commit."""
        return tuple(_checked(self.git("rev-parse", *what, "HEAD")) for what in (["--abbrev-ref"], []))  # type: ignore[return-value]  # of two

    def linked(self, *arguments: str) -> Project:
        """Return a linked worktree, made without hooks."""
        path = self.path.with_name("linked")
        _checked(self.git("-c", "core.hooksPath=/dev/null", "worktree", "add", "--quiet", *arguments, path))
        return Project(path, self.tools)


def _run(home: str, argv: Any, cwd: Path, environ: dict[str, str] | None = None) -> Done:
    return subprocess.run(
        [str(word) for word in argv], cwd=cwd, env=_environment(home) | (environ or {}), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=_PATIENCE, check=False,
    )  # fmt: skip


def _environment(home: str) -> dict[str, str]:
    """Return what a newcomer's shell has, and what pip needs to find the index; nothing of git's or pre-commit's."""
    kept = re.compile(r"PATH|TMPDIR|PIP_.*|SSL_CERT_.*|(https?|no|all)_proxy|PORTGUARD_STATE_DIR", re.IGNORECASE)
    ours = {"HOME": home, "LANG": "C.UTF-8", "TERM": "xterm", "PIP_NO_COMPILE": "1", "PIP_NO_INPUT": "1"}
    return {name: value for name, value in os.environ.items() if kept.fullmatch(name)} | ours


def _checked(done: Done) -> str:
    assert done.returncode == 0, (done.args, done.stdout)
    return done.stdout.strip()


# ---------------------------------------------------------------- what is installed once


@pytest.fixture(scope="session")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Tools:
    """Return what the first test to ask installs; the workers of pytest-xdist share it."""
    base = tmp_path_factory.getbasetemp()
    base = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "pre-commit"
    base.mkdir(exist_ok=True)
    with (base / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        kept = base / "tools.json"
        if not kept.exists():
            kept.write_text(json.dumps(_install(base)))
        return Tools(*json.loads(kept.read_text()))


def _install(base: Path) -> Tools:
    home = base / "home"
    home.mkdir(exist_ok=True)
    identity = "[user]\n\tname = A\n\temail = a@example.org\n"
    (home / ".gitconfig").write_text(identity + "[init]\n\tdefaultBranch = main\n")
    steps = (
        (sys.executable, "-m", "venv", "--clear", base / "venv"),
        (base / "venv" / "bin" / "python", "-m", "pip", "install", "--quiet", PACKAGE),
        ("git", "-C", ROOT, "rev-parse", "--git-dir"),
    )
    for step in steps:
        done = _run(str(home), step, base)
        if done.returncode != 0:
            _do_without(f"{shlex.join(map(str, step))}: {done.stdout.strip()[-300:]}")
    found = Tools(str(base / "venv" / "bin" / "pre-commit"), str(home), str(base / "hooks"), str(base / "template"))
    hooks, template = Project(Path(found.hooks), found), Project(Path(found.template), found)
    _copy_tree(hooks)
    template.path.mkdir()
    _checked(template.git("init", "--quiet"))
    template.stage({CONFIG: _page_config(found.hooks, _checked(hooks.git("rev-parse", "HEAD")))})
    _checked(template.run(*_page_commands(found)[0], "--install-hooks"))
    _checked(template.git("commit", "-m", "start"))
    return found


def _do_without(reason: str) -> None:
    message = f"needs pre-commit: {reason}"
    if os.environ.get(capabilities.REQUIRE_ALL) == "1":
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


def _copy_tree(hooks: Project) -> None:
    """Make a repository of this tree's files as they are now."""
    listed = hooks.tools.home, ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"), ROOT
    for name in filter(None, _checked(_run(*listed)).split("\0")):
        with contextlib.suppress(FileNotFoundError):  # deleted, not yet committed
            target = hooks.path / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target, follow_symlinks=False)
    _checked(hooks.git("init", "--quiet"))
    _checked(hooks.git("add", "--all"))
    _checked(hooks.git("commit", "--quiet", "-m", "the tree as it is"))


def _page_config(repository: str, revision: str) -> str:
    """Return the config that docs/hooks.md shows, for another repository."""
    text = _page_block(rf"yaml {re.escape(CONFIG)}")
    text, one = re.subn(r"(?<=repo: )\S+", json.dumps(repository), text)
    text, two = re.subn(r"(?<=rev: )\S+", revision, text)
    assert (one, two) == (1, 1)
    assert all(f"- id: {name}\n" in text for name in NAMES)
    return text


def _page_commands(tools: Tools) -> list[list[str]]:
    """Return the commands that docs/hooks.md shows for pre-commit, the first of which installs the hooks."""
    lines = _page_block("sh").splitlines()
    assert all(line.startswith("pre-commit ") for line in lines)
    return [[tools.pre_commit, *shlex.split(line)[1:]] for line in lines]


def _page_block(fence: str) -> str:
    """Return the first block of that kind on the page."""
    found = re.search(rf"^```{fence}\n(.*?)^```$", (ROOT / "docs" / "hooks.md").read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


# ---------------------------------------------------------------- what each test has of its own


@pytest.fixture
def project(tools: Tools, tmp_path: Path) -> Project:
    """Return a repository with the page's config as its one commit, and the page's hooks installed."""
    path = tmp_path / "project"
    shutil.copytree(tools.template, path, symlinks=True)
    return Project(path, tools)


@pytest.fixture
def ports() -> list[int]:
    """Return two ports that no one has, below those that systems assign."""
    argv = [*PORTGUARD, "free", "--range", "20000-30000", "-n", "2"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, cwd="/", timeout=60)
    return [int(port) for port in done.stdout.split()]


def good(ports: list[int]) -> dict[str, str]:
    """Return a config with nothing to say against."""
    return {"portguard.toml": f"[ports]\nweb = {ports[0]}\napi = {ports[1]}\n"}


def bad(ports: list[int]) -> dict[str, str]:
    """Return a config with one mistake, in its third line."""
    return {"portguard.toml": f"[ports]\nweb = {ports[0]}\napi = {ports[0]}\n"}


def compose(published: str) -> dict[str, str]:
    """Return a compose file that publishes one port of a service, and says so in its fourth line."""
    return {"compose.yaml": f'services:\n  web:\n    image: x\n    ports: ["{published}"]\n'}


def verdict(done: Done, hook: str) -> str:
    """Return what pre-commit says of a hook at the end of its line; "" if it does not name it."""
    found = re.search(rf"^{re.escape(NAMES[hook])}\.*(?:\(.*\))?(\w+)$", done.stdout, re.MULTILINE)
    return found[1] if found else ""


def assert_refused(done: Done, *said: str) -> None:
    """Assert that lint failed, and said this."""
    assert done.returncode == 1, done.stdout
    assert verdict(done, "portguard-lint") == "Failed"
    assert "- exit code: 1\n" in done.stdout
    for text in said:
        assert text in done.stdout


# ---------------------------------------------------------------- lint


def test_pre_commit_takes_pre_commit_hooks_yaml_for_a_manifest(tools: Tools) -> None:
    """pre-commit takes .pre-commit-hooks.yaml for a manifest, without a warning."""
    done = _run(tools.home, [tools.pre_commit, "validate-manifest", ".pre-commit-hooks.yaml"], Path(tools.hooks))
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.slow
@pytest.mark.parametrize("is_good", [True, False], ids=["good", "bad"])
def test_try_repo(tools: Tools, tmp_path: Path, ports: list[int], is_good: bool) -> None:
    """`pre-commit try-repo` on this tree, before anything is set up: passes, or names file and line."""
    project = Project(tmp_path / "project", tools)
    project.path.mkdir()
    _checked(project.git("init", "--quiet"))
    project.stage(good(ports) if is_good else bad(ports))

    done = project.pre_commit("try-repo", tools.hooks, "portguard-lint", "--all-files", "--verbose")

    if is_good:
        assert (done.returncode, verdict(done, "portguard-lint")) == (0, "Passed"), done.stdout
        assert "no findings (portguard.toml)\n" in done.stdout
    else:
        what = f"'api' and 'web' (portguard.toml:2) both claim {ports[0]}/tcp\n"
        assert_refused(done, f"portguard.toml:3: error duplicate: {what}", "1 error (portguard.toml)\n")


@pytest.mark.parametrize("place", ["main", "linked", "detached"])
def test_commit(project: Project, ports: list[int], place: str) -> None:
    """In the main checkout, in a linked worktree and on a detached HEAD: a bad config is refused, a good one committed.

    In the linked worktree git gives the hook a GIT_DIR and a GIT_INDEX_FILE.
    """
    if place == "linked":
        project = project.linked("-b", "side")
    elif place == "detached":
        _checked(project.git("-c", "core.hooksPath=/dev/null", "checkout", "--quiet", "--detach"))
    branch, before = project.head()
    witness = project.path.with_name("witness")
    project.stage({CONFIG: (project.path / CONFIG).read_text() + _WITNESS})

    refused = project.commit(bad(ports), {"WITNESS": str(witness)})
    nothing = project.head()
    passed = project.commit(good(ports), {"WITNESS": str(witness)})

    assert_refused(refused, "portguard.toml:3: error duplicate: ")
    assert nothing == (branch, before)
    assert (passed.returncode, verdict(passed, "portguard-lint")) == (0, "Passed"), passed.stdout
    assert _checked(project.git("rev-parse", "HEAD^")) == before
    assert project.head()[0] == branch == {"main": "main", "linked": "side", "detached": "HEAD"}[place]
    assert verdict(passed, "portguard-check") == ""  # no gate for commits
    given = set(re.findall(r"^(GIT_\w+)=", witness.read_text(), re.MULTILINE))
    assert "GIT_INDEX_FILE" in given
    assert ("GIT_DIR" in given) is (place == "linked")


def test_commit_with_gits_variables_exported(project: Project, ports: list[int]) -> None:
    """Who exports what git itself gives to hooks, and is in another worktree than the main one, gets the same."""
    linked = project.linked("-b", "side")
    project.keep(good(ports))
    directory = project.path / ".git" / "worktrees" / "linked"
    environ = {
        "GIT_DIR": str(directory),
        "GIT_WORK_TREE": str(linked.path),
        "GIT_INDEX_FILE": str(directory / "index"),
        "GIT_PREFIX": "",
        "GIT_EDITOR": ":",
        "GIT_REFLOG_ACTION": "commit",
    }

    refused = linked.commit(bad(ports), environ)
    passed = linked.commit(good(ports), environ)

    assert_refused(refused, "portguard.toml:3: error duplicate: ")
    assert (passed.returncode, verdict(passed, "portguard-lint")) == (0, "Passed"), passed.stdout
    assert _checked(linked.git("log", "--format=%s", "-1")) == "change"
    assert _checked(project.git("log", "--format=%s", "-1")) == "keep"


def test_a_commit_from_a_subdirectory(project: Project, ports: list[int]) -> None:
    """Anyone who commits below the root gets paths from the root, as for every hook."""
    project.stage({**bad(ports), "src/main.py": ""})
    done = project.run("git", "-C", "src", "commit", "-m", "change")
    assert_refused(done, "\nportguard.toml:3: error duplicate: ")


def test_what_is_staged_is_judged(project: Project, ports: list[int]) -> None:
    """Not what lies beside it: a mistake that is staged is found although the file is right again, and vice versa."""
    project.stage(bad(ports))
    (project.path / "portguard.toml").write_text(good(ports)["portguard.toml"])
    refused = project.git("commit", "-m", "change")
    _checked(project.git("add", "portguard.toml"))
    (project.path / "portguard.toml").write_text(bad(ports)["portguard.toml"])
    passed = project.git("commit", "-m", "change")

    assert_refused(refused, "portguard.toml:3: error duplicate: ")
    assert (passed.returncode, verdict(passed, "portguard-lint")) == (0, "Passed"), passed.stdout
    assert (project.path / "portguard.toml").read_text() == bad(ports)["portguard.toml"]  # nothing is lost


def test_other_files_are_none_of_its_business(project: Project, ports: list[int]) -> None:
    """A commit of files that do not speak of ports skips lint, although the config has a mistake."""
    project.keep(bad(ports))
    done = project.commit({"README.md": "x\n", "src/main.py": "x = 1\n", "composer.json": "{}\n", ".envrc": "\n"})
    assert (done.returncode, verdict(done, "portguard-lint")) == (0, "Skipped"), done.stdout


def test_a_compose_file_alone(project: Project, ports: list[int]) -> None:
    """Without a portguard.toml a compose file is judged for itself."""
    refused = project.commit(compose("0.0.0.0:70000:80"))
    passed = project.commit(compose(f"{ports[0]}:80"))

    assert_refused(refused, "compose.yaml:4", "70000")
    assert (passed.returncode, verdict(passed, "portguard-lint")) == (0, "Passed"), passed.stdout


def test_files_beside_the_config(project: Project, ports: list[int]) -> None:
    """A commit of .env.example, of devcontainer.json or of a compose file is judged with the config they belong to."""
    config = f'[ports.web]\nport = {ports[0]}\nenv = "WEB_PORT"\nservice = "web"\n'
    published = compose(f"${{WEB_PORT:-{ports[0]}}}:80")
    project.keep({"portguard.toml": config, **published})
    moved = published["compose.yaml"].replace(str(ports[0]), str(ports[1]))
    changes = {
        ".env.example": ("WEB_PORT=0\n", "\n.env.example:1: error port-zero: "),
        "compose.yaml": (moved, f"its service 'web' publishes {ports[1]} (compose.yaml:4)\n"),
        ".devcontainer/devcontainer.json": (
            '{"forwardPorts": [1, 2}',
            "\n.devcontainer/devcontainer.json:1: error schema: ",
        ),
    }
    before = project.head()
    for name, (text, said) in changes.items():
        done = project.commit({name: text})
        assert_refused(done, said, "\n1 error (")
        assert project.head() == before
        _checked(project.git("reset", "--quiet", "--hard"))


def test_nothing_to_judge(project: Project) -> None:
    """A pyproject.toml without our table, and no compose file anywhere: passes."""
    done = project.commit({"pyproject.toml": '[project]\nname = "x"\n', "sub/pyproject.toml": ""})
    assert (done.returncode, verdict(done, "portguard-lint")) == (0, "Passed"), done.stdout


def test_warnings_do_not_refuse(project: Project) -> None:
    """A config with warnings alone is committed; `verbose` or `--verbose` shows them, an ordinary commit does not."""
    text = "[ports]\nweb = 80\n"
    said = "portguard.toml:2: warning well-known: 'web' is on 80, below 1024\n"

    quiet = project.commit({"portguard.toml": text})
    shown = project.pre_commit("run", "portguard-lint", "--all-files", "--verbose")
    hook = "id: portguard-lint\n"
    config = (project.path / CONFIG).read_text().replace(hook, f"{hook}        verbose: true\n")
    verbose = project.commit({CONFIG: config, "portguard.toml": f"{text}\n"})

    for done in (quiet, shown, verbose):
        assert (done.returncode, verdict(done, "portguard-lint")) == (0, "Passed"), done.stdout
    assert [said in done.stdout for done in (quiet, shown, verbose)] == [False, True, True]


def test_several_projects_in_one_commit(project: Project, ports: list[int]) -> None:
    """Each directory is judged with its own config: what one turns off, and has, is not the other's."""
    low = "[ports]\nweb = 80\n"
    files = {
        "one/portguard.toml": f'{low}[lint.ignore]\nwell-known = "on purpose"\n',
        "two/portguard.toml": low,
        "three/portguard.toml": bad(ports)["portguard.toml"],
        "four/compose.yaml": compose(f"{ports[0]}:80")["compose.yaml"],
    }

    refused = project.commit(files)
    passed = project.commit({"three/portguard.toml": good(ports)["portguard.toml"]})

    assert_refused(refused, "three/portguard.toml:3: error duplicate: 'api' and 'web' (three/portguard.toml:2) ")
    assert "two/portguard.toml:2: warning well-known: " in refused.stdout
    assert "one/portguard.toml:" not in refused.stdout
    assert "\nfour/" not in refused.stdout
    assert "\n1 error, 1 warning, 1 turned off" in refused.stdout
    assert passed.returncode == 0, passed.stdout


def test_push(project: Project, ports: list[int]) -> None:
    """Installed for pre-push, lint refuses the push of what was committed past the other hook."""
    there = project.path.with_name("there")
    _checked(project.git("init", "--quiet", "--bare", there))
    _checked(project.git("remote", "add", "origin", there))
    _checked(project.git("push", "--quiet", "origin", "main"))
    before = _checked(project.git("ls-remote", "origin"))
    _checked(project.pre_commit("install", "--hook-type", "pre-push"))
    project.keep(bad(ports))

    refused = project.git("push", "origin", "main")

    assert_refused(refused, "portguard.toml:3: error duplicate: ")
    assert _checked(project.git("ls-remote", "origin")) == before
    project.keep(good(ports))
    _checked(project.git("push", "origin", "main"))


@pytest.mark.parametrize("is_good", [True, False], ids=["good", "bad"])
def test_terminal(project: Project, ports: list[int], is_good: bool) -> None:
    """On a terminal and without one, even with standard input closed, the same verdict; escapes on the former alone."""
    project.stage(good(ports) if is_good else bad(ports))
    command = ["git", "commit", "-m", "change"]

    code, shown = _on_terminal(project, command)
    if is_good:
        _checked(project.git("reset", "--quiet", "--soft", "HEAD^"))
    plain = project.run("sh", "-c", f"exec {shlex.join(command)} <&-")

    assert (code, plain.returncode) == ((0, 0) if is_good else (1, 1)), (shown, plain.stdout)
    assert "\x1b" not in plain.stdout
    assert "\x1b[" in shown
    assert ("\x1b[1;31merror\x1b[0m duplicate: " in shown) is not is_good
    texts = [re.sub(r"\x1b\[[\d;]*[A-Za-z]|\r", "", text) for text in (shown, plain.stdout)]
    lines = [[line for line in text.splitlines() if not line.startswith("[main ")] for text in texts]
    assert lines[0] == lines[1]


def _on_terminal(project: Project, argv: list[str]) -> tuple[int, str]:
    """Run a command on a terminal of its own; return its exit code and what it showed."""
    ours, theirs = pty.openpty()
    environ = _environment(project.tools.home)
    with os.fdopen(ours, "rb", buffering=0) as screen:
        with subprocess.Popen(
            argv, cwd=project.path, env=environ, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
        ) as process:
            os.close(theirs)
            shown = b"".join(_everything(screen))
        return process.returncode, shown.decode()


def _everything(screen: Any) -> Iterator[bytes]:
    with contextlib.suppress(OSError):  # how Linux says that no one has the terminal open any more
        while text := screen.read(4096):
            yield text


# ---------------------------------------------------------------- check


def check(project: Project) -> Done:
    """Run the live hook as the page says."""
    return project.pre_commit("run", "portguard-check", "--hook-stage", "manual", "--verbose")


def test_the_pages_commands(project: Project, ports: list[int]) -> None:
    """The commands of docs/hooks.md, one after the other: all pass where nothing is wrong."""
    project.keep(good(ports))
    said = [_checked(project.run(*command)) for command in _page_commands(project.tools)]
    assert [text.split("\n")[-1].rpartition(".")[2] for text in said[1:]] == ["Passed", "Passed"]
    assert "pre-commit installed at " in said[0]


def test_check_where_all_is_free(project: Project, ports: list[int]) -> None:
    """Every declared port would bind: passes."""
    project.keep(good(ports))
    done = check(project)
    assert (done.returncode, verdict(done, "portguard-check")) == (0, "Passed"), done.stdout
    assert "2 ports: 2 free (portguard.toml)\n" in done.stdout


def test_check_with_a_stranger(project: Project, tmp_path: Path) -> None:
    """Someone else's server has the port: fails, and says who, since when and where."""
    with plain_server(tmp_path) as port:
        project.keep({"portguard.toml": f'[ports.web]\nport = {port}\nhost = "127.0.0.1"\n'})
        done = check(project)
    assert (done.returncode, verdict(done, "portguard-check")) == (1, "Failed"), done.stdout
    assert "- exit code: 1\n" in done.stdout
    assert re.search(rf"^conflict  web  127\.0\.0\.1:{port}/tcp  \(portguard\.toml:1\)$", done.stdout, re.MULTILINE)
    assert re.search(rf"python.*\(pid \d+.*\n  since .*, in {re.escape(str(tmp_path))}$", done.stdout, re.MULTILINE)


def test_check_with_the_projects_own_server(project: Project) -> None:
    """A server that runs in the checkout is the developer's own: passes."""
    with plain_server(project.path) as port:
        project.keep({"portguard.toml": f'[ports.web]\nport = {port}\nhost = "127.0.0.1"\n'})
        done = check(project)
    assert (done.returncode, verdict(done, "portguard-check")) == (0, "Passed"), done.stdout
    assert "1 port: 1 ours (portguard.toml)\n" in done.stdout


@pytest.mark.parametrize("is_ours", [True, False], ids=["here", "main"])
def test_check_in_a_linked_worktree(project: Project, is_ours: bool) -> None:
    """Git's variables of another worktree do not make its server ours, nor ours a stranger's."""
    linked = project.linked("-b", "side")
    environ = {"GIT_DIR": str(project.path / ".git"), "GIT_WORK_TREE": str(project.path), "GIT_PREFIX": ""}
    with plain_server(linked.path if is_ours else project.path) as port:
        config = {"portguard.toml": f'[ports.web]\nport = {port}\nhost = "127.0.0.1"\n'}
        linked.keep(config)
        project.keep(config)
        plain = check(linked)
        # pre-commit follows the variables, so the command that it runs is asked itself.
        binaries = Path(project.tools.home, ".cache", "pre-commit").glob("repo*/py_env-*/bin/portguard")
        given = linked.run(next(binaries), "check", environ=environ)
    for done in (plain, given):
        assert done.returncode == (0 if is_ours else 1), done.stdout
        assert ("1 port: 1 ours (portguard.toml)\n" if is_ours else "conflict  web  ") in done.stdout


def test_check_without_a_config(project: Project) -> None:
    """Where nothing is declared the hook fails with 2, and says where it looked and what to do."""
    done = check(project)
    assert (done.returncode, verdict(done, "portguard-check")) == (1, "Failed"), done.stdout
    assert "- exit code: 2\n" in done.stdout
    assert "portguard.toml" in done.stdout
    assert str(project.path) in done.stdout
    assert "\n  next: " in done.stdout or "\nnext: " in done.stdout


@pytest.mark.parametrize("is_free", [True, False], ids=["free", "stranger"])
@pytest.mark.parametrize("command", ["checkout", "worktree add"])
def test_after_a_checkout(project: Project, ports: list[int], tmp_path: Path, is_free: bool, command: str) -> None:
    """`git checkout -b` and `git worktree add` run it in what they made; what it finds undoes nothing."""
    with contextlib.ExitStack() as stack:
        port = ports[0] if is_free else stack.enter_context(plain_server(tmp_path))
        project.keep({"portguard.toml": f'[ports.web]\nport = {port}\nhost = "127.0.0.1"\n'})
        linked = tmp_path / "linked"
        where = [] if command == "checkout" else [linked]
        done = project.git(*command.split(), "-b", "side", *where)

    made = project if command == "checkout" else Project(linked, project.tools)
    assert made.head()[0] == "side"
    assert (made.path / "portguard.toml").exists()
    assert _checked(made.git("status", "--porcelain")) == ""
    assert verdict(done, "portguard-check") == ("Passed" if is_free else "Failed"), done.stdout
    assert verdict(done, "portguard-lint") == ""
    assert done.returncode == (0 if is_free else 1)
    assert (f"conflict  web  127.0.0.1:{port}/tcp" in done.stdout) is not is_free
