"""Figures of rounds made into tables: medians, ratios to nginx within rounds, and aims."""

import statistics

from rows import AIMS, ROWS

TITLES = {row.name: row.title for row in ROWS}
SERVER_NAMES = {"larder": "Larder", "nginx": "nginx", "varnish": "Varnish", "haproxy": "HAProxy",
                "trafficserver": "Traffic Server"}
NOT_ALONE = 0.05  # of a core: what others may use without a word
LOAD = {"rate": "requests/s", "cpu_us": "CPU/request", "errors": "errors", "p99_us": "p99",
        "last_s": "last answer", "bytes_per_key": "bytes/key"}


def median(values):
    values = [v for v in values if v is not None]
    return statistics.median(values) if values else None


def summary(rounds):
    """Of each server's rounds, in order, its medians and its ratios to nginx within rounds.

    Errors are added up. A ratio has a median, a least and a greatest value; it is missing where nginx was not
    measured or measured 0.
    """
    result = {}
    for name, own in rounds.items():
        medians = {key: median([r[key] for r in own]) for key in own[0]}
        medians["errors"] = sum(r["errors"] for r in own)
        result[name] = {"medians": medians, "ratios": {}}
        for key in own[0]:
            found = [a[key] / b[key] for a, b in zip(own, rounds.get("nginx", [])) if a[key] is not None and b[key]]
            if found and key not in ("errors", "core", "foreign"):
                result[name]["ratios"][key] = {"median": median(found), "min": min(found), "max": max(found)}
    return result


def judge(rows):
    """The aims beside what was measured: (row, what, relation and aim, figure, "met", "missed" or "not measured")."""
    judged = []
    for row, what, of, relation, aim in AIMS:
        larder = rows.get(row, {}).get("servers", {}).get("larder", {})
        if of == "ratio":
            figure = larder.get("ratios", {}).get(what, {}).get("median")
        else:
            figure = larder.get("medians", {}).get(what)
        verdict = "not measured"
        if figure is not None and larder.get("failed") is None:
            verdict = "met" if (figure >= aim if relation == ">=" else figure <= aim) else "missed"
        judged.append((row, what, of, f"{relation} {aim:g}", figure, verdict))
    return judged


def number(value, digits=0):
    return "–" if value is None else f"{value:,.{digits}f}"


def times(ratio, is_nginx):
    """A ratio to nginx with its range."""
    if is_nginx or not ratio:
        return ""
    return f"{ratio['median']:.2f} ({ratio['min']:.2f}–{ratio['max']:.2f})"


def markdown(cells):
    return "| " + " | ".join(cells) + " |"


HEADS = {
    "load": ["row", "server", "requests/s", "× nginx", "CPU µs/request", "× nginx", "p50 µs", "p99 µs", "× nginx",
             "MiB", "core", "errors"],
    "stampede": ["row", "server", "last answer, s", "× nginx", "first, s", "requests at the origin", "CPU µs/client",
                 "MiB", "errors"],
    "growth": ["row", "server", "bytes/key", "× nginx", "MiB", "errors"],
}


def shape(row):
    kind = next((r.kind for r in ROWS if r.name == row), "hit")
    return kind if kind in HEADS else "load"


def head(kind):
    return [markdown(HEADS[kind]), markdown(["---"] * 2 + ["---:"] * (len(HEADS[kind]) - 2))]


def line(row, name, told):
    """The line of a server in a row; where there are no figures, why."""
    kind, cells = shape(row), [row, SERVER_NAMES[name]]
    if "medians" not in told:
        return markdown(cells + [told.get("cannot") or "FAILED"] + [""] * (len(HEADS[kind]) - 3))
    m, r, mine = told["medians"], told["ratios"], name == "nginx"
    mib = number(m["resident"] / 2**20)
    if kind == "growth":
        cells += [number(m["bytes_per_key"]), times(r.get("bytes_per_key"), mine), mib]
    elif kind == "stampede":
        cells += [number(m["last_s"], 3), times(r.get("last_s"), mine), number(m["first_s"], 3), number(m["origin"]),
                  number(m["cpu_us"], 1), mib]
    else:
        cells += [number(m["rate"]), times(r.get("rate"), mine), number(m["cpu_us"], 1), times(r.get("cpu_us"), mine),
                  number(m["p50_us"]), number(m["p99_us"]), times(r.get("p99_us"), mine), mib, f"{m['core']:.0%}"]
    return markdown(cells + [number(m["errors"])])


def table(rows):
    """All rows as Markdown, one table for each kind of figures, and what is to be said of them."""
    lines = []
    for kind in HEADS:
        mine = [name for name in rows if shape(name) == kind]
        if mine:
            lines += [*head(kind), *(line(n, server, told) for n in mine for server, told in rows[n]["servers"].items()), ""]
    lines += [f"* {note}" for note in notes(rows)]
    return "\n".join(lines)


def notes(rows):
    """What failed, and what is not quite the same, each said once."""
    said = {}
    for row, told in rows.items():
        foreign = [server["medians"].get("foreign", 0) for server in told["servers"].values() if "medians" in server]
        if foreign and max(foreign) > NOT_ALONE:
            said.setdefault("NOT ALONE: something else was busy for more than a twentieth of a core", []).append(row)
        for name, server in told["servers"].items():
            if server.get("failed"):
                said.setdefault(f"{SERVER_NAMES[name]} FAILED: {server['failed']}", []).append(row)
            if server.get("note") and "medians" in server:
                said.setdefault(f"{SERVER_NAMES[name]}: {server['note']}", []).append(row)
    return [f"{', '.join(where)}: {what}" for what, where in said.items()]


def aims_table(rows):
    lines = [markdown(["row", "Larder's", "aim", "figure", ""]), markdown(["---", "---", "---", "---:", "---"])]
    for row, what, of, aim, figure, verdict in judge(rows):
        told = LOAD[what] + (" × nginx" if of == "ratio" else "")
        lines.append(markdown([row, told, aim, number(figure, 2), verdict]))
    return "\n".join(lines)
