"""The paper's tables by one command: bakes every asset, renders it every way, prints ours beside the paper's.

    python benchmarks/paper.py --scale tiny --assets seal,candle

Every bake and every comparison is kept in OUT/cells under a hash of all that it depends on (scene files, configuration, weights,
seeds, sizes, versions): a run that was stopped goes on, and what has changed is made anew.  Writes OUT/tables.md, OUT/sheet.png,
what `mi-neural-asset report OUT` needs, and with --docs the tables into a page that keeps one part for each scale.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import common
import numpy as np
from paper_figures import ASSETS

import mi_neural_asset
from mi_neural_asset import catalogue
from mi_neural_asset.files import replacing
from mi_neural_asset.threads import share_cores


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


def contact_sheet(views: dict[tuple[str, str], dict[str, np.ndarray]]) -> np.ndarray | None:
    """Reference, ours, far field and our error of all assets in their lit scenes, in two columns, [H, W, 3] linear; None without any.

    Exposure: the brightest thirtieth of the reference saturates.  Error: the channels' mean difference over the picture's mean, white is 1.
    """
    rows = []
    for (_, setup), images in views.items():
        if setup == "scene" and {"reference", "ours", "far_field"} <= images.keys():
            reference = images["reference"]
            shown = [np.clip(images[name] / np.quantile(reference, 0.97), 0, 1) for name in ("reference", "ours", "far_field")]
            error = np.abs(images["ours"] - reference).mean(-1, keepdims=True) / reference.mean()
            rows.append(np.concatenate([*shown, np.minimum(error, 1).repeat(3, -1)], 1))
    if not rows:
        return None
    rows += [np.zeros_like(rows[0])] * (len(rows) % 2 if len(rows) > 1 else 0)
    half = max(len(rows) // 2, 1)
    return np.concatenate([np.concatenate(rows[k : k + half]) for k in range(0, len(rows), half)], 1)


def with_part(page: str, part: str) -> str:
    """A page with one part, from its heading of level two to the next, in place of the one of the same heading, or at the end."""
    parts = page.split("\n## ")
    name = part.removeprefix("## ").split("\n", 1)[0]
    kept = [old.rstrip("\n") + "\n" for old in parts if old.split("\n", 1)[0] != name]
    at = next((k for k, old in enumerate(parts) if old.split("\n", 1)[0] == name), len(kept))
    return "\n## ".join([*kept[:at], part.removeprefix("## "), *kept[at:]])


def shares(chosen: list[str], assets: list[str]) -> list[list[tuple[str, str]]]:
    """The asset and the tables of each process; those of the second round need bakes of the first."""
    from paper_tables import subjects

    single = subjects(assets)
    shared = ",".join(name for name in chosen if name not in single)
    return [[(asset, shared) for asset in assets if shared], [(single[name], name) for name in chosen if name in single]]


def run_shares(rounds: list[list[tuple[str, str]]], jobs: int, command: list[str]) -> None:
    """Run `command` for each share, `jobs` processes at a time.

    Raises:
        RuntimeError: some did not end well; all others did their work.
    """

    def run(share: tuple[str, str]) -> str:
        asset, tables = share
        done = subprocess.run([*command, "--assets", asset, "--tables", tables], stdout=subprocess.DEVNULL, check=False)
        return f"{asset} (tables {tables}): exit code {done.returncode}" if done.returncode else ""

    with ThreadPoolExecutor(jobs) as pool:
        failed = [name for shares in rounds for name in list(pool.map(run, shares)) if name]
    if failed:
        raise RuntimeError(f"not made, see above: {'; '.join(failed)}")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    from paper_cells import SCALES
    from paper_tables import TABLES

    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--scale", choices=SCALES, default="tiny", help="resolution, samples and budget (default: %(default)s)")
    made.add_argument("--assets", default=",".join(ASSETS), help="with commas between them (default: the paper's ten)")
    made.add_argument("--tables", default="", help=f"of {','.join(TABLES)} (default: all)")
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--out", type=Path, default=None, help="folder of cells and results (default: out/paper_SCALE)")
    made.add_argument("--jobs", type=int, default=1, metavar="N", help="processes at a time that make cells (default: %(default)s)")
    made.add_argument("--cells-only", action="store_true", help="make cells, print no tables: as one of --jobs N processes")
    made.add_argument("--docs", type=Path, default=None, metavar="PAGE", help="Markdown page whose part of this scale is written anew")
    return made


def main() -> None:
    """Parse the command line, make what is missing, print the tables."""
    from paper_cells import SCALES, Bench
    from paper_tables import TABLES, Tables

    from mi_neural_asset.images import write_png

    arguments = parser()
    options = arguments.parse_args()
    import mitsuba as mi

    mi.set_variant("llvm_ad_rgb")
    mi_neural_asset.register()
    out = options.out or Path("out") / f"paper_{options.scale}"
    assets = catalogue.chosen([name for name in options.assets.split(",") if name])
    if apart := {"cloud": "13", "composition": "composition"}.keys() & assets:
        arguments.error(f"{', '.join(sorted(apart))}: not a row of the tables; ask for --tables 13 or composition")
    chosen = [name for name in options.tables.split(",") if name] or list(TABLES)
    if unknown := [name for name in chosen if name not in TABLES]:
        arguments.error(f"no table is called {unknown[0]!r}; there are {', '.join(TABLES)}")
    start = time.monotonic()

    def say(title: str) -> None:
        print(f"[{time.monotonic() - start:6.0f} s] {title}", file=sys.stderr, flush=True)

    scale = SCALES[options.scale]
    try:
        if options.cells_only:
            share_cores(options.jobs)
        elif options.jobs > 1:
            command = [sys.executable, __file__, "--scale", options.scale, "--seed", str(options.seed), "--out", str(out)]
            run_shares(shares(chosen, assets), options.jobs, [*command, "--jobs", str(options.jobs), "--cells-only"])
        tables = Tables(Bench(out, scale, options.seed, say), assets)
        made = [tables.make(name) for name in chosen]
    except KeyboardInterrupt as error:
        sys.exit(f"stopped ({error or 'Ctrl-C'}); the same command goes on from the cells in {out}")
    if options.cells_only:
        return
    machine = common.machine()
    command = f"python benchmarks/paper.py --scale {options.scale} --assets {','.join(assets)}"
    command += f" --tables {options.tables}" if options.tables else ""
    command += f" --jobs {options.jobs}" if options.jobs > 1 else ""
    about = f"`{command}`: {scale}. Machine: {', '.join(f'{k} {v}' for k, v in machine.items())}, load {os.getloadavg()[0]:.1f} at the end."
    text = f"## Scale {options.scale}\n\n{about}\n\n" + "\n".join(table.markdown() for table in made)
    with replacing(out / "tables.md") as stream:
        stream.write(text.encode())
    if options.docs:
        page = with_part(options.docs.read_text(), text)
        with replacing(options.docs) as stream:
            stream.write(page.encode())
    if (sheet := contact_sheet(tables.views)) is not None:
        write_png(out / "sheet.png", sheet)
    write_report(out, tables, made, f"The paper's tables at scale {options.scale}", {**machine, "settings": str(scale)})
    print(text)
    print(f"{out / 'tables.md'}; pictures: mi-neural-asset report {out}", file=sys.stderr)


if __name__ == "__main__":
    main()
