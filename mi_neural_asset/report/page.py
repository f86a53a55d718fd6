"""The document: one HTML file that needs nothing else, with pictures as half floats in it."""

from __future__ import annotations

import base64
import json
from html import escape
from importlib import resources

import numpy as np

from .content import Content
from .plots import log_log


def html(content: Content) -> str:
    """A whole page."""
    own = resources.files(__package__)
    css, script = ((own / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    machine = ", ".join(f"{key} {value}" for key, value in content.machine.items())
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(content.title)}</title>
<link rel="icon" href="data:,">
<style>
{css}</style>
</head>
<body>
<header><h1>{escape(content.title)}</h1><p class="machine">{escape(machine)}</p></header>
<main>
{_VIEWER if content.views else ""}
{_plots(content)}
{"".join(map(_table, content.tables))}
</main>
<script type="application/json" id="content">{_data(content)}</script>
<script>
{script}</script>
</body>
</html>
"""


_VIEWER = """<section id="viewer" aria-label="pictures">
<div class="bar">
<label>View <select id="view"></select></label>
<span class="group" id="modes" role="group" aria-label="mode"></span>
<label>Exposure <input id="exposure" type="range" min="-8" max="8" step="0.25" value="0"> <output id="stops"></output></label>
<span class="group"><button id="out" title="zoom out (-)">-</button><output id="zoom"></output>
<button id="in" title="zoom in (+)">+</button>
<button id="fit" title="the whole picture (0)">fit</button></span>
<label id="range">Error up to <input id="limit" type="range" min="-2" max="1" step="0.05" value="-0.5"> <output id="most"></output></label>
</div>
<div class="bar" id="names"></div>
<div id="panels"></div>
<div class="bar"><canvas id="scale" width="256" height="12"></canvas><span id="scaletext"></span><output id="values"></output></div>
<p class="help">Keys 1 to 9 flip through pictures; drag to move, wheel or + and - to zoom, 0 to see all; in the slider, drag the line. All
panels share exposure, zoom and place. Error: mean over channels of the magnitude of the difference to the reference, in parts of the
reference's mean.</p>
</section>"""


def _plots(content: Content) -> str:
    graphs = "".join(log_log(p["title"], p["x"], p["y"], p["series"]) for p in content.plots)
    return f'<section id="plots"><h2>Convergence</h2>\n<div class="plots">{graphs}</div></section>' if graphs else ""


def _table(table: dict) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in table["header"])
    rows = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>\n" for row in table["rows"])
    grid = f'<div class="wide"><table><thead><tr>{head}</tr></thead>\n<tbody>{rows}</tbody></table></div>' if rows else ""
    return f"<section><h2>{escape(table['title'])}</h2><p>{escape(table['note'])}</p>\n{grid}</section>\n"


def _data(content: Content) -> str:
    views = []
    for view in content.views:
        first = next(iter(view.images.values()))
        images = {name: _half(image) for name, image in view.images.items()}
        views.append({"name": view.name, "reference": view.reference, "width": first.shape[1], "height": first.shape[0], "images": images})
    return json.dumps({"views": views}).replace("</", "<\\/")


def _half(image: np.ndarray) -> str:
    """Little-endian half floats, row by row; values beyond their range become the largest one."""
    return base64.b64encode(np.clip(np.nan_to_num(image), -65504, 65504).astype("<f2").tobytes()).decode()
