"""Claims about checkouts: every worktree has its own numbers, and they stay the same for every caller."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.amount import examples
from tests.conftest import PORTGUARD
from tests.worlds.repositories import declared_numbers, git

pytestmark = pytest.mark.needs("git")

_TIMEOUT = 60.0
_AT_ONCE = 8
_NAMES = ("web", "db", "api")
_WORKTREES = examples(100)

Numbers = Mapping[str, int]


def declare(directory: Path, ports: Mapping[str, int]) -> None:
    """Write a config in which every port has a variable."""
    sections = [f'[ports.{name}]\nport = {port}\nenv = "{name.upper()}_PORT"\n' for name, port in ports.items()]
    (directory / "portguard.toml").write_text("\n".join(sections))


def commit_all(directory: Path) -> None:
    """Commit what lies there."""
    git("-C", directory, "add", "--all")
    git("-C", directory, "commit", "--quiet", "--message", "all")


def repository(path: Path, ports: Mapping[str, int], *options: str) -> Path:
    """Make a repository with a config in its only commit."""
    git("init", "--quiet", *options, path)
    declare(path, ports)
    commit_all(path)
    return path


def worktree(repo: Path, path: Path, *options: str) -> Path:
    """Add a linked worktree."""
    git("-C", repo, "worktree", "add", "--quiet", *options, path)
    return path


def numbers(directory: Path, *arguments: str, only: Mapping[str, str] | None = None) -> dict[str, int]:
    """Return what `portguard env` prints in a fresh shell there; `only` is all the environment it has."""
    environ = dict(os.environ if only is None else only)
    done = subprocess.run(
        ["sh", "-c", 'cd "$1" && shift && exec "$@"', "sh", str(directory), PORTGUARD[0], "env", *arguments],
        env=environ, capture_output=True, text=True, check=False, timeout=_TIMEOUT, cwd="/",
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, ""), (directory, done)
    pairs = (line.partition("=") for line in done.stdout.splitlines())
    return {name: int(value) for name, _, value in pairs}


def of_all(directories: Iterable[Path], only: Mapping[str, str] | None = None) -> list[dict[str, int]]:
    """Return the numbers of all these directories, asked for eight at a time."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(lambda directory: numbers(directory, only=only), directories))


def all_ports(found: Iterable[Numbers]) -> list[int]:
    """Return the ports in them, one after the other."""
    return [port for item in found for port in item.values()]


def assert_own(found: Sequence[Numbers], declared: Mapping[str, int]) -> None:
    """Check that these are of the dynamic range, none declared, and none twice."""
    ports = all_ports(found)
    assert all(list(item) == [f"{name.upper()}_PORT" for name in declared] for item in found)
    assert all(49_152 <= port <= 65_535 for port in ports)
    assert len(set(ports)) == len(ports)
    assert not set(ports) & set(declared.values())


def leases(*words: str) -> dict[int, str]:
    """Return port and directory of what `portguard leases` with these words tells."""
    done = subprocess.run(
        [*PORTGUARD, "leases", *words, "--json"], capture_output=True, text=True, check=False, timeout=_TIMEOUT, cwd="/"
    )
    assert done.returncode == 0, done
    return {item["port"]: item["directory"] for item in json.loads(done.stdout)["data"]["leases"]}


def as_variables(ports: Mapping[str, int]) -> dict[str, int]:
    """Return the variables of these declarations."""
    return {f"{name.upper()}_PORT": port for name, port in ports.items()}


@pytest.fixture
def declared() -> dict[str, int]:
    """Return three declarations."""
    return dict(zip(_NAMES, declared_numbers(3), strict=True))


@pytest.fixture
def repo(tmp_path: Path, declared: dict[str, int]) -> Path:
    """Return the main checkout of a repository."""
    return repository(tmp_path / "main", declared)


# --- a hundred of them ----------------------------------------------------------------------------


