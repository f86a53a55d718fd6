"""The paper's tables by one command: bakes every asset, renders it every way, prints ours beside the paper's.

    python benchmarks/paper.py --scale tiny --assets seal,candle

Every bake and every comparison is kept in OUT/cells under a hash of all that it depends on (scene files, configuration, weights,
seeds, sizes, versions): a run that was stopped goes on, and what has changed is made anew.  Writes OUT/tables.md, what
`mi-neural-asset report OUT` needs, and with --docs the tables into a page that keeps one part for each scale.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

import common
from paper_figures import ASSETS

import mi_neural_asset
from mi_neural_asset import catalogue
from mi_neural_asset.files import replacing


def write_report(out: Path, tables, made: list, title: str, machine: dict) -> None:  # noqa: ANN001
    """Pictures, plots and tables in the form that `mi-neural-asset report` reads."""
    from mi_neural_asset.images import write_exr

    (out / "pictures").mkdir(exist_ok=True)
    views = []
    for (asset, setup), images in tables.views.items():
        files = {}
        for name, image in images.items():
            files[name.replace("_", " ")] = file = f"pictures/{asset}_{setup}_{name.replace(' ', '_')}.exr"
            write_exr(out / file, image)
        views.append({"name": f"{asset}, {setup}", "reference": "reference", "images": files})
    content = {
        "title": title, "machine": machine, "views": views, "plots": tables.plots,
        "tables": [{"title": t.title, "header": t.header, "rows": t.rows, "note": t.note} for t in made],
    }  # fmt: skip
    with replacing(out / "report.json") as stream:
        stream.write(json.dumps(content, indent=1).encode() + b"\n")


def with_part(page: str, part: str) -> str:
    """A page with one part, from its heading of level two to the next, in place of the one of the same heading, or at the end."""
    parts = page.split("\n## ")
    name = part.removeprefix("## ").split("\n", 1)[0]
    kept = [old.rstrip("\n") + "\n" for old in parts if old.split("\n", 1)[0] != name]
    at = next((k for k, old in enumerate(parts) if old.split("\n", 1)[0] == name), len(kept))
    return "\n## ".join([*kept[:at], part.removeprefix("## "), *kept[at:]])


def main() -> None:
    """Parse the command line, make what is missing, print the tables."""
    from paper_cells import SCALES, Bench
    from paper_tables import Tables

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", choices=SCALES, default="tiny", help="resolution, samples and budget (default: %(default)s)")
    parser.add_argument("--assets", default=",".join(ASSETS), help="with commas between them (default: the paper's ten)")
    parser.add_argument("--tables", default="", help="of 1,2,3,4,5,6,7,11,12,13,composition,baselines (default: all)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=None, help="folder of cells and results (default: out/paper_SCALE)")
    parser.add_argument("--docs", type=Path, default=None, metavar="PAGE", help="Markdown page whose part of this scale is written anew")
    options = parser.parse_args()
    import mitsuba as mi

    mi.set_variant("llvm_ad_rgb")
    mi_neural_asset.register()
    out = options.out or Path("out") / f"paper_{options.scale}"
    assets = catalogue.chosen([name for name in options.assets.split(",") if name])
    if apart := {"cloud": "13", "composition": "composition"}.keys() & assets:
        parser.error(f"{', '.join(sorted(apart))}: not a row of the tables; ask for --tables 13 or composition")
    start = time.monotonic()

    def say(title: str) -> None:
        print(f"[{time.monotonic() - start:6.0f} s] {title}", file=sys.stderr, flush=True)

    machine, scale = common.machine(), SCALES[options.scale]
    tables = Tables(Bench(out, scale, options.seed, say), assets)
    known = tables.all()
    chosen = [name for name in options.tables.split(",") if name] or list(known)
    if unknown := [name for name in chosen if name not in known]:
        parser.error(f"no table is called {unknown[0]!r}; there are {', '.join(known)}")
    try:
        made = [known[name]() for name in chosen]
    except KeyboardInterrupt as error:
        sys.exit(f"stopped ({error or 'Ctrl-C'}); the same command goes on from the cells in {out}")
    title = f"The paper's tables at scale {options.scale}"
    command = f"python benchmarks/paper.py --scale {options.scale} --assets {','.join(assets)}"
    command += f" --tables {options.tables}" if options.tables else ""
    about = f"`{command}`: {scale}. Machine: {', '.join(f'{k} {v}' for k, v in machine.items())}, load {os.getloadavg()[0]:.1f} at the end."
    text = f"## Scale {options.scale}\n\n{about}\n\n" + "\n".join(table.markdown() for table in made)
    with replacing(out / "tables.md") as stream:
        stream.write(text.encode())
    if options.docs:
        page = with_part(options.docs.read_text(), text)
        with replacing(options.docs) as stream:
            stream.write(page.encode())
    write_report(out, tables, made, title, {**machine, "settings": str(scale)})
    print(text)
    print(f"{out / 'tables.md'}; pictures: mi-neural-asset report {out}", file=sys.stderr)


if __name__ == "__main__":
    main()
