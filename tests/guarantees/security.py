"""Bugs by what SECURITY.md says that no one gets, and that portguard never does; some of them break a promise as well."""

from __future__ import annotations

from tests.guarantees import check, kill, output, reading
from tests.guarantees.breaking import Breaking

_HOSTILE = "cli/test_hostile_checkout.py::"
_PRIVATE = "cli/test_private.py::"
_REPLACE = "system/test_replace.py::"
_STORE = "leases/test_store.py::"
_FAULTS = "engines/test_faults.py::"


def _known(breakings: tuple[Breaking, ...], *bugs: str) -> tuple[Breaking, ...]:
    """Return those of another table that begin so."""
    return tuple(item for bug in bugs for item in breakings if item.bug.startswith(bug))


_NOTHING_IN_A_CONFIG = reading.BREAKINGS["Nothing in a config"]
_NO_FOREIGN_STRING = output.BREAKINGS["No foreign string"]
_REMEMBERED = reading.BREAKINGS["A cached config"]

BREAKINGS = {
    "a hostile repository: code run": _known(
        _NOTHING_IN_A_CONFIG, "the branch is asked of git", "the compose plugin", "command substitutions"
    ),
    "a hostile repository: files written outside": (
        Breaking(
            "a file of any directory is replaced",
            "system/replace.py",
            "    if not below[0].startswith(below[1]):",
            "    if not below[0]:",
            [_REPLACE + "test_a_file_elsewhere_is_refused"],
        ),
        Breaking(
            "a repository's own files are replaced",
            "system/replace.py",
            '    if ".git" in (part.casefold() for part in (*parts, name)):',
            '    if name == ".git":',
            [_REPLACE + "test_a_file_elsewhere_is_refused"],
        ),
        Breaking(
            "a link is followed, and what it leads to is replaced",
            "system/replace.py",
            "    user = os.geteuid() if",
            "    os.truncate(path, 0)\n    user = os.geteuid() if",
            [_REPLACE + "test_what_is_no_plain_file_is_refused"],
        ),
        Breaking(
            "a file with another name elsewhere is replaced",
            "system/replace.py",
            "    if status.st_nlink > 1:",
            "    if status.st_nlink > 1000:",
            [_REPLACE + "test_what_is_no_plain_file_is_refused"],
        ),
    ),
    "a hostile repository: anything revealed of files outside": (
        Breaking(
            "what is wrong in a file outside is quoted",
            "project/redact.py",
            "            if is_outside(path, inside):\n                return",
            '            if path.endswith(".nothing"):\n                return',
            [_HOSTILE + "test_what_is_wrong_outside_is_not_quoted"],
        ),
        Breaking(
            "a path ends at the first colon",
            "project/redact.py",
            '        end = message.find(":", end + 1)\n    if not is_tainted:',
            "        end = -1\n    if not is_tainted:",
            [_HOSTILE + "test_what_is_wrong_outside_is_not_quoted"],
        ),
        Breaking(
            "links lead nowhere else",
            "project/redact.py",
            "    real = os.path.realpath(path)\n",
            "    real = os.path.abspath(path)\n",
            [_HOSTILE + "test_what_is_wrong_outside_is_not_quoted"],
        ),
        Breaking(
            "values out of a file outside are quoted",
            "project/redact.py",
            "    is_tainted = any(is_outside(path, inside) for path in error.env_files)",
            "    is_tainted = False",
            [_HOSTILE + "test_what_is_wrong_outside_is_not_quoted"],
        ),
        Breaking(
            "`lint` quotes what `check` does not",
            "api/lint.py",
            "        error = redact.redacted(error, self._cwd, self._inside)\n",
            "",
            [_HOSTILE + "test_what_is_wrong_outside_is_not_quoted"],
        ),
        Breaking(
            "mistakes in the checkout's own files are not told either",
            "project/redact.py",
            "    return not any(real == top or real.startswith(top.rstrip(os.sep) + os.sep) for top in inside)",
            "    return bool(real)",
            [_HOSTILE + "test_what_is_wrong_inside_is_quoted"],
        ),
    ),
    "a hostile repository: a variable that changes programs": (
        Breaking(
            "a config may name any variable",
            "config/parse.py",
            "        elif changes_programs(value):",
            "        elif not value:",
            [_HOSTILE + "test_no_variable_that_changes_programs"],
        ),
        Breaking(
            "a compose file may name any variable",
            "project/compose.py",
            ' and not changes_programs(port.env or "")\n',
            "\n",
            [_HOSTILE + "test_no_variable_that_changes_programs"],
        ),
        Breaking(
            "what begins like the loader's and git's is let through",
            "rules/targets.py",
            ' or variable.startswith(("LD_", "DYLD_", "PYTHON", "GIT_", "GITHUB_"))\n',
            "\n",
            [_HOSTILE + "test_no_variable_that_changes_programs"],
        ),
    ),
    "a hostile repository: control of a terminal": _known(
        _NO_FOREIGN_STRING, "the path of a config", "`who` prints branches", "errors are printed"
    ),
    "a hostile repository: more than a second or 100 MB": (
        *_known(_NOTHING_IN_A_CONFIG, "a compose file may have any size", "a config may have any size", "includes are"),
        Breaking(
            "`lint` waits for whoever writes to a FIFO in the place of a compose file",
            "sources/compose_files.py",
            'os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))',
            'os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))',
            [_HOSTILE + "test_endless_files"],
        ),
    ),
    "a hostile neighbour on the host: our leases": (
        Breaking(
            "another user's directory is used",
            "leases/directory.py",
            "    if status.st_uid != os.geteuid():",
            "    if status.st_uid == -1:",
            [_STORE + "test_a_directory_that_cannot_be_trusted_is_left_alone"],
        ),
    ),
    "a hostile neighbour on the host: our cache": _known(
        _REMEMBERED, "a file that somebody", "a directory that others"
    ),
    "a hostile neighbour on the host: our config planted above us": _known(
        reading.BREAKINGS["A config that another user"], "what another user planted", "a planted compose file"
    ),
    "a hostile neighbour on the host: a signal sent to another process": _known(
        kill.BREAKINGS["No other process is signalled"], "a signal goes to the number"
    ),
    "a hostile neighbour on the host: a file of ours followed through a link": (
        Breaking(
            "the store's files may be links",
            "leases/files.py",
            'getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0) | ',
            'getattr(os, "O_CLOEXEC", 0) | ',
            [_STORE + "test_a_table_that_cannot_be_trusted_is_left_alone"],
        ),
    ),
    "a hostile process or container: escape sequences on a terminal": _known(
        _NO_FOREIGN_STRING, "control characters", "what is the matter with a port"
    ),
    "a hostile process or container: a workflow command in a CI log": (
        Breaking(
            "a line end in a name begins a new command",
            "render/annotations.py",
            '.replace("%", "%25").replace("\\r", "%0D").replace("\\n", "%0A")',
            '.replace("%", "%25")',
            ["render/test_hostile_everywhere.py::test_nothing_hostile_comes_out"],
        ),
    ),
    "a hostile process or container: a word in a printed command": (
        Breaking(
            "containers' names and labels are words of a command, whatever they are",
            "rules/ownership.py",
            '    return text if is_name else ""',
            '    return text if is_name or text else ""',
            ["render/test_hostile_everywhere.py::test_commands_are_made_of_checked_words"],
        ),
    ),
    "a hostile engine: the verdict": _known(check.BREAKINGS["A look-up that fails"], "an engine that answers deeply"),
    "a hostile engine: more memory": (
        Breaking(
            "an answer of any size is read",
            "engines/http.py",
            "_SIZE_LIMIT = 16 * 1024 * 1024",
            "_SIZE_LIMIT = 16 * 1024 * 1024 * 1024",
            [_FAULTS + "test_a_fault_costs_a_sentence"],
        ),
        Breaking(
            "an answer of any number of values is understood",
            "engines/http.py",
            "_VALUES_LIMIT = 700_000",
            "_VALUES_LIMIT = 700_000_000",
            [_FAULTS + "test_the_costliest_answer"],
        ),
    ),
    "a hostile engine: a command": (
        Breaking(
            "whatever it calls a container's identifier is a word of docker's command line",
            "engines/stop.py",
            "    if not (identifier.isascii() and identifier.isalnum()):",
            "    if not identifier:",
            [_FAULTS + "test_stop_takes_identifiers_alone"],
        ),
    ),
    "never calls `sudo`": (
        Breaking(
            "who is hidden is looked for with sudo",
            "rules/explain.py",
            "def sight(euid: int | None) -> str:\n",
            "def sight(euid: int | None) -> str:\n"
            '    __import__("subprocess").run(["sudo", "-n", "ss", "-ltnp"], capture_output=True, check=False)\n'
            "    return _sight(euid)\n\n\n"
            "def _sight(euid: int | None) -> str:\n",
            [_PRIVATE + "test_sudo_is_named_and_never_called"],
        ),
    ),
    "never runs anything that a repository names": _known(_NOTHING_IN_A_CONFIG, "the branch is asked of git"),
    "never fetches anything": _known(_NOTHING_IN_A_CONFIG, "remote files are fetched"),
    "never reads the environment of other processes": (
        Breaking(
            "a process's environment is read",
            "system/processes.py",
            "        return Process(pid)\n    uids = _uids(",
            '        return Process(pid)\n    _read(f"{here}/environ")\n    uids = _uids(',
            [_PRIVATE + "test_environments_are_never_opened"],
        ),
        *_known(_NO_FOREIGN_STRING, "whatever calls itself docker-proxy"),
        *_known(check.BREAKINGS["The owners are those"], "a long name takes"),
    ),
    "never sends a signal that you did not ask for": _known(
        kill.BREAKINGS["No other process is signalled"], "a signal goes to the number", "another address"
    ),
}
