"""Random worlds from a seed: few ports, so that everything collides, and every kind of socket, option and setting."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from tests.oracle.worlds import GIVEN, KINDS, NOBODYS, Case, Item, Sight, Sock, World
from tests.worlds.capabilities import NOBODY

if TYPE_CHECKING:
    from portguard.model import Protocol

PRIVILEGED = (53, 80, 443, 1023)
ORDINARY = (1024, 3000, 5432, 8080, 8081, 40000, 40001, 40002)
SOCKET_HOSTS = (
    *("127.0.0.1", "0.0.0.0", "::1", "::") * 3,
    *("127.0.0.2", "::ffff:127.0.0.1", "::ffff:0.0.0.0", *GIVEN) * 2,
    *NOBODYS,
)
# No list whose addresses exclude each other: the config refuses it.
HOSTS: tuple[tuple[str, ...], ...] = (
    ("*",),
    ("localhost",),
    ("127.0.0.1",),
    ("127.0.0.2",),
    ("0.0.0.0",),
    ("::1",),
    ("::",),
    ("::ffff:127.0.0.1",),
    ("::ffff:0.0.0.0",),
    ("192.0.2.1",),
    ("2001:db8::1",),
    ("198.51.100.7",),
    ("2001:db8::7",),
    ("224.0.0.1",),
    ("127.0.0.1", "::1"),
    ("localhost", "192.0.2.1"),
    ("0.0.0.0", "::1"),
    ("127.0.0.2", "::"),
    ("192.0.2.1", "198.51.100.7"),
    ("127.0.0.1", "127.0.0.2", "2001:db8::1"),
)
# The value of a setting and how often it is set, of a hundred worlds.
SYSCTLS: dict[str, tuple[tuple[str, int], ...]] = {
    "net.ipv4.ip_local_port_range": (("40000 40003", 30), ("1024 60999", 30)),
    "net.ipv4.ip_unprivileged_port_start": (("0", 20), ("80", 20)),
    "net.ipv6.conf.all.disable_ipv6": (("1", 12),),
    "net.ipv6.conf.lo.disable_ipv6": (("1", 12),),
    "net.ipv6.bindv6only": (("1", 20),),
    "net.ipv4.ip_nonlocal_bind": (("1", 20),),
    "net.ipv6.ip_nonlocal_bind": (("1", 20),),
}
_SIGHTS: tuple[Sight, ...] = ("whole",) * 7 + ("no-netlink",) * 2 + ("nothing",)
_PROTOCOLS: tuple[tuple[Protocol, ...], ...] = (("tcp",),) * 8 + (("udp",),) * 3 + (("tcp", "udp"),)
# Each costs a tenth of a second and more: a busy UDP port is asked again and again.
_BUSY_UDP = 4


def world(seed: str) -> World:
    """Return the world of this seed."""
    dice = random.Random(seed)
    pool = (*dice.sample(PRIVILEGED, dice.randint(1, 2)), *dice.sample(ORDINARY, dice.randint(2, 4)))
    sockets = tuple(_socket(dice, pool) for _ in range(dice.randint(4, 18)))
    udp_ports = {sock.port for sock in sockets if KINDS[sock.kind][0] == "udp"}
    cases: list[Case] = []
    busy_udp = 0
    for _ in range(dice.randint(60, 100)):
        case = _case(dice, pool)
        slow = sum("udp" in item.protocols and item.port in udp_ports for item in case.items)
        if busy_udp + slow <= _BUSY_UDP:
            busy_udp += slow
            cases.append(case)
    return World(sockets, tuple(cases), _sysctls(dice), dice.choice(_SIGHTS), dice.random() >= 0.12)


def _chance(dice: random.Random, percent: int) -> bool:
    return dice.random() * 100 < percent


def _sysctls(dice: random.Random) -> tuple[tuple[str, str], ...]:
    chosen = []
    for key, values in SYSCTLS.items():
        drawn = dice.random() * 100
        for value, percent in values:
            if 0 <= drawn < percent:
                chosen.append((key, value))
            drawn -= percent
    return tuple(chosen)


def _socket(dice: random.Random, pool: tuple[int, ...]) -> Sock:
    host = dice.choice(SOCKET_HOSTS)
    return Sock(
        dice.choice(tuple(KINDS)),
        host,
        dice.choice(pool),
        v6only=dice.choice((None, True, False)) if host == "::" else None,
        reuse_address=_chance(dice, 50),
        reuse_port=_chance(dice, 25),
        has_device=_chance(dice, 10),
        uid=NOBODY if _chance(dice, 30) else 0,
    )


def _case(dice: random.Random, pool: tuple[int, ...]) -> Case:
    count = dice.choice((1,) * 9 + (2, 3))
    return Case(tuple(_item(dice, pool, is_alone=count == 1) for _ in range(count)), dice.choice((0, NOBODY)))


def _item(dice: random.Random, pool: tuple[int, ...], *, is_alone: bool) -> Item:
    hosts, protocols = dice.choice(HOSTS), dice.choice(_PROTOCOLS)
    is_askable = is_alone and len(hosts) == len(protocols) == 1
    is_argument = is_askable and _chance(dice, 20)
    return Item(hosts, dice.choice(pool), protocols, not is_argument and _chance(dice, 15), is_argument)
