"""The commands that are compared, as data. {placeholders} get their values anew in every round (measure.scene).

python, bin: of the environment · here: this directory · free1 to free5: no one listens there · owner: a random port of
the world, another one each round · late: the port whose owner is the hardest to find.
"""

from __future__ import annotations

from typing import NamedTuple

EVERYWHERE = ("idle", "A", "B", "C", "D")

BARE = "python -c pass"
BARE_AGAIN = "python -c pass, again"
CHECK_FREE = "portguard check, 5 ports as arguments, none held"
CHECK_FREE_CONFIG = "portguard check, config of 5, none held"
CHECK_100 = "portguard check, config of 100, none held"
CHECK_HELD = "portguard check, 5 ports as arguments, 1 held"
CHECK_HELD_CONFIG = "portguard check, config of 5, 1 held"
WHO = "portguard who PORT, random owner"
WHO_LATE = "portguard who PORT, worst owner"
LIST = "portguard list"
FREE = "portguard free"
LINT = "portguard lint FILE"
IMPORT = "python -c 'import portguard'"
SEARCH = "portguard's owner search alone, in process"
SS = "ss -ltnup"
SS_PORT = "ss -ltnp sport = :PORT"
LSOF = "lsof -nP -iTCP -sTCP:LISTEN"
LSOF_PORT = "lsof -nP -iTCP:PORT -sTCP:LISTEN"
LSOF_PORT_ANY = "lsof -nP -iTCP:PORT"
FUSER = "fuser PORT/tcp"
PSUTIL_PORT = "psutil.net_connections, one owner"
PSUTIL = "psutil.net_connections, all listeners"
PORTPICKER = "portpicker"
EPHEMERAL_PORT_RESERVE = "ephemeral-port-reserve"
PORT_FOR = "port-for"
_TOGETHER = "64 at once: "
BARE_TOGETHER = _TOGETHER + BARE
FREE_TOGETHER = _TOGETHER + FREE
PORTPICKER_TOGETHER = _TOGETHER + PORTPICKER
EPHEMERAL_PORT_RESERVE_TOGETHER = _TOGETHER + EPHEMERAL_PORT_RESERVE
PORT_FOR_TOGETHER = _TOGETHER + PORT_FOR


class Contender(NamedTuple):
    """`words` is the command line, `code` its exit code, `needs` the program or module it is left out without.

    `names`: the placeholder of the port whose owner's process id its output must hold, or empty. `directory`: where it
    runs. `at_once`: so many are started together, each of which prints a port. `every`: it runs each so many rounds.
    `is_timed_inside`: it prints milliseconds of its own, wall and CPU, which count instead of those taken around it.
    """

    name: str
    words: tuple[str, ...]
    code: int = 0
    needs: str = ""
    names: str = ""
    directory: str = "empty"
    worlds: tuple[str, ...] = EVERYWHERE
    at_once: int = 1
    every: int = 1
    is_timed_inside: bool = False


_PORTGUARD = "{bin}/portguard"
_FOUR_FREE = ("{free1}", "{free2}", "{free3}", "{free4}")
_IDLE = ("idle",)
# The one of port-for asks through Python: its command writes to /etc.
_ALLOCATORS = {
    BARE: (("{python}", "-c", "pass"), ""),
    FREE: ((_PORTGUARD, "free"), ""),
    PORTPICKER: (("{python}", "-c", "import portpicker; print(portpicker.pick_unused_port())"), "module:portpicker"),
    EPHEMERAL_PORT_RESERVE: (("{bin}/ephemeral-port-reserve",), "module:ephemeral_port_reserve"),
    PORT_FOR: (("{python}", "-c", "import port_for; print(port_for.select_random())"), "module:port_for"),
}
_PSUTIL_LISTENERS = "import psutil\nfor c in psutil.net_connections('inet'):\n if c.status == psutil.CONN_LISTEN"

CONTENDERS = (
    Contender(BARE, ("{python}", "-c", "pass")),
    Contender(BARE_AGAIN, ("{python}", "-c", "pass")),
    Contender(CHECK_FREE, (_PORTGUARD, "check", *_FOUR_FREE, "{free5}")),
    Contender(CHECK_FREE_CONFIG, (_PORTGUARD, "check"), directory="five"),
    Contender(CHECK_100, (_PORTGUARD, "check"), directory="hundred"),
    Contender(CHECK_HELD, (_PORTGUARD, "check", *_FOUR_FREE, "{owner}"), code=1, names="owner"),
    Contender(CHECK_HELD_CONFIG, (_PORTGUARD, "check"), code=1, names="owner", directory="held"),
    Contender(WHO, (_PORTGUARD, "who", "{owner}"), names="owner"),
    Contender(WHO_LATE, (_PORTGUARD, "who", "{late}"), names="late"),
    Contender(LIST, (_PORTGUARD, "list"), names="owner"),
    Contender(SEARCH, ("{python}", "-I", "{here}/search.py", "{owner}"), names="owner", is_timed_inside=True),
    Contender(FREE, (_PORTGUARD, "free")),
    Contender(IMPORT, ("{python}", "-c", "import portguard"), worlds=_IDLE),
    Contender(LINT, (_PORTGUARD, "lint", "portguard.toml"), directory="five", worlds=_IDLE),
    Contender(SS, ("ss", "-ltnup"), needs="ss", names="owner"),
    Contender(SS_PORT, ("ss", "-ltnp", "sport = :{owner}"), needs="ss", names="owner"),
    Contender(LSOF, ("lsof", "-nP", "-iTCP", "-sTCP:LISTEN"), needs="lsof", names="owner"),
    Contender(LSOF_PORT, ("lsof", "-nP", "-iTCP:{owner}", "-sTCP:LISTEN"), needs="lsof", names="owner"),
    Contender(LSOF_PORT_ANY, ("lsof", "-nP", "-iTCP:{owner}"), needs="lsof", names="owner", worlds=("D",)),
    Contender(FUSER, ("fuser", "{owner}/tcp"), needs="fuser", names="owner"),
    Contender(
        PSUTIL_PORT,
        ("{python}", "-c", _PSUTIL_LISTENERS + " and c.laddr.port == {owner}: print(c.pid)"),
        needs="module:psutil",
        names="owner",
    ),
    Contender(
        PSUTIL,
        ("{python}", "-c", _PSUTIL_LISTENERS + ": print(c.laddr.port, c.pid)"),
        needs="module:psutil",
        names="owner",
    ),
    *(
        Contender(name, words, needs=needs, worlds=_IDLE)
        for name, (words, needs) in _ALLOCATORS.items()
        if name not in (BARE, FREE)
    ),
    *(
        Contender(_TOGETHER + name, words, needs=needs, worlds=_IDLE, at_once=64, every=4)
        for name, (words, needs) in _ALLOCATORS.items()
    ),
)
TOGETHER = frozenset(one.name for one in CONTENDERS if one.at_once > 1)
