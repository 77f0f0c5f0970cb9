"""The ratios to nginx as an SVG: a bar for each row and server, of requests/s and of CPU time for each."""

import math
from xml.sax.saxutils import escape

from report import SERVER_NAMES, TITLES

COLOURS = {"larder": "#2f7ed8", "varnish": "#8a63c9", "haproxy": "#c98a1b", "trafficserver": "#5d9a5d"}
LEAST, MOST = 0.125, 8  # of the axis, which is logarithmic: twice and half are as far from nginx
LABELS, PANEL, GAP, BAR, SPACE, TOP = 250, 300, 40, 11, 9, 92
STYLE = """
  .ground { fill: #ffffff } text { fill: #1f2328; font: 12px system-ui, sans-serif }
  .small { font-size: 10px } .grid { stroke: #d8dee4 } .one { stroke: #57606a; stroke-width: 1.5 }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #0d1117 } text { fill: #e6edf3 } .grid { stroke: #30363d } .one { stroke: #9aa4af }
  }
"""


def bars(rows):
    """(row, [(server, ratio of the rate, ratio of the CPU time)]) of rows that have ratios, nginx left out."""
    found = []
    for row, told in rows.items():
        servers = [(name, server["ratios"].get("rate", {}).get("median"), server["ratios"].get("cpu_us", {}).get("median"))
                   for name, server in told["servers"].items()
                   if name in COLOURS and server.get("ratios", {}).get("rate")]
        if servers:
            found.append((row, servers))
    return found


def place(ratio):
    """Where a ratio is in a panel, in pixels from its left."""
    inside = min(max(ratio, LEAST), MOST)
    return PANEL * math.log(inside / LEAST) / math.log(MOST / LEAST)


def text(x, y, words, kind="", anchor="start"):
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(words)}</text>'


def panel(left, title, bottom):
    parts = [text(left + PANEL / 2, TOP - 34, title, anchor="middle")]
    tick = LEAST
    while tick <= MOST:
        x, is_one = left + place(tick), tick == 1
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 10}" y2="{bottom}" class="{"one" if is_one else "grid"}"/>')
        parts.append(text(x, TOP - 16, "nginx" if is_one else f"×{tick:g}" if tick > 1 else f"1/{1 / tick:g}", "small", "middle"))
        tick *= 2
    return parts


def bar(left, y, ratio, name, row):
    x, one = left + place(ratio), left + place(1)
    told = f"{TITLES.get(row, row)}: {SERVER_NAMES[name]} {ratio:.2f} × nginx"
    end = text(x + 3, y + BAR - 2, f"{ratio:.2f}", "small") if ratio >= 1 else text(x - 3, y + BAR - 2, f"{ratio:.2f}", "small", "end")
    return (f'<rect x="{min(x, one):.1f}" y="{y}" width="{max(abs(x - one), 1):.1f}" height="{BAR - 1}" '
            f'fill="{COLOURS[name]}"><title>{escape(told)}</title></rect>{end}')


def svg(rows, caption):
    """The picture, with its own ground in light and in dark; the caption says of what machine and versions it is."""
    shown = bars(rows)
    height = TOP + sum(BAR * len(servers) + SPACE for _, servers in shown) + 30
    width = LABELS + 2 * PANEL + 2 * GAP
    first, second = LABELS, LABELS + PANEL + GAP
    parts = [*panel(first, "requests/s: longer to the right is better", height - 28),
             *panel(second, "CPU time per request: longer to the left is better", height - 28)]
    x = 12
    for name in [n for n in COLOURS if any(n == s[0] for _, servers in shown for s in servers)]:
        parts.append(f'<rect x="{x}" y="14" width="12" height="12" fill="{COLOURS[name]}"/>')
        parts.append(text(x + 17, 24, SERVER_NAMES[name]))
        x += 34 + 7 * len(SERVER_NAMES[name])
    parts.append(text(x, 24, "beside nginx on one core each, medians of ratios within rounds"))
    y = TOP
    for row, servers in shown:
        parts.append(text(12, y + BAR * len(servers) / 2 + 4, TITLES.get(row, row)))
        for name, rate, cpu in servers:
            parts.append(bar(first, y, rate, name, row))
            if cpu:
                parts.append(bar(second, y, cpu, name, row))
            y += BAR
        y += SPACE
    parts.append(text(12, height - 10, caption, "small"))
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
            f'role="img" aria-label="Larder and others beside nginx">\n<style>{STYLE}</style>\n'
            f'<rect class="ground" width="{width}" height="{height}" rx="6"/>\n' + "\n".join(parts) + "\n</svg>\n")
