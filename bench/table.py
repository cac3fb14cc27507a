"""The figures of all runs as a Markdown table for each database."""

from statistics import median

# Scenario, what is measured, the figure it stands for, whether less of it is better, and what
# it is to be at least or at most: on any database, or by database.
ROWS = [
    ("send-1", "1 sender, messages/s", "per_s", False, {"sqlite": 1500, "postgres": 350}),
    ("send-8", "8 senders, messages/s", "per_s", False, "40 × Synapse"),
    ("send-50", "50 senders, messages/s", "per_s", False, {"sqlite": 3500, "postgres": 2500}),
    ("fan-out-100", "1 message/s to 100 members, p50 ms", "p50_ms", True, 5),
    ("fan-out-100", "1 message/s to 100 members, p99 ms", "p99_ms", True, 25),
    ("fan-out-100-flat-out", "flat out to 100 members, deliveries/s", "per_s", False, "120 × Synapse"),
    ("fan-out-1000", "5 messages/s to 1,000 members, p50 ms", "p50_ms", True, {}),
    ("fan-out-1000", "5 messages/s to 1,000 members, p99 ms", "p99_ms", True, 150),
    ("fan-out-1000-other-node", "the same on another node, p50 ms", "p50_ms", True, "1.5 × one node"),
    ("fan-out-1000-other-node", "the same on another node, p99 ms", "p99_ms", True, {}),
    ("sync-empty", "incremental sync, nothing new, /s", "per_s", False, 8000),
    ("sync-initial", "initial sync of 200 rooms, p50 ms", "p50_ms", True, 60),
    ("sync-restart", "first sync after a restart, 3,000 rooms, ms", "p50_ms", True, {}),
    ("sync-large", "initial sync of 300 rooms × 300 members, p50 ms", "p50_ms", True, {}),
    ("sync-large-lazy", "the same with lazy members, p50 ms", "p50_ms", True, {}),
    ("sync-large-20", "20 of them at once, p99 ms", "p99_ms", True, {}),
    ("sync-large-20", "20 of them at once, peak MiB", "peak_mib", True, {}),
    ("messages", "back-pagination, 50 events a page, pages/s", "per_s", False, "40 × Synapse"),
    ("members", "/members of 20,000, p50 ms", "p50_ms", True, {}),
    ("state", "/state of 20,000 members, p50 ms", "p50_ms", True, {}),
    ("join", "joins to one room, /s", "per_s", False, 800),
    ("idle-start", "memory after start, MiB", "server_mib", True, 40),
    ("idle-end", "memory after all this, MiB", "server_mib", True, 200),
]

# What a row says beside its own figure.
COLUMNS = ["server CPU, ms each", "database CPU, ms each", "server, MiB", "database, MiB"]


def table(results, database, servers):
    """A table of the results that were got on this database, a column a server."""
    mine = [r for r in results if r["database"] == database]
    # The database is part of a server on SQLite.
    columns = [c for c in COLUMNS if database != "sqlite" or not c.startswith("database")]
    head = [f"on {database}", "target", *servers, "ratio"]
    head += [f"{server}: {column}" for column in columns for server in servers]
    lines = [row(head), row(["---"] + ["---:"] * (len(head) - 1))]
    for scenario, title, figure, less, target in ROWS:
        runs = {s: [r for r in mine if (r["server"], r["scenario"]) == (s, scenario)] for s in servers}
        if not any(runs.values()):
            continue
        bound = target.get(database) if isinstance(target, dict) else target
        found = [spread(runs[s], figure) for s in servers]
        cells = [title, goal(bound, less), *found, number(ratio(runs, servers, figure, less))]
        cells += [number(cost(runs[s], column)) for column in columns for s in servers]
        lines.append(row(cells))
    return "\n".join(lines)


def row(cells):
    return "| " + " | ".join(cells) + " |"


def middle(runs, figure):
    values = [r["figures"][figure] for r in runs if figure in r["figures"]]
    return median(values) if values else None


def spread(runs, figure):
    """The median, with the least and the most where there are several."""
    values = [r["figures"][figure] for r in runs if figure in r["figures"]]
    if len(values) < 2:
        return number(middle(runs, figure))
    return f"{number(median(values))} ({number(min(values))} – {number(max(values))})"


def cost(runs, column):
    """A cell of one of `COLUMNS`."""
    kind = "server" if column.startswith("server") else "database"
    if column.endswith("MiB"):
        return middle(runs, f"{kind}_mib")
    each = [
        r["figures"][f"{kind}_cpu_s"] * 1000 / r["figures"]["operations"]
        for r in runs
        if f"{kind}_cpu_s" in r["figures"] and r["figures"].get("operations")
    ]
    return median(each) if each else None


def ratio(runs, servers, figure, less):
    """How many times better the last Stoa is than Synapse or, without it, than the first one."""
    found = {s: middle(runs[s], figure) for s in servers}
    ours = [s for s in servers if s != "synapse"]
    other = found.get("synapse") or (found[ours[0]] if len(ours) > 1 else None)
    stoa = found[ours[-1]] if ours else None
    if not stoa or not other:
        return None
    return other / stoa if less else stoa / other


def goal(bound, less):
    sign = "≤" if less else "≥"
    if bound is None:
        return ""
    return f"{sign} {bound:,}" if isinstance(bound, int) else f"{sign} {bound}"


def number(value):
    if value is None:
        return "–"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
