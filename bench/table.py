"""The figures of all runs as a Markdown table for each database."""

from statistics import median

# Scenario, what is measured, the figure it stands for, whether less of it is better, and what
# it is to be at least or at most: on any database, or by database.
ROWS = [
    ("send-1", "1 sender, messages/s", "per_s", False, {"sqlite": 700, "postgres": 350}),
    ("send-8", "8 senders, messages/s", "per_s", False, "40 × Synapse"),
    ("send-50", "50 senders, messages/s", "per_s", False, {"sqlite": 3500, "postgres": 2500}),
    ("fan-out-100", "1 message/s to 100 members, p50 ms", "p50_ms", True, {}),
    ("fan-out-100", "1 message/s to 100 members, p99 ms", "p99_ms", True, {}),
    ("fan-out-1000", "5 messages/s to 1,000 members, p50 ms", "p50_ms", True, {}),
    ("fan-out-1000", "5 messages/s to 1,000 members, p99 ms", "p99_ms", True, 150),
    ("sync-empty", "incremental sync, nothing new, /s", "per_s", False, 8000),
    ("sync-initial", "initial sync of 200 rooms, p50 ms", "p50_ms", True, 60),
    ("join", "joins to one room, /s", "per_s", False, 800),
    ("idle-start", "memory after start, MiB", "server_mib", True, 40),
    ("idle-end", "memory after all this, MiB", "server_mib", True, 200),
]

# What a row says beside its own figure.
COLUMNS = ["server CPU, ms each", "database CPU, ms each", "server, MiB", "database, MiB"]


def table(results, database):
    """A table of the results that were got on this database."""
    mine = [r for r in results if r["database"] == database]
    servers = sorted({r["server"] for r in mine})
    if database == "sqlite":
        # The database is part of the server.
        columns = [c for c in COLUMNS if not c.startswith("database")]
    else:
        columns = COLUMNS
    head = [f"on {database}", "target", *servers, "ratio"]
    head += [f"{server}: {column}" for column in columns for server in servers]
    lines = [row(head), row(["---"] + ["---:"] * (len(head) - 1))]
    for scenario, title, figure, less, target in ROWS:
        runs = {s: [r for r in mine if (r["server"], r["scenario"]) == (s, scenario)] for s in servers}
        if not any(runs.values()):
            continue
        found = [middle(runs[s], figure) for s in servers]
        bound = target.get(database) if isinstance(target, dict) else target
        cells = [title, goal(bound, less), *map(number, found), number(ratio(servers, found, less))]
        cells += [number(cost(runs[s], column)) for column in columns for s in servers]
        lines.append(row(cells))
    return "\n".join(lines)


def row(cells):
    return "| " + " | ".join(cells) + " |"


def middle(runs, figure):
    values = [r["figures"][figure] for r in runs if figure in r["figures"]]
    return median(values) if values else None


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


def ratio(servers, found, less):
    """How many times better Stoa is than the other server."""
    figures = dict(zip(servers, found))
    stoa, other = figures.get("stoa"), figures.get("synapse")
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
