"""Hostile names in every place a foreign string can come from, through every output."""

from __future__ import annotations

import json
import shlex
import unicodedata

import pytest

from portguard.model import (
    Background,
    CheckReport,
    Compose,
    Container,
    Declaration,
    Failure,
    Finding,
    Holder,
    KillAction,
    KillPort,
    KillReport,
    LeaseInfo,
    LeasesReport,
    LintReport,
    Listener,
    Listing,
    Note,
    PortReport,
    Process,
    Source,
    WaitPort,
    WaitReport,
    WhoPort,
    WhoReport,
)
from portguard.render import annotations as annotated
from portguard.render import documents, kill, leases, listing, text, wait, who
from portguard.render.safe import safe
from portguard.rules import explain, ownership
from portguard.rules.verdicts import Decision

PIECES = (
    "\x1b[31m", "\x1b]52;c;aGk=\x07", "\x1b]8;;http://evil\x1b\\", "\x1b[2J", "\x9b31m", "\x90q\x9c", "\a", "\b", "\0",
    "\r", "\n",
    "\n::error::x", "\v", "\f", "\x7f", "\x85", "\u2028", "\u2029", "\u202e", "\u2066", "\u200b", "\u00ad",
    "\ufeff", "\udcff\udcfe", "\ud800", "[/red]", "[bold]", "%0A", "%1b", "\\x1b", "\\", "'", '"', "`id`", "$(id)",
    "; rm x", "&& x", "| x",
    "> x", "-rf", "--help", "--", " ", "  ", "~", "*", "?", "{a,b}", "!", "#", "\t", "é", "漢字",
    "👩‍👩‍👧", "a" * 300,
    "a\u0301" * 50, "\U000e0041", "\U0010ffff", "%s%n", "{0}", "../..", "/etc/passwd", "con", "\x1bP",
)  # fmt: skip


def holder(evil: str) -> Holder:
    """Return a holder whose every foreign string is `evil`."""
    return Holder(
        "tcp",
        f"fe80::1%{evil}",
        8080,
        "listen",
        "known",
        (Process(77, evil, evil, evil, evil, 1.0, 1, 1000),),
        container=Container("docker", "ab" * 32, evil, evil, Compose(evil, evil, evil)),
        unit=evil,
        uid=1000,
    )


def outputs(evil: str) -> dict[str, str]:
    """Return every text output about such holders."""
    found = holder(evil)
    plain = found._replace(container=None)
    port = PortReport(
        name="db",
        port=8080,
        declared_port=8080,
        protocol="tcp",
        hosts=("*",),
        env=None,
        service=evil,
        source=Source(evil, 3),
        verdict="conflict",
        cause="listener",
        message=f"{explain.owner_of(plain)} and {ownership.describe(found.container) if found.container else ''}",
        hint=evil,
        suggestion=None,
        notes=(Note("x", evil),),
        holders=(found, plain),
    )
    report = CheckReport(evil, (evil,), (port,), 1, (Note("y", evil),))
    background = Background(evil, evil, evil, evil)
    seen = WhoReport((WhoPort(8080, (found, plain), (plain,), (background, background), (Note("z", evil),)),), 0)
    listed = Listing(
        (Listener(found, "registered", evil, evil, evil), Listener(plain, "registered", None, evil)), None, ()
    )
    project = listing.listing(listed, colour=False, by_project=True)
    told = _others(evil, (found, plain), report)
    return {
        **told,
        "list --by-project": project,
        "check": text.check(report, "/", colour=False),
        "notes": text.check_notes(report),
        "error": text.error([evil], evil),
        "who": who.who(seen, "", colour=False),
        "list": listing.listing(listed, colour=False),
        "json": documents.document("check", 1, documents.data(report))
        + documents.document("who", 0, documents.data(seen)),
    }


