"""Where the config is looked for, where not, and which ones are refused because someone else may have planted them."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from portguard.config import find
from portguard.errors import ConfigError
from tests.worlds.capabilities import NOBODY

CONFIG = '[ports.web]\nport = 8080\nhost = "127.0.0.1"\n'
NO_HOME: dict[str, str] = {}


def path_of(config: find.ConfigText | None) -> str | None:
    """Return the path of what was found."""
    return None if config is None else config.path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a directory four levels deep."""
    deep = tmp_path / "home" / "work" / "shop" / "src"
    deep.mkdir(parents=True)
    return deep


def test_found_upwards_to_the_repository_root(tree: Path) -> None:
    """From a subdirectory the config at the repository's root is found."""
    root = tree.parent
    (root / ".git").mkdir()
    (root / "portguard.toml").write_text(CONFIG)

    assert path_of(find.find_config(str(tree), NO_HOME)) == str(root / "portguard.toml")


def test_the_repository_root_is_the_ceiling(tree: Path) -> None:
    """A config above the repository's root is none of its business; `.git` may be a file, as in a linked worktree."""
    (tree.parent / ".git").write_text("gitdir: elsewhere\n")
    (tree.parent.parent / "portguard.toml").write_text(CONFIG)

    assert find.find_config(str(tree), {"HOME": str(tree.parents[2])}) is None


def test_without_a_repository_home_is_the_ceiling(tree: Path) -> None:
    """Outside a repository the walk ends at home, which is looked into itself."""
    home = tree.parents[2]
    (home / "portguard.toml").write_text(CONFIG)

    assert path_of(find.find_config(str(tree), {"HOME": str(home)})) == str(home / "portguard.toml")
    assert find.find_config(str(tree), {"HOME": str(home / "work")}) is None


def test_elsewhere_it_does_not_walk(tree: Path) -> None:
    """With neither repository nor home above, only the working directory counts."""
    (tree.parent / "portguard.toml").write_text(CONFIG)

    assert find.find_config(str(tree), {"HOME": "/nonexistent"}) is None
    (tree / "portguard.toml").write_text(CONFIG)
    assert path_of(find.find_config(str(tree), {"HOME": "/nonexistent"})) == str(tree / "portguard.toml")


def test_pyproject_counts_only_with_its_table(tree: Path) -> None:
    """A pyproject.toml without [tool.portguard] does not stop the walk, even if it mentions the word."""
    root = tree.parent
    (root / ".git").mkdir()
    (tree / "pyproject.toml").write_text('[project]\ndependencies = ["portguard"]\n')
    (root / "pyproject.toml").write_text("[tool.portguard.ports]\nweb = 80\n")

    found = find.find_config(str(tree), NO_HOME)

    assert found is not None
    assert (found.path, found.prefix) == (str(root / "pyproject.toml"), ("tool", "portguard"))


def test_portguard_toml_wins_beside_a_pyproject(tree: Path) -> None:
    """In one directory portguard.toml is the config."""
    (tree / "pyproject.toml").write_text("[tool.portguard.ports]\nweb = 80\n")
    (tree / "portguard.toml").write_text(CONFIG)

    assert path_of(find.find_config(str(tree), NO_HOME)) == str(tree / "portguard.toml")


@pytest.mark.needs("users")
@pytest.mark.parametrize("by_link", [False, True], ids=["file", "link"])
def test_a_stranger_s_config_above_is_refused(tree: Path, by_link: bool) -> None:
    """What another user put above the working directory is refused, by file and by link, with the way to accept it."""
    root = tree.parent
    (root / ".git").mkdir()
    planted = root / "portguard.toml"
    if by_link:
        (root / "real.toml").write_text(CONFIG)
        planted.symlink_to("real.toml")
    else:
        planted.write_text(CONFIG)
    os.chown(planted, NOBODY, NOBODY, follow_symlinks=False)

    with pytest.raises(ConfigError, match=rf"above the working directory and .*uid {NOBODY}") as caught:
        find.find_config(str(tree), NO_HOME)

    assert f"--config {planted}" in (caught.value.hint or "")


