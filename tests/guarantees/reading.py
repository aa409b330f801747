"""Bugs in how files are read, by the promise that each one breaks."""

from __future__ import annotations

from tests.guarantees.breaking import Breaking

_BOMBS = "sources/test_compose_fuzz.py::test_bombs_are_bounded"
_CONFIG_BOMBS = "config/test_bombs.py::test_a_bomb_is_one_error"
_FUZZ = "fuzz/test_fuzz.py::test_every_input_is_answered"
_FIND = "config/test_find.py::"
_REMEMBERED = "config/test_remembered.py::"
_HOSTILE = "cli/test_hostile_checkout.py::"

BREAKINGS = {
    "Nothing in a config": (
        Breaking(
            "the branch is asked of git, which runs what the repository's settings name",
            "system/git.py",
            '    head = _read(os.path.join(own, "HEAD"), is_strict=False)\n',
            "    import subprocess\n\n"
            '    subprocess.run(["git", "-C", root, "status", "--branch"], capture_output=True, check=False)\n'
            '    head = _read(os.path.join(own, "HEAD"), is_strict=False)\n',
            [_HOSTILE + "test_nothing_of_it_is_executed"],
        ),
        Breaking(
            "the compose plugin resolves compose files without being asked to",
            "project/compose.py",
            "    if not by_compose:\n        return compose.read(files, environ, parsed=parsed)\n",
            "    by_compose = by_compose or bool(files)\n",
            [_HOSTILE + "test_nothing_of_it_is_executed"],
        ),
        Breaking(
            "command substitutions are expanded as a shell does",
            "sources/interpolation.py",
            '    if "$" not in template:\n        return template\n',
            '    if "$" not in template:\n        return template\n'
            '    if "$(" in template:\n'
            '        template = __import__("os").popen(f\'printf %s "{template}"\').read()\n',
            [_HOSTILE + "test_nothing_of_it_is_executed"],
        ),
        Breaking(
            "variables in a config are expanded",
            "config/find.py",
            "            data = file.read(_LONGEST_LOOK if optional else SIZE_LIMIT + 1)\n",
            "            data = os.path.expandvars(file.read(_LONGEST_LOOK if optional else SIZE_LIMIT + 1))\n",
            [_HOSTILE + "test_variables_in_a_config_are_text"],
        ),
        Breaking(
            "remote files are fetched",
            "sources/compose_files.py",
            '    return (bool(separator) and scheme.replace("+", "").isalnum()) or path.startswith(("git@", "github.com/"))',
            '    if bool(separator) and scheme == "http":\n'
            '        __import__("urllib.request").request.urlopen(path, timeout=1)\n'
            "    return bool(separator)",
            [_HOSTILE + "test_nothing_is_fetched"],
        ),
        Breaking(
            "a compose file may have any number of nodes",
            "sources/yaml_nodes.py",
            "NODE_LIMIT = 30_000",
            "NODE_LIMIT = 30_000_000",
            ["sources/test_compose_fuzz.py::test_the_limit_of_nodes"],
        ),
        Breaking(
            "what `<<` brings in has no limit",
            "sources/yaml_nodes.py",
            "            if self._merged > _MERGED_LIMIT:",
            "            if self._merged > _MERGED_LIMIT * 1000:",
            [_BOMBS],
        ),
        Breaking(
            "what variables grow to has no limit",
            "sources/interpolation.py",
            "        if length > VALUE_LIMIT:",
            "        if length > VALUE_LIMIT * 8:",
            ["sources/test_interpolation.py::test_nesting_growth_and_long_lines_cost_less_than_a_second"],
        ),
        Breaking(
            "a published range is as many ports as it says, for each service",
            "sources/compose_result.py",
            "PORTS_LIMIT = 70_000",
            "PORTS_LIMIT = 1_500_000",
            [_BOMBS],
        ),
        Breaking(
            "includes are read as often as they are named",
            "sources/compose.py",
            "FILES_LIMIT = 200",
            "FILES_LIMIT = 300_000",
            ["sources/test_compose_fuzz.py::test_includes_that_multiply"],
        ),
        Breaking(
            "a compose file may have any size",
            "sources/compose_files.py",
            "SIZE_LIMIT = 1024 * 1024",
            "SIZE_LIMIT = 1024 * 1024 * 1024",
            ["sources/test_compose_fuzz.py::test_bombs_are_bounded", _HOSTILE + "test_endless_files"],
        ),
        Breaking(
            "a config may be nested as deeply as it likes",
            "config/parse.py",
            "    if len(deepest) > _DEEPEST:",
            "    if len(deepest) > _DEEPEST * 1000:",
            [_CONFIG_BOMBS],
        ),
        Breaking(
            "a config may have any size",
            "config/find.py",
            "SIZE_LIMIT = 64 * 1024",
            "SIZE_LIMIT = 64 * 1024 * 1024 * 1024",
            [_HOSTILE + "test_endless_files"],
        ),
    ),
    "Everything read from outside": (
        Breaking(
            "a port may be any number",
            "config/parse.py",
            "        if not 0 < value <= LAST_PORT:",
            "        if not 0 < value <= LAST_PORT + 9999:",
            [_FUZZ + "[config]"],
        ),
        Breaking(
            "a byte order mark is any letter",
            "rules/env_block.py",
            '_BOM = "\\ufeff"',
            '_BOM = "A"',
            [_FUZZ + "[dotenv]"],
        ),
    ),
    "A config that another user": (
        Breaking(
            "what another user planted above is believed",
            "config/find.py",
            "    strangers = sorted(owners - trusted)\n",
            "    strangers = sorted(owners - trusted) if is_open_to_all else []\n",
            [_FIND + "test_a_stranger_s_config_above_is_refused"],
        ),
        Breaking(
            "a link of another user's counts as what it leads to",
            "config/find.py",
            "owners = {os.lstat(path).st_uid, os.stat(path).st_uid}",
            "owners = {os.stat(path).st_uid}",
            [_FIND + "test_a_stranger_s_config_above_is_refused"],
        ),
        Breaking(
            "a link of one's own counts, wherever it leads",
            "config/find.py",
            "owners = {os.lstat(path).st_uid, os.stat(path).st_uid}",
            "owners = {os.lstat(path).st_uid}",
            [_FIND + "test_a_link_to_a_stranger_s_config_is_refused"],
        ),
        Breaking(
            "in a directory that anyone can write to, what lies beside the caller is believed",
            "config/find.py",
            "    if directory == cwd and not is_open_to_all:",
            "    if directory == cwd:",
            [_FIND + "test_a_stranger_s_config_in_a_shared_directory_is_refused"],
        ),
        Breaking(
            "outside a repository the search goes on to the root",
            "config/find.py",
            "    return [start]\n",
            "    found = [start]\n"
            "    while found[-1] != os.path.dirname(found[-1]):\n"
            "        found.append(os.path.dirname(found[-1]))\n"
            "    return found\n",
            [_FIND + "test_elsewhere_it_does_not_walk"],
        ),
        Breaking(
            "a planted `.env` is believed",
            "project/load.py",
            '    _require_trusted(path, cwd, "set the variables in the environment instead")\n',
            "",
            [_FIND + "test_a_planted_dotenv_is_refused"],
        ),
        Breaking(
            "a planted compose file is believed",
            "project/load.py",
            "    for path in files.paths if files is not None else ():\n",
            "    for path in ():\n",
            [_FIND + "test_a_planted_compose_file_is_refused"],
        ),
    ),
    "A cached config": (
        Breaking(
            "the path alone is what a config is remembered by",
            "project/cache.py",
            "found.path, found.prefix, found.data)",
            'found.path, found.prefix, b"")',
            [_REMEMBERED + "test_nothing_is_stale"],
        ),
        Breaking(
            "a config is remembered for whatever falls into its place",
            "project/cache.py",
            "    is_whole = content.startswith(head) and not is_odd and answer == content[middle:]",
            "    is_whole = not is_odd and answer == content[middle:]",
            [_REMEMBERED + "test_nothing_is_stale"],
        ),
        Breaking(
            "what a disk has damaged is believed",
            "project/cache.py",
            "    is_whole = content.startswith(head) and not is_odd and answer == content[middle:]",
            "    is_whole = content.startswith(head)",
            [_REMEMBERED + "test_damage_costs_a_parse_and_nothing_else"],
        ),
        Breaking(
            "another portguard's memory is believed",
            "project/cache.py",
            "    return (__version__, sys.version,",
            '    return ("", sys.version,',
            [_REMEMBERED + "test_nothing_is_stale"],
        ),
        Breaking(
            "a file that somebody has planted is read",
            "leases/files.py",
            "    if not is_plain or stat.S_IMODE(status.st_mode) & 0o077:",
            "    if not stat.S_ISREG(status.st_mode):",
            [_REMEMBERED + "test_a_planted_file_is_not_read"],
        ),
        Breaking(
            "a directory that others may write to is used",
            "leases/directory.py",
            "    if stat.S_IMODE(status.st_mode) & 0o022:",
            "    if stat.S_IMODE(status.st_mode) & 0o0:",
            [_REMEMBERED + "test_a_planted_file_is_not_read"],
        ),
    ),
}
