"""Where the networks' rays go, against where paths go: energy by angles and distances, without rendering.

    python benchmarks/calibration.py ASSET [--paths N] [--seed N] [--quick] [--json FILE]

Paths are traced through the asset's embedded source; for each one's viewer's ray the networks draw an incident ray.  Every line is one
quantity in one colour; every column one bin of it: the share of the paths' energy that falls there, and the networks' share over it, 1
where they agree.  What departs from 1 was not learned, whatever its cause.

  d . w_o, d . n   d the direction from x_o to u_i: from which side light comes
  w_i . w_o, w_i . n
  side             from x_o to x_i along w_o's part across the normal: to which side light has travelled
  log10 r          r the distance from x_o to x_i in radii: how far

Rays that miss the asset start at the point of their chord that is nearest to x_o, as in a render.
"""

from __future__ import annotations

import argparse
import json

import torch
from common import machine, row, write_json
from lamps import own_sampler, start
from torch import Tensor
from torch.nn.functional import normalize

import mi_neural_asset

COSINES = (-1.001, -0.6, -0.2, 0.2, 0.6, 1.001)
DISTANCES = (-9.0, -2.0, -1.6, -1.3, -1.0, -0.7, -0.3, 9.0)
CHANNELS = "RGB"
CHUNK = 1 << 15
LEAST = 1e-4  # shares below it are not compared


def quantities(x_o: Tensor, w_o: Tensor, n: Tensor, u: Tensor, w: Tensor, x_i: Tensor) -> dict[str, tuple[Tensor, tuple[float, ...]]]:
    """By name: the values of rays, [N], and the edges of their bins."""
    d, way = normalize(u - x_o, dim=-1), x_i - x_o
    across = normalize(w_o - (w_o * n).sum(-1, keepdim=True) * n, dim=-1)
    cosines = {"d . w_o": (d, w_o), "d . n": (d, n), "w_i . w_o": (w, w_o), "w_i . n": (w, n), "side": (normalize(way, dim=-1), across)}
    found = {name: ((a * b).sum(-1), COSINES) for name, (a, b) in cosines.items()}
    return found | {"log10 r": (way.norm(dim=-1).clamp_min(1e-9).log10(), DISTANCES)}


def shares(values: Tensor, edges: tuple[float, ...], weight: Tensor) -> Tensor:
    """Of the weight [N, 3], what falls into each bin: [bins, 3]."""
    weight = weight.double()
    parts = [weight[(values >= low) & (values < high)].sum(0) for low, high in zip(edges, edges[1:], strict=False)]
    return torch.stack(parts) / weight.sum(0)


class Rays:
    """Incident rays of the same viewers' rays, and their weights [N, 3]."""

    def __init__(self, asset, paths: int, seed: int) -> None:  # noqa: ANN001
        from mi_neural_asset.baking.buffer import training_rows
        from mi_neural_asset.render.instances import prepared

        self.model, self._projection = asset.model().eval(), prepared(asset, "cpu").projection
        center = torch.as_tensor(asset.center, dtype=torch.float32)
        self.rows = training_rows(own_sampler(asset).sample(paths, seed), self.model, center, asset.scale, self._projection.occlusion)

    def of_paths(self) -> tuple[dict, Tensor]:
        """Quantities and weights of the paths."""
        r = self.rows
        return quantities(r.x_o, r.w_o, r.n, r.u, r.w_i, start(self._projection, r.u, r.w_i, r.x_o)), r.beta

    @torch.no_grad()
    def of_networks(self) -> tuple[dict, Tensor]:
        """The same of rays that the networks draw, each from a colour by chance."""
        parts, weights = [], []
        for k in range(0, len(self.rows.x_o), CHUNK):
            r = self.rows.rows(torch.arange(k, min(k + CHUNK, len(self.rows.x_o))))
            sites = self.model.sites(r.x_o, r.w_o, r.n, r.occlusion)
            channel = torch.randint(0, len(CHANNELS), (len(r.x_o),))
            exit_, log_u = self.model.sample_exit(sites, r.x_o, r.n, channel, torch.rand(len(channel), 2))
            w, log_w = self.model.sample_direction(sites, exit_, r.n, channel, torch.rand(len(channel), 2))
            density = (log_u + log_w).double().exp()
            weights.append(self.model.albedo(sites) * density / density.mean(-1, keepdim=True))
            parts.append(quantities(r.x_o, r.w_o, r.n, exit_.u, w, start(self._projection, exit_.u, w, r.x_o)))
        joined = {name: (torch.cat([part[name][0] for part in parts]), edges) for name, (_, edges) in parts[0].items()}
        return joined, torch.cat(weights)


def main() -> None:
    """Parse the command line, draw, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("asset")
    parser.add_argument("--paths", type=int, default=300_000)
    parser.add_argument("--seed", type=int, default=77)
    parser.add_argument("--quick", action="store_true", help="a tenth of the paths")
    parser.add_argument("--json", help="also write the figures to this file")
    options = parser.parse_args()

    import mitsuba as mi

    mi.set_variant("llvm_ad_rgb")
    mi_neural_asset.register()
    asset = mi_neural_asset.load(options.asset)
    if asset.kind != "transport" or asset.source is None:
        raise SystemExit("calibration: needs a transport asset that embeds its source (bake without --no-source)")
    torch.manual_seed(options.seed)
    on, rows = machine(), []
    print(json.dumps(on))
    rays = Rays(asset, options.paths // (10 if options.quick else 1), options.seed)
    (truth, energy), (drawn, weight) = rays.of_paths(), rays.of_networks()
    albedo = weight.double().sum(0) / energy.double().sum(0)
    print("albedo, networks over paths: " + ", ".join(f"{value:.4f}" for value in albedo.tolist()))
    for channel, colour in enumerate(CHANNELS):
        print(f"{colour}: share of the paths' energy: networks over it")
        for name, (values, edges) in truth.items():
            ours, theirs = (shares(*of, by)[:, channel].tolist() for of, by in ((drawn[name], weight), ((values, edges), energy)))
            told = [f"{b:.3f}:" + (f"{a / b:6.3f}" if b > LEAST else f"{'-':>6}") for a, b in zip(ours, theirs, strict=True)]
            print(f"  {name:10}" + "  ".join(told), flush=True)
            found = zip(edges, ours, theirs, strict=False)
            rows += [row(f"calibration.{colour}.{name}.{low:g}", a, "of the energy", b) for low, a, b in found if b > LEAST]
    write_json(options.json, {"machine": on, "rows": rows})


if __name__ == "__main__":
    main()