@pytest.mark.needs("users")
def test_a_link_to_a_stranger_s_config_is_refused(tree: Path) -> None:
    """A link of one's own above, which leads to what another user wrote, is refused as that would be."""
    root = tree.parent
    (root / ".git").mkdir()
    (root / "theirs.toml").write_text(CONFIG)
    os.chown(root / "theirs.toml", NOBODY, NOBODY)
    (root / "portguard.toml").symlink_to("theirs.toml")

    with pytest.raises(ConfigError, match=rf"above the working directory and .*uid {NOBODY}"):
        find.find_config(str(tree), NO_HOME)


@pytest.mark.needs("users")
def test_a_planted_compose_file_is_refused(tree: Path, portguard: Any) -> None:
    """Compose would go on upwards, also out of the repository; what another user put there declares nothing."""
    (tree.parent / "compose.yaml").write_text("services: {web: {ports: ['20001:80']}}\n")
    os.chown(tree.parent / "compose.yaml", NOBODY, NOBODY)

    done = portguard("check", cwd=tree)

    assert done.returncode == 2
    assert "compose.yaml: refused" in done.stderr


@pytest.mark.needs("users")
def test_a_stranger_s_config_in_a_shared_directory_is_refused(tree: Path) -> None:
    """Where everyone may write, a stranger's config is refused even in the working directory."""
    (tree / "portguard.toml").write_text(CONFIG)
    os.chown(tree / "portguard.toml", NOBODY, NOBODY)
    assert path_of(find.find_config(str(tree), NO_HOME)) == str(tree / "portguard.toml")

    tree.chmod(0o1777)

    with pytest.raises(ConfigError, match="anyone can write"):
        find.find_config(str(tree), NO_HOME)


@pytest.mark.needs("users")
def test_the_checkout_s_owner_is_believed(tree: Path) -> None:
    """In a checkout of another user, that user's own config is the project's."""
    root = tree.parent
    (root / ".git").mkdir()
    (root / "portguard.toml").write_text(CONFIG)
    os.chown(root, NOBODY, NOBODY)
    os.chown(root / "portguard.toml", NOBODY, NOBODY)

    assert path_of(find.find_config(str(tree), NO_HOME)) == str(root / "portguard.toml")


@pytest.mark.needs("users")
def test_a_planted_dotenv_is_refused(tree: Path, portguard: Any) -> None:
    """A `.env` that another user put beside a config above decides no port."""
    root = tree.parent
    (root / ".git").mkdir()
    (root / "portguard.toml").write_text(CONFIG + 'env = "WEB_PORT"\n')
    (root / ".env").write_text("WEB_PORT=1\n")
    os.chown(root / ".env", NOBODY, NOBODY)

    done = portguard("check", cwd=tree)

    assert done.returncode == 2
    assert ".env: refused" in done.stderr


def test_named_explicitly_it_is_believed(tree: Path, answer: Any) -> None:
    """--config names a file anywhere, and that one is used, whatever else there is."""
    (tree / "portguard.toml").write_text("[ports]\nother = 1\n")
    elsewhere = tree.parents[2] / "mine.toml"
    elsewhere.write_text(CONFIG)

    data = answer("check", "--config", os.path.relpath(elsewhere, tree), cwd=tree)["data"]

    assert [port["name"] for port in data["ports"]] == ["web"]
    assert os.path.samefile(data["config"], elsewhere)


def test_the_error_says_where_it_looked(tree: Path, portguard: Any) -> None:
    """Without config and ports it exits 2 and names the directories."""
    (tree.parent / ".git").mkdir()

    done = portguard("check", cwd=tree)

    assert done.returncode == 2
    assert f"{tree} up to {tree.parent}" in done.stderr


