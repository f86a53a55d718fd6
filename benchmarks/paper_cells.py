"""What the paper's tables are made of: bakes and renders, each kept in a folder under a hash of all that it depends on."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import denoise
import mitsuba as mi
import numpy as np

import mi_neural_asset
from mi_neural_asset import catalogue
from mi_neural_asset.asset.schema import VERSION
from mi_neural_asset.baking import bake as baking
from mi_neural_asset.baking.buffer import PathBuffer
from mi_neural_asset.baking.checkpoint import checkpoint_path
from mi_neural_asset.baking.presets import preset
from mi_neural_asset.files import replacing
from mi_neural_asset.verify.lights import LAMP, Stage, light, sensor

RENDERER = 7  # raised when the same asset takes another time or memory, or gives another picture
RR_DEPTH = 1000  # of path-traced pictures: at its default depth volpath's roulette lets long paths explode
LAMP_DISTANCE, LAMP_RADIUS, LAMP_RADIANCE = 1.9, 0.25, 18.0  # of the sphere light, in radii of the asset
VARIANTS: dict[str, dict[str, Any]] = {  # settings of a bake beside the preset
    "ours": {}, "far_field": {"kind": "far_field"}, "smaller": {"width": 32, "albedo_width": 32, "knots": 8},
    "no_separation": {"separate_direct": False}, "paper_coordinates": {"coordinates": "paper", "proxy": "box", "proxy_margin": 0.0},
    "proxy_box": {"proxy": "box"}, "proxy_hull": {"proxy": "hull"},
}  # fmt: skip
COMPOSITION = ("candle", "milk", "dragon")  # assets of the scene `composition`


@dataclass(frozen=True)
class Scale:
    """How much work goes into every cell."""

    size: int  # pixels along each edge
    preset: str
    steps: int | None  # of each bake; None: `minutes`, or what the preset says
    minutes: float | None
    spp: int  # of a run
    runs: int
    reference_spp: int  # of each of the reference's 8 runs
    curve: tuple[int, ...]  # samples per pixel of the convergence graphs
    block: int  # pixels along an edge that are averaged before errors are compared: the references' noise asks for it


SCALES = {
    "tiny": Scale(40, "preview", 200, None, 64, 4, 32, (16, 64, 256), 4),
    "small": Scale(96, "preview", None, 2.5, 16, 4, 32, (1, 4, 16), 4),
    "full": Scale(800, "paper", None, None, 128, 6, 8192, (8, 32, 128, 512), 1),
}


class Cells:
    """Results by content.

    Args:
        folder: where they are kept.
        say: told what is being made.
    """

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self.folder, self._say = folder, say
        folder.mkdir(parents=True, exist_ok=True)

    def get(self, title: str, identity: dict[str, Any], make: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
        """What `make` returned for this identity, now or before; it gets a path without suffix for its own files."""
        text = json.dumps({**identity, "mitsuba": mi.__version__, "mi_neural_asset": mi_neural_asset.__version__}, sort_keys=True)
        path = self.folder / hashlib.sha256(text.encode()).hexdigest()[:20]
        kept = path.with_suffix(".json")
        if kept.exists():
            return json.loads(kept.read_text())
        self._say(title)
        result = {"title": title, "identity": identity, "path": path.name, **make(path)}
        with replacing(kept) as stream:
            stream.write(json.dumps(result, indent=1).encode() + b"\n")
        return result


def cpu_seconds() -> float:
    """CPU time of all threads: what other work on the machine does not change."""
    return time.process_time()


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:20]


class Bench:
    """All cells of one scale.

    Args:
        folder: of scenes, cells and report.
        scale: see `SCALES`.
        seed: of bakes and renders.
    """

    def __init__(self, folder: Path, scale: Scale, seed: int, say: Callable[[str], None]) -> None:
        self.scale, self.seed, self.cells, self._scenes = scale, seed, Cells(folder / "cells", say), folder / "scenes"
        self._written: dict[str, str] = {}

    def scene(self, asset: str) -> str:
        """Write an asset's scene files; returns their hash."""
        if asset not in self._written:
            files = catalogue.write(asset, self._scenes)
            text = "".join(f"{path.name} {_hash(path)}\n" for path in sorted(files))
            self._written[asset] = hashlib.sha256(text.encode()).hexdigest()[:20]
        return self._written[asset]

    # -- bakes ------------------------------------------------------------------------------------------------------

    def bake(self, asset: str, variant: str = "ours") -> dict[str, Any]:
        """An asset file and how its time was spent; `weights` is its path."""
        settings = VARIANTS[variant]
        identity = {
            "cell": "bake", "scene": self.scene(asset), "config": preset(self.scale.preset, **settings).to_dict(),
            "steps": self.scale.steps, "minutes": self.scale.minutes, "seed": self.seed, "format": VERSION,
        }  # fmt: skip

        def make(path: Path) -> dict[str, Any]:
            out, spent = path.with_suffix(".pt"), [0.0]
            resumed = checkpoint_path(out).exists()
            generate = PathBuffer._generate

            def timed(buffer: PathBuffer) -> None:
                start = cpu_seconds()
                generate(buffer)
                spent[0] += cpu_seconds() - start

            PathBuffer._generate = timed
            try:
                start = cpu_seconds()
                baked = baking.bake(
                    self._scenes / f"{asset}.xml", out, preset=self.scale.preset, steps=self.scale.steps, minutes=self.scale.minutes,
                    seed=self.seed, progress=False, up_axis="z", certify=False, resume=resumed, **settings,
                )  # fmt: skip
            finally:
                PathBuffer._generate = generate
            notes = baked.provenance
            return {
                "seconds": cpu_seconds() - start, "data_seconds": spent[0], "resumed": resumed, "steps": notes["steps"],
                "hash": _hash(out), "paths": notes["paths"]["paths"], "events": notes["paths"]["mean_events"],
                "validation": notes["validation"], "media": bool(baked.source.media), "volume": baked.is_volume,
                "bytes": out.stat().st_size,
            }  # fmt: skip

        cell = self.cells.get(f"{asset}: bake {variant}", identity, make)
        return {**cell, "weights": str((self.cells.folder / cell["path"]).with_suffix(".pt").absolute())}

    def weights(self, asset: str, variant: str) -> dict[str, str]:
        """Asset files by the parameters of the lit scene that name them."""
        if asset == "composition":
            return {f"{part}_weights": self.bake(part, variant)["weights"] for part in COMPOSITION}
        return {"weights": self.bake(asset, variant)["weights"]}

    # -- renders ----------------------------------------------------------------------------------------------------

    def load(self, asset: str, setup: str, weights: dict[str, str] | None) -> mi.Scene:
        """The asset as files of weights (None: as its source) with the lights of a setup."""
        size = self.scale.size
        if setup == "scene":
            kind = "lit_reference" if weights is None else "lit"
            file = str(self._scenes / f"{asset}_{kind}.xml")
            return mi_neural_asset.load_file(file, width=size, height=size, parallel=False, **(weights or {}))
        original = mi_neural_asset.load(self.bake(asset)["weights"])
        stage = Stage.of(original)
        lamp = {"type": "sphere", "center": stage.point(LAMP, LAMP_DISTANCE), "radius": LAMP_RADIUS * stage.radius,
                "emitter": {"type": "area", "radiance": LAMP_RADIANCE}}  # fmt: skip
        around = {"bench_sensor": sensor(stage, size), "bench_light": lamp if setup == "area" else light("envmap", stage)}
        shapes = original.source_scene() if weights is None else {"type": "scene", "asset": {"type": "neural_asset", **weights}}
        return mi.load_dict({**shapes, **around}, parallel=False)

    def reference(self, asset: str, setup: str) -> np.ndarray:
        """Eight independent path-traced pictures, [8, H, W, 3]; the first and the last four are two references."""
        spp, kind = self.scale.reference_spp, self._tracer(asset)
        identity = {"cell": "reference", "asset": self.scene(asset), "setup": setup, "spp": spp, "size": self.scale.size,
                    "seed": self.seed, "integrator": kind}  # fmt: skip

        def make(path: Path) -> dict[str, Any]:
            scene, integrator = self.load(asset, setup, None), self._integrator(kind, setup)
            images = [_render(scene, integrator, spp, self._seed(setup, "reference", k)) for k in range(8)]
            _save(path, np.stack(images))
            return {}

        return np.load(self._images(self.cells.get(f"{asset}, {setup}: reference", identity, make)))["images"]

    def compare(
        self, asset: str, setup: str, methods: dict[str, str | None], spp: int | None = None, runs: int | None = None
    ) -> dict[str, Any]:
        """Runs of several methods in turn, so that their times are those of one machine in one state.

        Args:
            methods: by name, the variant that was baked, or None for path tracing.
            spp, runs: None for the scale's.

        Returns:
            for each method `images` [R, H, W, 3], `seconds` and `cpu_seconds` of each run; and `spp`.
        """
        spp, runs = spp or self.scale.spp, runs or self.scale.runs
        weights = {name: None if variant is None else self.weights(asset, variant) for name, variant in methods.items()}
        hashes = {name: w and {file: _hash(Path(path)) for file, path in w.items()} for name, w in weights.items()}
        identity = {
            "cell": "compare", "asset": self.scene(asset), "setup": setup, "spp": spp, "runs": runs,
            "size": self.scale.size, "seed": self.seed, "methods": hashes, "renderer": RENDERER,
        }  # fmt: skip

        def make(path: Path) -> dict[str, Any]:
            scenes = {name: self.load(asset, setup, w) for name, w in weights.items()}
            images: dict[str, list[np.ndarray]] = {name: [] for name in methods}
            times: dict[str, dict[str, list[float]]] = {name: {"seconds": [], "cpu_seconds": []} for name in methods}
            for k in range(-1, runs):  # the first compiles and does not count
                for number, name in enumerate(methods):
                    start, start_cpu = time.perf_counter(), cpu_seconds()
                    seed = self._seed(setup, name, k + 1)
                    samples = spp if k >= 0 else 1
                    kind = "nap_path" if methods[name] else "volpath" if name == "volpath" else self._tracer(asset)
                    image = _render(scenes[name], self._integrator(kind, setup), samples, seed)
                    if name.endswith("_denoised"):
                        image = denoise.denoise(image, *denoise.guides(scenes[name], samples, seed + number))
                    if k >= 0:
                        images[name].append(image)
                        times[name]["seconds"].append(time.perf_counter() - start)
                        times[name]["cpu_seconds"].append(cpu_seconds() - start_cpu)
            _save(path, **{name: np.stack(pictures) for name, pictures in images.items()})
            return {"times": times}

        cell = self.cells.get(f"{asset}, {setup}: {', '.join(methods)} at {spp} spp", identity, make)
        images = np.load(self._images(cell))
        return {"spp": spp, **{name: {"images": images[name], **cell["times"][name]} for name in methods}}

    def shown(self, asset: str) -> dict[str, np.ndarray]:
        """Of a lit scene, by the id of each neural asset and "around": the pixels [H, W] whose centre shows it."""
        from mi_neural_asset.render.instances import SceneAssets

        size = self.scale.size
        scene = self.load(asset, "scene", self.weights(asset, "ours"))
        index = np.arange(size * size)
        film = mi.Point2f(*(mi.Float(((axis + 0.5) / size).astype(np.float32)) for axis in (index % size, index // size)))
        ray, _ = scene.sensors()[0].sample_ray(0.0, 0.0, film, mi.Point2f(0.5))
        assets = SceneAssets(scene)
        model, instance = (np.asarray(found).reshape(size, size) for found in assets.lookup(scene.ray_intersect(ray)))
        names = {handle.instance.id().removesuffix("_instance"): (model > 0) & (instance == k) for k, handle in enumerate(assets.handles)}
        return {**names, "around": model == 0}

    def memory(self, asset: str, method: str, variant: str | None) -> float:
        """Peak memory of a process of its own that renders the scene once, GiB."""
        given = {} if variant is None else self.weights(asset, variant)
        identity = {"cell": "memory", "asset": self.scene(asset), "size": self.scale.size, "spp": self.scale.spp,
                    "method": self.bake(asset, variant)["hash"] if variant else self._tracer(asset), "renderer": RENDERER}  # fmt: skip

        def make(path: Path) -> dict[str, Any]:
            name = f"{asset}_lit{'' if given else '_reference'}.xml"
            program = (
                "import sys, json, mi_neural_asset, mitsuba as mi\n"
                "file, size, spp, given = json.loads(sys.argv[1])\n"
                "mi.set_variant('llvm_ad_rgb')\n"
                "scene = mi_neural_asset.load_file(file, width=size, height=size, parallel=False, **given)\n"
                "import numpy; numpy.asarray(mi.render(scene, spp=spp))\n"
                "print(open('/proc/self/status').read())\n"
            )
            arguments = json.dumps([str(self._scenes / name), self.scale.size, self.scale.spp, given])
            done = subprocess.run([sys.executable, "-c", program, arguments], capture_output=True, text=True, check=True, env=os.environ)
            return {"gib": int(re.search(r"VmHWM:\s+(\d+)", done.stdout)[1]) / 2**20}

        return self.cells.get(f"{asset}: memory of {method}", identity, make)["gib"]

    def _tracer(self, asset: str) -> str:
        return "volpath" if asset == "composition" or self.bake(asset)["media"] else "path"

    def _integrator(self, kind: str, setup: str) -> mi.Integrator:
        options: dict[str, Any] = {"max_depth": -1, "hide_emitters": setup != "scene"}
        return mi.load_dict({"type": kind, **options, **({} if kind == "nap_path" else {"rr_depth": RR_DEPTH})})

    def _seed(self, setup: str, method: str, run: int) -> int:
        digest = hashlib.sha256(f"{self.seed} {setup} {method} {run}".encode()).digest()
        return int.from_bytes(digest[:4], "little") >> 1

    def _images(self, cell: dict[str, Any]) -> Path:
        return (self.cells.folder / cell["path"]).with_suffix(".npz")


def _render(scene: mi.Scene, integrator: mi.Integrator, spp: int, seed: int) -> np.ndarray:
    image = np.asarray(mi.render(scene, integrator=integrator, spp=spp, seed=seed))[..., :3]
    if not np.isfinite(image).all():
        raise RuntimeError(f"{(~np.isfinite(image)).sum()} values of a picture are not finite")
    return image


def _save(path: Path, *images: np.ndarray, **named: np.ndarray) -> None:
    with replacing(path.with_suffix(".npz")) as stream:
        np.savez(stream, **({"images": images[0]} if images else named))