@pytest.mark.scaled
def test_100_worktrees_of_3_ports_never_meet_and_never_change(
    repo: Path, declared: dict[str, int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Created at once, asked from a second shell, with an empty home, after a reboot: 0 collisions, 0 changes.

    `prune` after half of them were removed frees exactly theirs, and the others' stay.
    """
    trees = [worktree(repo, tmp_path / f"tree-{number}") for number in range(_WORKTREES)]
    first = of_all(trees)
    assert_own(first, declared)
    assert len(all_ports(first)) == 3 * _WORKTREES

    state = os.environ["PORTGUARD_STATE_DIR"]
    tables = list(Path(state).glob("leases-*.table"))
    assert tables, "without a table there is nothing that another boot would not see"
    for table in tables:
        table.unlink()
    empty = tmp_path / "empty"
    empty.mkdir()
    bare = {
        "PATH": "/usr/bin:/bin",
        "PORTGUARD_STATE_DIR": state,
        "HOME": str(empty),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    second, third = of_all(reversed(trees), only=bare)[::-1], of_all(trees[::4])
    changed = sum(before != after for before, after in zip(first + first[::4], second + third, strict=True))
    assert changed == 0
    assert os.listdir(empty) == []
    assert numbers(repo) == as_variables(declared)

    removed, kept = trees[::2], trees[1::2]
    for tree in removed[::2]:
        git("-C", repo, "worktree", "remove", "--force", tree)
    for tree in removed[1::2]:
        shutil.rmtree(tree)
    freed = leases("prune")
    assert sorted(freed) == sorted(all_ports(first[::2]))
    assert set(freed.values()) == set(map(str, removed))
    assert sorted(leases()) == sorted(all_ports(first[1::2]))
    assert of_all(kept[:10]) == first[1::2][:10]
    with capsys.disabled():
        print(f"\n{len(all_ports(first))} numbers, {changed} changed, {len(freed)} freed ", end="")  # noqa: T201


def test_a_worktree_made_again_in_a_place_that_was_pruned_takes_nobody_s_number(repo: Path, tmp_path: Path) -> None:
    """Remove, prune, add again, next to one that stays: no number is in two checkouts."""
    first, second = (worktree(repo, tmp_path / name) for name in ("first", "second"))
    before = of_all([first, second])
    git("-C", repo, "worktree", "remove", "--force", first)
    assert sorted(leases("prune")) == sorted(before[0].values())
    worktree(repo, first, "-f")
    again = of_all([first, second])
    assert again[1] == before[1]
    assert not set(again[0].values()) & set(again[1].values())


# --- the same name elsewhere ----------------------------------------------------------------------


def test_two_repositories_with_the_same_folder_names_do_not_meet(declared: dict[str, int], tmp_path: Path) -> None:
    """`shop` and its worktree `feature` in two places: four disjoint sets, and giving back one leaves the other."""
    trees = []
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        main = repository(tmp_path / place / "shop", declared)
        trees.append(worktree(main, tmp_path / place / "feature"))
        assert numbers(main) == as_variables(declared)
    found = of_all(trees)
    assert_own(found, declared)
    subprocess.run([*PORTGUARD, "leases", "release", "--all"], cwd=trees[0], check=True, capture_output=True)
    assert set(leases().values()) == {str(trees[1])}
    assert numbers(trees[1]) == found[1]


def test_two_clones_of_one_repository_are_two(repo: Path, declared: dict[str, int], tmp_path: Path) -> None:
    """A clone is a main checkout with worktrees of its own, whatever they are called."""
    git("clone", "--quiet", repo, tmp_path / "clone")
    trees = [worktree(repo, tmp_path / "a" / "x"), worktree(tmp_path / "clone", tmp_path / "b" / "x")]
    assert numbers(tmp_path / "clone") == as_variables(declared)
    assert_own(of_all(trees), declared)


def test_two_configs_in_one_checkout_have_different_numbers(repo: Path, tmp_path: Path) -> None:
    """A repository with two projects that both call their port `web`: four numbers in two worktrees."""
    for part, port in zip(("front", "back"), declared_numbers(2), strict=True):
        (repo / part).mkdir()
        declare(repo / part, {"web": port})
    commit_all(repo)
    trees = [worktree(repo, tmp_path / name) for name in ("one", "two")]
    found = of_all([tree / part for tree in trees for part in ("front", "back")])
    assert [list(item) for item in found] == [["WEB_PORT"]] * 4
    assert len(set(all_ports(found))) == 4


# --- kinds of checkouts ---------------------------------------------------------------------------


def test_all_worktrees_of_a_bare_repository_are_linked(repo: Path, declared: dict[str, int], tmp_path: Path) -> None:
    """A bare repository has no main checkout: each of its worktrees has its own numbers."""
    git("clone", "--quiet", "--bare", repo, tmp_path / "bare.git")
    trees = [worktree(tmp_path / "bare.git", tmp_path / name, "-b", name) for name in ("one", "two")]
    found = of_all(trees)
    assert_own(found, declared)
    assert of_all(trees) == found


def test_worktrees_around_a_hidden_bare_repository_are_linked(
    repo: Path, declared: dict[str, int], tmp_path: Path
) -> None:
    """The habit of `.bare` with a `.git` file beside it: the worktrees below it are linked, each its own."""
    home = tmp_path / "habit"
    git("clone", "--quiet", "--bare", repo, home / ".bare")
    (home / ".git").write_text("gitdir: ./.bare\n")
    assert_own(of_all(worktree(home, home / name, "-b", name) for name in ("one", "two")), declared)


def test_a_separate_git_dir_is_still_a_main_checkout(declared: dict[str, int], tmp_path: Path) -> None:
    """`.git` is a file there too, but nothing is linked; a worktree added to it is."""
    main = repository(tmp_path / "main", declared, "--separate-git-dir", str(tmp_path / "elsewhere.git"))
    assert (main / ".git").is_file()
    assert numbers(main) == as_variables(declared)
    assert_own([numbers(worktree(main, tmp_path / "side"))], declared)


def test_a_submodule_is_a_main_checkout_of_its_own(repo: Path, declared: dict[str, int], tmp_path: Path) -> None:
    """The declared numbers of its own config; a worktree of the submodule gets its own."""
    outer = repository(tmp_path / "outer", dict(zip(_NAMES, declared_numbers(3), strict=True)))
    git("-C", outer, "submodule", "--quiet", "add", repo, "part")
    assert (outer / "part" / ".git").is_file()
    assert numbers(outer / "part") == as_variables(declared)
    assert_own([numbers(worktree(outer / "part", tmp_path / "side"))], declared)


def test_without_git_the_directory_is_the_checkout(declared: dict[str, int], tmp_path: Path) -> None:
    """The declared numbers; isolated on request, then with its own, apart from its neighbour's."""
    places = [tmp_path / name for name in ("one", "two")]
    for place in places:
        place.mkdir()
        declare(place, declared)
        assert numbers(place) == as_variables(declared)
    own = [numbers(place, "--isolated") for place in places]
    assert_own(own, declared)
    assert of_all(places) == own


def test_a_detached_head_changes_nothing(repo: Path, declared: dict[str, int], tmp_path: Path) -> None:
    """Numbers belong to the place, not to the branch: detached, on a branch, detached again, the same."""
    tree = worktree(repo, tmp_path / "tree", "--detach")
    first = numbers(tree)
    assert_own([first], declared)
    git("-C", tree, "switch", "--quiet", "-c", "some/branch")
    assert numbers(tree) == first
    git("-C", tree, "checkout", "--quiet", "--detach")
    assert numbers(tree) == first
    git("-C", repo, "checkout", "--quiet", "--detach")
    assert numbers(repo) == as_variables(declared)


def test_a_moved_worktree_meets_nobody(repo: Path, declared: dict[str, int], tmp_path: Path) -> None:
    """After `git worktree move` it may have new numbers, but none that others have, also of one in its old place."""
    old, other = (worktree(repo, tmp_path / name) for name in ("old", "other"))
    before = of_all([old, other])
    git("-C", repo, "worktree", "move", old, tmp_path / "new")
    moved = numbers(tmp_path / "new")
    replacement = worktree(repo, old, "-b", "replacement")
    found = [moved, *of_all([replacement, other])]
    assert_own(found, declared)
    assert found[2] == before[1]
    assert numbers(tmp_path / "new") == moved


def test_what_a_moved_worktree_left_behind_is_pruned(repo: Path, tmp_path: Path) -> None:
    """The old place is gone, so its numbers are released; those of the new one stay."""
    old = worktree(repo, tmp_path / "old")
    before = numbers(old)
    git("-C", repo, "worktree", "move", old, tmp_path / "new")
    moved = numbers(tmp_path / "new")
    assert sorted(leases("prune")) == sorted(before.values())
    assert sorted(leases()) == sorted(moved.values())


# --- ways to get there ----------------------------------------------------------------------------


def test_git_s_variables_change_nothing(repo: Path, declared: dict[str, int], tmp_path: Path) -> None:
    """GIT_DIR, GIT_WORK_TREE, GIT_INDEX_FILE and the like of another checkout do not decide where we are."""
    tree = worktree(repo, tmp_path / "tree")
    own = numbers(tree)

    def pointing_to(work_tree: Path, directory: Path) -> dict[str, str]:
        return {
            "GIT_DIR": str(directory), "GIT_WORK_TREE": str(work_tree), "GIT_INDEX_FILE": str(directory / "index"),
            "GIT_COMMON_DIR": str(repo / ".git"), "GIT_CEILING_DIRECTORIES": str(tmp_path), **os.environ,
        }  # fmt: skip

    assert numbers(tree, only=pointing_to(repo, repo / ".git")) == own
    assert numbers(repo, only=pointing_to(tree, repo / ".git" / "worktrees" / "tree")) == as_variables(declared)


def test_a_hook_in_a_linked_worktree_sees_its_numbers(repo: Path, tmp_path: Path) -> None:
    """Git itself sets such variables for hooks; `portguard env` in a real pre-commit hook prints what a shell gets."""
    tree = worktree(repo, tmp_path / "tree")
    own = numbers(tree)
    hook = repo / ".git" / "hooks" / "pre-commit"
    hook.parent.mkdir(exist_ok=True)
    state = os.environ["PORTGUARD_STATE_DIR"]
    hook.write_text(
        f"#!/bin/sh\nset -e\nenv >{tmp_path}/variables\n"
        f"PORTGUARD_STATE_DIR={state} {PORTGUARD[0]} env >{tmp_path}/numbers\n"
    )
    hook.chmod(0o755)
    git("-C", tree, "commit", "--quiet", "--allow-empty", "--message", "with a hook")
    assert "GIT_INDEX_FILE=" in (tmp_path / "variables").read_text()
    assert (tmp_path / "numbers").read_text() == "".join(f"{name}={port}\n" for name, port in own.items())


def test_a_link_and_a_subdirectory_lead_to_the_same_checkout(repo: Path, tmp_path: Path) -> None:
    """Through a symbolic link to the worktree, to one of its directories, and from deep inside: the same numbers."""
    tree = worktree(repo, tmp_path / "tree")
    (tree / "src" / "deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tree)
    (tmp_path / "inner").symlink_to(tree / "src")
    own = numbers(tmp_path / "link")
    ways = [tree, tree / "src" / "deep", tmp_path / "link" / "src", tmp_path / "inner", tmp_path / "inner" / "deep"]
    assert of_all(ways) == [own] * len(ways)
    assert len(leases()) == 3


def test_many_first_calls_in_one_worktree_agree(repo: Path, declared: dict[str, int], tmp_path: Path) -> None:
    """24 shells that all ask first in one worktree, from several directories: all are told the same."""
    tree = worktree(repo, tmp_path / "tree")
    (tree / "src").mkdir()
    found = of_all([tree, tree / "src"] * 12)
    assert_own(found[:1], declared)
    assert found == found[:1] * 24
    assert len(leases()) == 3


# --- a worktree inside of its main checkout -------------------------------------------------------


def test_a_worktree_inside_of_the_main_checkout_is_its_own(repo: Path, declared: dict[str, int]) -> None:
    """`.worktrees/feature`: own numbers there, the declared ones outside, and giving back ours is not giving theirs."""
    inner = worktree(repo, repo / ".worktrees" / "feature")
    own = numbers(inner)
    assert_own([own], declared)
    assert numbers(repo) == as_variables(declared)
    done = subprocess.run([*PORTGUARD, "leases", "release", "--all"], cwd=repo, check=False, capture_output=True)
    assert done.returncode == 0
    assert sorted(leases()) == sorted(own.values())


def test_what_is_held_in_a_worktree_inside_is_not_released_from_outside(repo: Path) -> None:
    """`leases release --all` of the main checkout leaves what was held in a worktree that lies inside of it."""
    inner = worktree(repo, repo / ".worktrees" / "feature")
    done = subprocess.run(
        [*PORTGUARD, "free", "--hold", "30"], cwd=inner, check=True, capture_output=True, text=True, timeout=_TIMEOUT
    )
    port = int(done.stdout)
    try:
        subprocess.run([*PORTGUARD, "leases", "release", "--all"], cwd=repo, check=False, capture_output=True)
        assert port in leases()
    finally:
        subprocess.run([*PORTGUARD, "leases", "release", str(port)], check=False, capture_output=True)