@pytest.mark.parametrize("kind", ["directory", "fifo", "large", "loop"])
def test_a_pyproject_that_cannot_hold_our_table_is_none(kind: str, tree: Path) -> None:
    """What lies there by that name and is no readable project file does not stop the walk."""
    root = tree.parent
    (root / ".git").mkdir()
    (root / "portguard.toml").write_text(CONFIG)
    path = tree / "pyproject.toml"
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "large":
        path.write_text("[project]\n" + "# portguard\n" * 10_000)
    else:
        path.symlink_to(path)

    assert path_of(find.find_config(str(tree), NO_HOME)) == str(root / "portguard.toml")


@pytest.mark.parametrize("kind", ["loop", "memory", "large"])
def test_a_config_that_cannot_be_read_is_not_passed_over(kind: str, tree: Path) -> None:
    """A config that is there and broken is an error, not a reason to look further up or to take the next one."""
    (tree.parent / "portguard.toml").write_text(CONFIG)
    (tree.parent / ".git").mkdir()
    path, said = tree / "portguard.toml", "cannot be read: "
    if kind == "loop":
        path.symlink_to(path)
    elif kind == "memory":
        path.symlink_to("/proc/self/mem")  # opens, and cannot be read at its beginning
    else:
        path, said = tree / "pyproject.toml", "is larger than 64 KiB"
        path.write_text("[project]\n[tool.portguard]\n" + "# ports\n" * 10_000)

    with pytest.raises(ConfigError, match=said) as caught:
        find.find_config(str(tree), NO_HOME)

    assert caught.value.message.startswith(f"{path}: ")


def test_what_has_gone_meanwhile_is_not_believed(tmp_path: Path) -> None:
    """Whose it was is unknown any more."""
    assert find.distrust(str(tmp_path / "gone"), cwd=str(tmp_path), root=None) == "No such file or directory"


def test_a_named_pyproject_needs_the_table(tmp_path: Path, portguard: Any) -> None:
    """`--config pyproject.toml` without [tool.portguard] says what is missing."""
    for text in ("[project]\n", 'tool = "none"\n'):
        (tmp_path / "pyproject.toml").write_text(text)

        done = portguard("check", "--config", "pyproject.toml")

        assert done.returncode == 2
        assert "unknown table [tool.portguard]" in done.stderr


@pytest.mark.parametrize("kind", ["directory", "fifo", "large", "missing", "socket-like"])
def test_what_is_no_config(kind: str, tmp_path: Path, portguard: Any) -> None:
    """A directory, a FIFO, a device, 64 KiB and a byte, or nothing at all: one sentence, exit 2, and no hanging."""
    path = tmp_path / "x.toml"
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "large":
        path.write_bytes(b"#" * (64 * 1024 + 1))
    elif kind == "socket-like":
        path = Path(os.devnull)

    done = portguard("check", "--config", path)

    assert done.returncode == 2
    assert done.stderr.count("portguard: ") == 1
    assert "Traceback" not in done.stderr


def test_a_file_of_exactly_the_limit_is_read(tmp_path: Path, answer: Any) -> None:
    """64 KiB is allowed."""
    text = CONFIG + "#" * (64 * 1024 - len(CONFIG))
    (tmp_path / "portguard.toml").write_text(text)

    assert [port["name"] for port in answer("check")["data"]["ports"]] == ["web"]


def test_the_working_directory_is_gone(tmp_path: Path, portguard: Any) -> None:
    """A deleted working directory is one clear error."""
    gone = tmp_path / "gone"
    gone.mkdir()

    done = portguard("check", cwd=gone, preexec_fn=gone.rmdir)

    assert done.returncode == 2
    assert "working directory cannot be used" in done.stderr
    assert stat.S_ISDIR(os.stat(tmp_path).st_mode)


def test_numbers_need_no_working_directory(tmp_path: Path, portguard: Any, idle: int) -> None:
    """In a deleted working directory ports that are given by number are checked as everywhere."""
    gone = tmp_path / "gone"
    gone.mkdir()

    done = portguard("check", f"127.0.0.1:{idle}", cwd=gone, preexec_fn=gone.rmdir)

    assert (done.returncode, done.stdout) == (0, "1 port: 1 free\n")
