"""Graphs with two logarithmic axes, as SVG."""

from __future__ import annotations

import math
from html import escape

WIDTH, HEIGHT = 420, 300
LEFT, RIGHT, TOP, BOTTOM = 62, 12, 30, 46
COLOURS = {"traced": "#c2571a", "ours": "#1f6fb2", "far_field": "#4c9a3f"}
OTHERS = ("#8a5bb0", "#b0413e", "#6b6b6b", "#b58a00")


def log_log(title: str, x: str, y: str, series: dict[str, list[tuple[float, float]]]) -> str:
    """One graph; points that are not positive are left out."""
    kept = {name: sorted(p for p in points if min(p) > 0 and all(map(math.isfinite, p))) for name, points in series.items()}
    every = [p for points in kept.values() for p in points]
    head = f'<text x="{WIDTH / 2}" y="18" text-anchor="middle" class="title">{escape(title)}</text>'
    body = _curves(kept, every) if every else f'<text x="{WIDTH / 2}" y="{HEIGHT / 2}" text-anchor="middle">no points</text>'
    labels = (
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 8}" text-anchor="middle">{escape(x)}</text>'
        f'<text transform="translate(14 {(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)" text-anchor="middle">{escape(y)}</text>'
    )
    return f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">{head}{labels}{body}</svg>'


def _range(values: list[float]) -> tuple[float, float]:
    """Exponents of ten around values, at least half a decade apart."""
    low, high = math.log10(min(values)), math.log10(max(values))
    extra = max(0.08 * (high - low), (0.5 - (high - low)) / 2)
    return low - extra, high + extra


def _ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten, or powers alone where there are many."""
    steps = (1, 2, 5) if high - low < 2.5 else (1,)
    values = [m * 10.0**e for e in range(math.floor(low), math.ceil(high) + 1) for m in steps]
    return [v for v in values if low <= math.log10(v) <= high]


def _curves(series: dict[str, list[tuple[float, float]]], every: list[tuple[float, float]]) -> str:
    (x0, x1), (y0, y1) = _range([p[0] for p in every]), _range([p[1] for p in every])

    def place(x: float, y: float) -> tuple[float, float]:
        across = (math.log10(x) - x0) / (x1 - x0)
        up = (math.log10(y) - y0) / (y1 - y0)
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    parts = [f'<rect x="{LEFT}" y="{TOP}" width="{WIDTH - LEFT - RIGHT}" height="{HEIGHT - TOP - BOTTOM}" class="frame"/>']
    for value in _ticks(x0, x1):
        px = place(value, 10**y0)[0]
        parts.append(f'<path d="M{px:.1f} {TOP}V{HEIGHT - BOTTOM}" class="grid"/>')
        parts.append(f'<text x="{px:.1f}" y="{HEIGHT - BOTTOM + 15}" text-anchor="middle">{value:g}</text>')
    for value in _ticks(y0, y1):
        py = place(10**x0, value)[1]
        parts.append(f'<path d="M{LEFT} {py:.1f}H{WIDTH - RIGHT}" class="grid"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{py + 4:.1f}" text-anchor="end">{value:g}</text>')
    for number, (name, points) in enumerate(series.items()):
        colour = COLOURS.get(name, OTHERS[number % len(OTHERS)])
        at = [place(*p) for p in points]
        line = " ".join(f"{px:.1f},{py:.1f}" for px, py in at)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{px:.1f}" cy="{py:.1f}" r="3.5" fill="{colour}"/>' for px, py in at]
        ly = TOP + 16 + 16 * number
        parts.append(f'<rect x="{WIDTH - 108}" y="{ly - 9}" width="10" height="10" fill="{colour}"/>')
        parts.append(f'<text x="{WIDTH - 94}" y="{ly}">{escape(name.replace("_", " "))}</text>')
    return "".join(parts)
