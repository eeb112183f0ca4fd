"""
What came of a soak: its samples, the verdict about them, and the page and the graph that show both.

The verdict is about the second half of the run, when caches are full.
"""

from collections import Counter
from collections.abc import Sequence
from statistics import linear_regression, median
from typing import Final, NamedTuple

from bench.graph import Line, Panel, drawn

SAMPLE_S: Final = 10.0
LOAD: Final = "the load"
MEMORY_GROWTH_MAX: Final = 0.05  # of the memory, along the line through the samples
P50_GROWTH_MAX: Final = 0.2  # of the median of the first half's samples
P99_GROWTH_MAX: Final = 0.5  # the same; a tail is rougher than a middle
HARD_P99_MS: Final = 100.0  # of a purchase, at half load


class Sample(NamedTuple):
    """Ten seconds of it; times in ms."""

    minute: float
    memory_mib: dict[str, float]
    cores: dict[str, float]  # the load's own too
    purchases_per_s: float
    purchase_p50_ms: float
    purchase_p99_ms: float
    read_p50_ms: float
    read_p99_ms: float
    search_p99_ms: float
    late_ms: float
    position: int
    behind: int
    errors: dict[str, int]


class Finding(NamedTuple):
    """One thing that the verdict is about."""

    what: str
    measured: str
    wanted: str
    is_good: bool


def verdict(samples: Sequence[Sample]) -> list[Finding]:
    """Say of each thing that may not change whether it did."""
    half = len(samples) // 2
    errors = sum((Counter(sample.errors) for sample in samples), Counter[str]())
    said = ", ".join(f"{count} × {name}" for name, count in errors.most_common(5))
    findings = [Finding("errors", said or "none", "none", not errors)]
    grown = growth([total(s) for s in samples[half:]])
    wanted = f"at most {MEMORY_GROWTH_MAX * 100:+g} %"
    findings.append(Finding("memory in the second half", f"{grown * 100:+.1f} %", wanted, grown <= MEMORY_GROWTH_MAX))
    bounds = {"purchase_p50_ms": P50_GROWTH_MAX, "purchase_p99_ms": P99_GROWTH_MAX}
    bounds |= {"read_p50_ms": P50_GROWTH_MAX, "read_p99_ms": P99_GROWTH_MAX}
    for name, bound in bounds.items():
        before, after = (median([getattr(s, name) for s in part] or [0]) for part in (samples[:half], samples[half:]))
        slower = after / before - 1 if before else float("inf")
        kind, share, _ = name.split("_")
        what = f"{share} of a {kind}, second half beside first"
        measured = f"{before:.3g} ms, then {after:.3g} ms: {slower * 100:+.0f} %"
        findings.append(Finding(what, measured, f"at most {bound * 100:+g} %", slower <= bound))
    p99 = median([s.purchase_p99_ms for s in samples] or [0])
    findings.append(Finding("p99 of a purchase", f"{p99:.3g} ms", f"under {HARD_P99_MS:g} ms", 0 < p99 < HARD_P99_MS))
    return findings


def growth(values: Sequence[float]) -> float:
    """Give how much they grow from first to last along the line that fits them best, as a share of their mean."""
    if len(values) < 2:
        return 0.0
    line = linear_regression(range(len(values)), values)
    return line.slope * (len(values) - 1) / (sum(values) / len(values))


def total(sample: Sample) -> float:
    return sum(sample.memory_mib.values())


def graph(samples: Sequence[Sample]) -> str:
    """Draw what was measured over time."""

    def line(name: str, field: str) -> Line:
        return Line(name, [getattr(sample, field) for sample in samples])

    parts = list(samples[-1].memory_mib) if samples else []
    memory = [Line("all", [total(s) for s in samples])]
    memory += [Line(part, [s.memory_mib.get(part, 0) for s in samples]) for part in parts[:3]]
    panels = [
        Panel("Resident memory", "MiB", memory),
        Panel("A purchase", "ms", [line("p99", "purchase_p99_ms"), line("p50", "purchase_p50_ms")]),
        Panel(
            "A product read, and a search",
            "ms",
            [line("search p99", "search_p99_ms"), line("read p99", "read_p99_ms"), line("read p50", "read_p50_ms")],
        ),
        Panel(
            "Processors", "cores", [Line(part, [s.cores.get(part, 0) for s in samples]) for part in (*parts[:3], LOAD)]
        ),
        Panel("Purchases", "a second", [line("completed", "purchases_per_s")]),
        Panel("Errors", "in ten seconds", [Line("errors", [sum(s.errors.values()) for s in samples])]),
        Panel("The log", "thousands of records", [Line("position", [s.position / 1000 for s in samples])]),
    ]
    return drawn("A soak of marketd at half load", [sample.minute for sample in samples], panels)


def page(about: dict[str, object], samples: Sequence[Sample], findings: Sequence[Finding]) -> str:
    """Write what was done and what came of it."""
    minutes = samples[-1].minute if samples else 0
    bought = sum(sample.purchases_per_s * SAMPLE_S for sample in samples)
    carried = about["carried"]
    half = f"half of the {carried:,.0f} that it carried just before" if isinstance(carried, float) else "as asked for"
    rows = [f"| {f.what} | {f.measured} | {f.wanted} | {'yes' if f.is_good else '**no**'} |" for f in findings]
    late_ms = max((sample.late_ms for sample in samples), default=0)
    table = "\n".join(["| what | measured | wanted | kept |", "| --- | --- | --- | --- |", *rows])
    return f"""# A soak

Written by `make soak` on {about["taken"]}. Machine: {about["machine"]}; the load comes from the same machine.

{minutes:.3g} minutes at {about["visits_per_s"]:,.0f} visits a second, {half}: {bought:,.0f} purchases.
A visit is two searches, ten products looked at, one bought, waited for and fetched; now and then a library is read or
a review written, sessions are renewed, and a seller changes a price each second. Visits begin by chance, however those
before them fare (the generator was late by {late_ms:,.0f} ms at most), and everything is durable.

{table}

![Memory, latency, purchases, errors and the log over the run](soak.svg)

Memory is what is resident of all processes. Its growth is that along the straight line through the samples of the
second half, when caches are full. Of public events 32 MiB are kept (`events.keep_bytes_max`), so that the oldest go
soon, as they do in a shop that has been running for months: nats-server takes some 300 bytes of memory for each.
"""


def line(sample: Sample) -> str:
    memory = ", ".join(f"{part} {mib:.0f}" for part, mib in sample.memory_mib.items())
    cores = ", ".join(f"{part} {used:.2f}" for part, used in sample.cores.items())
    return (
        f"{sample.minute:5.1f} min  {sample.purchases_per_s:.0f} purchases/s, p50 {sample.purchase_p50_ms:.1f} "
        f"p99 {sample.purchase_p99_ms:.1f} ms; read p50 {sample.read_p50_ms:.2f} p99 {sample.read_p99_ms:.2f} ms; "
        f"MiB: {memory}; cores: {cores}; at {sample.position}, "
        f"{sample.behind} behind; {sum(sample.errors.values())} errors"
    )
