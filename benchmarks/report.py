"""The tables, as Markdown."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from benchmarks import contenders as c
from benchmarks import measure, targets

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchmarks.measure import Results, Run, Spread

_REFERENCES = {"`pass`": c.BARE, "`ss`": c.SS, "`lsof`": c.LSOF_PORT}
_LEGEND = (
    "Ratios are of wall time: of the two in one round, then the median, with the 10th to 90th percentile. "
    f"`ss` is `{c.SS}`, `lsof` is `{c.LSOF_PORT}`. MiB are the peak of one run."
)
NOT_CONCLUSIVE = "not conclusive: this machine is too noisy"


def markdown(
    results: Sequence[Results],
    machine: Sequence[tuple[str, str]],
    skipped: Sequence[str],
    *,
    order: Sequence[str],
    rounds: int,
    seed: int,
) -> str:
    """Return the whole report; `order` is that of the contenders, `skipped` says in words what was left out."""
    parts = [
        "# portguard beside its peers",
        "\n".join(f"- {name}: {value}" for name, value in machine),
        f"{rounds} shuffled rounds a world, seed {seed}. {_LEGEND}",
    ]
    parts += [_world(one, order) for one in results]
    parts += ["## Memory", _memory(results, order), "## Targets", _targets(results)]
    if skipped:
        parts += ["## Left out", "\n".join(f"- {line}" for line in skipped)]
    if rounds < targets.ENOUGH_ROUNDS:
        parts.append(f"Fewer than {targets.ENOUGH_ROUNDS} rounds: a first look, no evidence.")
    noisy = [one.world.plan.name for one in results if not targets.is_conclusive(one)]
    if noisy:
        parts.append(f"**{NOT_CONCLUSIVE}** (world {', '.join(noisy)}).")
    return "\n\n".join(parts) + "\n"


def _world(results: Results, order: Sequence[str]) -> str:
    world = results.world
    null = measure.ratio(results, c.BARE_AGAIN, c.BARE)
    parts = [
        f"## World {world.plan.name}",
        f"{world.plan.text[0].upper()}{world.plan.text[1:]}; built in {world.seconds:.1f} s, {world.memory:.0f} MiB. "
        f"`pass` against itself: {_spread(null)}."
        + ("" if targets.is_conclusive(results) else f"\n\n**{NOT_CONCLUSIVE}**"),
        _table(
            ("command", "n", "wall ms", "CPU ms", "MiB", *(f"x {name}" for name in _REFERENCES)),
            (_row(results, name) for name in order if name in results.runs and name not in c.TOGETHER),
        ),
    ]
    together = [name for name in order if name in results.runs and name in c.TOGETHER]
    if together:
        head = ("command", "n", "wall ms", "CPU ms", f"x {_code(c.BARE_TOGETHER)}", "ports given twice, in all")
        parts.append(_table(head, (_row_together(results, name) for name in together)))
    if results.failures:
        parts.append("\n".join(f"- failed: {name}: {reason}" for name, reason in results.failures.items()))
    return "\n\n".join(parts)


def _row(results: Results, name: str) -> Iterable[str]:
    yield from _times(results, name)
    yield _mebibytes(results.peaks.get(name))
    for reference in _REFERENCES.values():
        yield _spread(measure.ratio(results, name, reference))


def _row_together(results: Results, name: str) -> Iterable[str]:
    yield from _times(results, name)
    yield _spread(measure.ratio(results, name, c.BARE_TOGETHER))
    yield "-" if name == c.BARE_TOGETHER else str(results.duplicates.get(name, "-"))


def _times(results: Results, name: str) -> Iterable[str]:
    runs = [run for run in results.runs[name] if run is not None]
    yield _code(name)
    yield str(len(runs))
    yield _median(runs, "wall")
    yield _median(runs, "cpu")


def _memory(results: Sequence[Results], order: Sequence[str]) -> str:
    names = [name for name in order if name != c.BARE_AGAIN and any(name in one.peaks for one in results)]
    head = ("peak MiB", *(one.world.plan.name for one in results))
    return _table(head, ((_code(name), *(_mebibytes(one.peaks.get(name)) for one in results)) for name in names))


def _targets(results: Sequence[Results]) -> str:
    rows = (
        (
            str(outcome.target.number),
            outcome.world,
            _code(outcome.target.contender),
            "ports given twice" if outcome.target.reference is None else f"x {_code(outcome.target.reference)}",
            f"{outcome.target.limit:g}" + ("" if outcome.target.goal is None else f" (goal {outcome.target.goal:g})"),
            _spread(outcome.figure),
            "-" if outcome.cpu is None else f"{outcome.cpu.median:.2f}",
            outcome.verdict,
        )
        for outcome in targets.judge(results)
    )
    return _table(("", "world", "command", "measured in", "at most", "measured", "of CPU time", ""), rows)


def _table(head: Sequence[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _code(name: str) -> str:
    return f"`{name}`"


def _median(runs: Sequence[Run], field: str) -> str:
    return f"{statistics.median(getattr(run, field) for run in runs):.1f}" if runs else "-"


def _mebibytes(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _spread(value: Spread | None) -> str:
    if value is None:
        return "-"
    if value.low == value.high:
        return f"{value.median:.2f}"
    return f"{value.median:.2f} ({value.low:.2f}-{value.high:.2f})"