def _others(evil: str, holders: tuple[Holder, ...], report: CheckReport) -> dict[str, str]:
    """Return what the other commands print about them: a plan and its outcome, a wait in vain, leases, findings."""
    actions = tuple(KillAction(kind, evil, evil, (77,), evil, needs_name=True) for kind in ("process", "container"))
    planned = KillPort(evil, 8080, "tcp", ("*",), "planned", evil, evil, actions, holders)
    refused = planned._replace(status="refused", actions=(), successors=holders)
    killed = KillReport((planned, refused), 1, (Note("x", evil),))
    failure = Failure("timeout", evil, evil)
    waited = WaitReport((WaitPort(evil, 8080, "tcp", ("*",), False, None, holders, failure),), 1)
    lease = LeaseInfo(8080, ("tcp",), "run", evil, evil, evil, holders[0].processes[0], 1.0, None, True, gone=True)
    finding = Finding("env-drift", "error", evil, evil, Source(evil, 3), 1, evil)
    found = LintReport(evil, (evil, evil), (finding,), 0, 1)
    return {
        "kill --dry-run": kill.plan(killed, colour=False),
        "kill": kill.outcome(killed, colour=False),
        "wait": wait.missed(waited),
        "leases": leases.leases([lease], "/", now=1.0, colour=False),
        "leases release": leases.given_back([lease], "/"),
        "lint": text.lint(found, "/", colour=False),
        "run": text.conflicts(report, "/", evil),
        "github": annotated.github([finding], base=evil),
        "sarif": annotated.sarif([finding], base=evil, version="1", rules={}),
        "documents": documents.document("kill", 1, documents.data(killed))
        + documents.document("wait", 1, documents.data(waited), [documents.error(evil, evil, evil)])
        + documents.document("lint", 1, documents.data(found))
        + documents.document("leases", 0, documents.data(LeasesReport((lease,)))),
    }


# What the lines of a table may begin with.
TABLES = {
    "list": ("PORT", "8080/tcp"),
    "list --by-project": ("PORT", "8080/tcp", "(no"),
    "leases": ("PORT", "8080/tcp"),
}


def test_the_corpus_is_large_enough() -> None:
    """At least 64 hostile names go through every output."""
    assert len(set(PIECES)) >= 64


@pytest.mark.parametrize("number", range(len(PIECES)))
def test_nothing_hostile_comes_out(number: int) -> None:
    """No control, format or surrogate character, no additional line; JSON is ASCII and gives the raw string back."""
    evil = f"x{PIECES[number]}y"

    made, harmless = outputs(evil), outputs("harmless")

    for name, output in made.items():
        if name in TABLES:  # their cells may go on in further lines, which begin with a blank
            lines = output.split("\n")[1 if name == "list --by-project" else 0 :]  # a project's name stands alone
            assert {line.partition(" ")[0] for line in lines} <= {*TABLES[name], ""}
        else:
            assert output.count("\n") == harmless[name].count("\n"), name
        bad = [char for char in output if char != "\n" and unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp")]
        assert not bad, name
    assert made["json"].isascii()
    first = json.loads(made["json"].splitlines()[0])
    assert first["data"]["ports"][0]["service"] == evil


@pytest.mark.parametrize("number", range(len(PIECES)))
def test_commands_are_made_of_checked_words(number: int) -> None:
    """A hint about a hostile container or unit holds a command that a shell reads as the words it shows."""
    for evil in (PIECES[number], f"x{PIECES[number]}y"):
        found = holder(evil)
        relations: tuple[ownership.Relation, ...] = (
            "other-project",
            "orphan",
            "other-service",
            "other-checkout",
            "plain",
        )
        for relation in relations:
            assert found.container is not None
            command = ownership.command(relation, found.container, 8080, has_compose=True)
            assert shlex.split(command) == command.split(" ")
            assert set(command) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 ._-")
        for one in (found, found._replace(container=None)):
            claim = ownership.Claim("other-project", one) if one.container is not None else None
            hint = explain.hint(
                _declaration(), "tcp",
                explain.Finding(Decision("conflict", "listener"), holders=[one], claim=claim, has_compose=True),
                platform="linux", euid=0,
            )  # fmt: skip
            assert hint is not None
            assert safe(hint) == hint
            assert len(shlex.split(hint)) == len(hint.split(" "))


def _declaration() -> Declaration:
    return Declaration("db", 8080, 8080, Source(None, None))
