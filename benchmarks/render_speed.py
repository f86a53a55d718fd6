"""Speed of rendering an asset, split by stage.

    python benchmarks/render_speed.py ASSET [--engine auto|torch|drjit] [--device D] [--events N] [--repetitions N] [--quick] [--json FILE]

Events are hits of uniform rays on the asset.  Prints the machine and, per stage of a neural event, the median time of N
events, events per second and the share of the sum; beside the networks' stages the arithmetic limit: their multiply-adds
at the rate of a large matrix product that is measured in the same run, and how near to that the networks alone come.  The last
lines are whole renders under a near lamp: events per second of wall-clock time, and how many times as fast half precision is (in turns
with single), with what it changes of the picture: the RMS of the difference of pictures of the same seeds, without its noise, and of
the mean, in parts of the mean.  In the file there is also `render.seal_800_128spp_s`: 800 x 800 pixels at 128 samples under that lamp,
told from a picture of a few samples, since passes are alike.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable

import numpy as np
from common import add_device, in_turns, machine, product_rate, row, seconds, write_json

import mi_neural_asset


def hits(asset, count: int):  # noqa: ANN001, ANN201
    """Points, directions to the viewer and normals where uniform rays meet the asset, normalised units."""
    import mitsuba as mi

    from mi_neural_asset.baking.sampler import PathSampler

    paths = PathSampler(mi.load_dict(asset.boundary_scene()), asset.center, asset.scale * 1.0001, max_events=1).sample(count, 1)
    x_o = (paths.x_o - np.asarray(asset.center, dtype=np.float32)) / asset.scale
    return [kind(np.ascontiguousarray(v.T.numpy())) for kind, v in ((mi.Point3f, x_o), (mi.Vector3f, paths.w_o), (mi.Vector3f, paths.n))]


def stages(asset, count: int, engine: str, device: str) -> dict[str, Callable[[], object]]:  # noqa: ANN001
    """Stage -> what it does."""
    import mitsuba as mi

    from mi_neural_asset.render.instances import prepared

    model = prepared(asset, device, engine)
    engine, projection = model.engine, model.projection
    x_o, w_o, n = hits(asset, count)
    rng = np.random.default_rng(0)

    def uniform() -> mi.Float:
        return mi.Float(rng.random(count).astype(np.float32))

    around = projection.occlusion.tensor(x_o, n, engine.device)
    nobody = mi.Float(np.zeros(count, dtype=np.float32))
    z, pair, every = uniform(), mi.Point2f(uniform(), uniform()), mi.UInt32(np.arange(count, dtype=np.uint32))

    def begin():  # noqa: ANN202
        event = engine.begin(x_o, w_o, n, around, z, pair, False)
        return engine.exit_point(event), event

    u, event = begin()
    w, _, _ = engine.draw(event, every, pair)
    return {
        "surroundings (rays)": lambda: projection.occlusion.tensor(x_o, n, engine.device).sum().item(),
        "albedo, u_i": lambda: begin()[0],
        "w_i": lambda: engine.draw(event, every, pair),
        "light from u_i": lambda: engine.evaluate(event, every, w),
        "light from x_o": lambda: engine.evaluate_ray(event, every, u, w, nobody, z),
        "back to x_i (rays)": lambda: projection.gap(u, w, x_o, mi.Bool(True)),
    }


def multiply_adds(model, shares: bool) -> dict[str, int]:  # noqa: ANN001
    """Of the networks in each stage, for one event.

    Args:
        shares: sums over what is read about a hit are made once, for all networks, and the third network is asked once for its u_i.
    """
    networks = [*model.flow.steps, model.albedo_net]
    site = model.site_inputs()
    whole = [sum(p.numel() for p in network.parameters() if p.ndim == 2) for network in networks]
    if not shares:
        first, second, third, fourth, albedo = whole
        return {"albedo, u_i": albedo + first + second, "w_i": third + fourth, "light from u_i": third + fourth,
                "light from x_o": first + second + third + fourth}  # fmt: skip
    beside = [all_ - width * network.hidden[0].out_features for all_, width, network in zip(whole, site, networks, strict=True)]
    first, second, third, fourth, _ = beside
    begin = sum(whole[k] for k in (0, 4)) + sum(whole[k] - beside[k] for k in (1, 2, 3)) + second + third
    return {"albedo, u_i": begin, "w_i": fourth, "light from u_i": fourth, "light from x_o": second + third + fourth}


def products(asset, count: int, repetitions: int, device: str) -> tuple[float, float]:  # noqa: ANN001
    """Multiply-adds per second of the fourth network alone, and of a large product, measured in turns.

    On the CPU from its first sums to raw numbers, as the engine `drjit` makes them; elsewhere the whole of it, by torch.
    """
    import torch

    if device != "cpu":
        network = asset.model().flow.steps[3].to(device)
        x = torch.rand(count, network.hidden[0].in_features, device=device)
        work_of_row = sum(p.numel() for p in network.parameters() if p.ndim == 2)
        with torch.no_grad():
            return work_of_row * count / seconds(lambda: network(x).sum().item(), 5 * repetitions), product_rate(device)

    from mi_neural_asset.fused.layout import Layout
    from mi_neural_asset.fused.network import Chain
    from mi_neural_asset.fused.tiles import Tiles, for_tiles

    model, tiles = asset.model(), Tiles(count)
    network = model.flow.steps[3]
    chain = Chain(network, Layout.of(model).spline(3))
    sums, raw = torch.rand(tiles.number, chain.width, tiles.width), tiles.records(chain.outputs)

    def work(k: int) -> None:
        chain.begin(tiles.width).copy_(sums[k])
        chain.finish(raw[k])

    large = torch.rand(2048, 2048)
    alone, product = in_turns([lambda: for_tiles(work, tiles.number), lambda: large @ large], 5 * repetitions)
    work_of_lane = sum(p.numel() for p in network.parameters() if p.ndim == 2 and p.shape[1] == chain.width)
    return work_of_lane * count / alone, len(large) ** 3 / product


def lamp_scene(asset, path: str, size: int):  # noqa: ANN001, ANN201
    """The asset under a near lamp, size x size pixels."""
    import mitsuba as mi

    from mi_neural_asset.verify.lights import Stage, light, sensor

    stage = Stage.of(asset)
    return mi.load_dict({"type": "scene", "asset": {"type": "neural_asset", "weights": path},
                         "sensor": sensor(stage, size), "lamp": light("area", stage)})  # fmt: skip


def whole(scene, spp: int, repetitions: int, options: dict[str, str]) -> tuple[float, int]:  # noqa: ANN001
    """Seconds and events of a render."""
    import mitsuba as mi

    integrator = mi.load_dict({"type": "nap_path", **options})
    time_ = seconds(lambda: mi.render(scene, integrator=integrator, spp=spp), repetitions)
    return time_, integrator.statistics.events


def half_precision(scene, spp: int, repetitions: int, options: dict[str, str]) -> tuple[float, float, float, float]:  # noqa: ANN001
    """How many times as fast as single precision; RMS of what it changes and the noise of that; what it changes of the mean."""
    import mitsuba as mi

    names = ("single", "half")
    integrators = [mi.load_dict({"type": "nap_path", **options, "precision": name}) for name in names]
    pictures: list[list[np.ndarray]] = [[], []]

    def render(k: int) -> None:  # the same seeds for both
        pictures[k].append(np.asarray(mi.render(scene, integrator=integrators[k], spp=spp, seed=len(pictures[k]))))

    single, half = in_turns([lambda: render(0), lambda: render(1)], max(repetitions, 2))
    mean = np.mean(pictures[0])
    change = (np.stack(pictures[1]) - np.stack(pictures[0])) / mean
    noise = change.var(0, ddof=1).mean() / len(change)
    rms = max((change.mean(0) ** 2).mean() - noise, 0.0) ** 0.5
    return single / half, float(rms), float(noise**0.5), float(change.mean())


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("asset")
    parser.add_argument("--engine", choices=("auto", "torch", "drjit"), default="auto")
    add_device(parser)
    parser.add_argument("--events", type=int, default=1 << 18)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="fewer events and repetitions")
    parser.add_argument("--json", help="also write the figures to this file")
    options = parser.parse_args()

    import mitsuba as mi

    mi.set_variant("llvm_ad_rgb")
    from mi_neural_asset.render.fused_engine import FusedEngine
    from mi_neural_asset.render.instances import prepared

    mi_neural_asset.register()
    asset = mi_neural_asset.load(options.asset)
    count, repetitions, few = (1 << 15, 2, 1) if options.quick else (options.events, options.repetitions, 4)
    on, rows, device = machine(options.device), [], options.device
    print(json.dumps(on))
    alone, rate = products(asset, count, repetitions, device)
    print(f"matrix product: {rate / 1e9:.1f} G multiply-adds/s")
    print(f"networks alone: {alone / 1e9:.1f} G multiply-adds/s, {alone / rate:.0%} of that")
    rows.append(row("render.networks", alone, "multiply-adds/s", rate))
    costs = multiply_adds(asset.model(), isinstance(prepared(asset, device, options.engine).engine, FusedEngine))
    times = {name: seconds(work, repetitions) for name, work in stages(asset, count, options.engine, device).items()}
    total = sum(times.values())
    print(f"{'stage':22}{'ms':>9}{'M events/s':>12}{'share':>8}{'limit M events/s':>18}")
    for name, time_ in times.items():
        limit = rate / costs[name] if name in costs else None
        rows.append(row(f"render.{name}", count / time_, "events/s", limit))
        bound = f"{limit / 1e6:18.2f}" if limit else f"{'':18}"
        print(f"{name:22}{1e3 * time_:9.1f}{count / time_ / 1e6:12.3f}{time_ / total:8.1%}{bound}")
    spp, chosen = 4 if options.quick else 16, {"engine": options.engine, "device": device}
    scene = lamp_scene(asset, options.asset, 256)
    time_, events = whole(scene, spp, repetitions, chosen)
    gain, change, noise, shift = half_precision(scene, spp, repetitions, chosen)
    picture, _ = whole(lamp_scene(asset, options.asset, 800), few, 1, chosen)
    rows += [row("render.all_stages_events_per_s", count / total, "events/s"), row("render.events_per_s", events / time_, "events/s"),
             row("render.half.gain", gain, "of single's speed"), row("render.half.rms", change, "of the mean"),
             row("render.half.rms_noise", noise, "of the mean"), row("render.half.mean", shift, "of the mean"),
             row("render.seal_800_128spp_s", picture * 128 / few, "s")]  # fmt: skip
    print(f"all stages: {count / total / 1e3:.0f} k events/s; a whole render: {events / time_ / 1e3:.0f} k events/s; "
          f"800 x 800 at 128 samples: {picture * 128 / few:.0f} s, told from {few}")  # fmt: skip
    print(f"half precision: {gain:.2f} times as fast; changes the picture by {change:.2%} of the mean (RMS, noise {noise:.2%}), "
          f"the mean by {shift:+.2%}")  # fmt: skip
    write_json(options.json, {"machine": on, "rows": rows})


if __name__ == "__main__":
    main()
