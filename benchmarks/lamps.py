"""Where an asset's errors under near lamps come from, without rendering.

    python benchmarks/lamps.py ASSET [ASSET ...] [--places N] [--paths N] [--beam WIDTH] [--seed N] [--json FILE]

All assets must embed the same source.  Around N places, narrow beams of parallel viewer's rays meet the asset; from each, paths
are traced through the source, and rays are drawn from the networks.  24 square lamps stand around the asset (as far and as
large as the near lamp of `verify`); what each place sends from each lamp is an entry of a matrix.  Printed are root mean square
differences between the networks' matrix and that of the paths, over the mean, with the noise of both subtracted:

  all       u_i and w_i from the networks, as a render has them (but for the direct lobe)
  w_i       u_i from the paths, w_i from the networks
  u_i       the light within 15 degrees of 24 directions of u_i seen from x_o
  tables    the same from the probes' tables alone, with the albedo of the paths: what the networks of u_i begin with
  albedo    of the places' albedos

and the ratio of the energies in the darkest three tenths of the entries.  No reference has less noise at the same cost: paths that
find one lamp by chance find 24.
"""

from __future__ import annotations

import argparse
import math

import torch
from common import machine, write_json
from torch import Tensor

from mi_neural_asset.model.coordinates import cylinder, frame
from mi_neural_asset.model.probes import AZIMUTHS, BANDS, CHANNELS, CORNERS, ProbeTables
from mi_neural_asset.occlusion import directions

LAMPS, DISTANCE, HALF_SIDE = 24, 1.9, 0.35  # radii, as verify's near lamp
CAP = math.cos(math.radians(15))
BEAM = 0.04  # width, radii: a pixel of a picture of 50 pixels
PARTS = 6  # of a cell of the probes' tables along each edge, where the share of a cap is counted


def own_sampler(asset):  # noqa: ANN001, ANN201
    """Draws paths through the source that an asset embeds, as its bake did."""
    import mitsuba as mi

    from mi_neural_asset.baking.bake import SPHERE_SLACK
    from mi_neural_asset.baking.sampler import PathSampler
    from mi_neural_asset.model.kinds import leaves_specular

    scene = mi.load_dict(asset.source_scene(), parallel=False)
    specular = leaves_specular(asset.kind, asset.config)
    return PathSampler(scene, asset.center, asset.scale * SPHERE_SLACK, volume=asset.boundary.is_volume, specular=specular)


def start(projection, u: Tensor, w: Tensor, x_o: Tensor) -> Tensor:  # noqa: ANN001
    """x_i of incident rays (u, w), normalised units, [N, 3] each."""
    import mitsuba as mi

    from mi_neural_asset.interop import to_torch, to_vector

    gap, _ = projection.gap(to_vector(u, mi.Point3f), to_vector(w), to_vector(x_o, mi.Point3f), mi.Bool(True))
    return u - to_torch(gap)[:, None] * w


class Sums:
    """A matrix [LAMPS, 3] of mean contributions and the variance of these means."""

    def __init__(self) -> None:
        self.value, self.variance = [], []

    def add(self, weight: Tensor, hits: Tensor, count: int) -> None:
        """weight [N, 3] of the paths among `count` that hit, hits [N, LAMPS]."""
        weight, hits = weight.double(), hits.double()
        mean = torch.einsum("nc,nl->lc", weight, hits) / count
        square = torch.einsum("nc,nl->lc", weight**2, hits) / count
        self.value.append(mean)
        self.variance.append((square - mean**2) / count)

    def tensors(self) -> tuple[Tensor, Tensor]:
        """[places, LAMPS, 3] each."""
        return torch.stack(self.value), torch.stack(self.variance)


def around() -> Tensor:
    """LAMPS unit directions, [LAMPS, 3]."""
    return torch.tensor(directions(LAMPS), dtype=torch.float64)


def lamp_hits(x: Tensor, w: Tensor) -> Tensor:
    """Which rays (normalised units) meet which lamp from the front: [N, LAMPS]."""
    hits = []
    for d, a, b in zip(around(), *frame(around()), strict=True):
        away = w.double() @ d
        t = (DISTANCE - x.double() @ d) / away
        p = x + t[:, None] * w
        hits.append((away > 0) & (t > 0) & ((p @ a).abs() < HALF_SIDE) & ((p @ b).abs() < HALF_SIDE))
    return torch.stack(hits, -1)


def cap_hits(x: Tensor, u: Tensor) -> Tensor:
    """Which directions from x to u lie around which of the directions: [N, LAMPS]."""
    return torch.nn.functional.normalize(u - x, dim=-1).double() @ around().T > CAP


def caps_of_cells() -> Tensor:
    """Which part of each cell of the probes' tables lies around each of the directions: [BANDS, AZIMUTHS, LAMPS]."""
    s1, s2 = ((torch.arange(size * PARTS, dtype=torch.float64) + 0.5) / (size * PARTS) for size in (BANDS, AZIMUTHS))
    d = cylinder(*torch.meshgrid(2 * s1 - 1, s2, indexing="ij"))
    return (d @ around().T > CAP).double().unflatten(0, (BANDS, PARTS)).unflatten(2, (AZIMUTHS, PARTS)).mean((1, 3))


def caps_of_tables(probes: ProbeTables, place: Tensor, caps: Tensor) -> Tensor:
    """Share of the light around each of the directions as the tables have it, a mean over places [N, 6]: [LAMPS, 3]."""
    rows, weights = place[:, :CORNERS].long(), place[:, CORNERS:]
    used = torch.zeros(len(probes.rings)).index_add_(0, rows.flatten(), weights.flatten())
    near = used.nonzero()[:, 0]
    rings = probes.rings_read().unflatten(0, (-1, BANDS)).unflatten(2, (CHANNELS, AZIMUTHS))[near]
    density = torch.einsum("p,pbca->cba", used[near].double(), rings.double())
    return torch.einsum("cba,bal->lc", density, caps) / density.sum((1, 2)).clamp_min(1e-12)


class Place:
    """Paths of one beam, in normalised units."""

    def __init__(self, sampler, asset, x: Tensor, w: Tensor, count: int, seed: int, beam: float) -> None:  # noqa: ANN001
        import drjit as dr
        import mitsuba as mi

        from mi_neural_asset.baking.sampler import Beam

        center = torch.as_tensor(asset.center, dtype=torch.float64)
        a, b = (beam * asset.scale * v for v in frame(w.double()))
        corner = x.double() + 2.1 * asset.scale * w.double() - (a + b) / 2
        rays = Beam(dr.opaque(mi.Point3f, corner.tolist()), *(dr.opaque(mi.Vector3f, v.tolist()) for v in (a, b, -w)))
        paths = sampler.sample(count, seed, rays)
        paths = paths.rows((paths.x_v == paths.x_o).all(-1).nonzero()[:, 0])  # without those that were mirrored elsewhere
        self.x_o, self.x_i = (((p.double() - center) / asset.scale).float() for p in (paths.x_o, paths.x_i))
        self.w_o, self.n, self.w_i = paths.w_o, paths.n, paths.w_i
        self.left = (paths.status == 0) & ~paths.direct
        self.beta = paths.beta * self.left[:, None]
        self.count = len(paths)


def compare(asset, sampler, places: list[tuple[Tensor, Tensor]], count: int, beam: float, seed: int) -> dict[str, float]:  # noqa: ANN001
    """The figures of one asset."""
    import mitsuba as mi

    from mi_neural_asset.interop import to_vector
    from mi_neural_asset.render.instances import prepared

    model, projection = asset.model().eval(), prepared(asset, "cpu").projection
    sums = {name: Sums() for name in ("paths", "all", "w_i", "paths: u_i", "u_i")}
    albedos, tables, caps = [], [], caps_of_cells()

    for number, (x, w) in enumerate(places):
        truth = Place(sampler, asset, x, w, count, seed + 2 * number + 1, beam)
        k = truth.left
        sums["paths"].add(truth.beta[k], lamp_hits(truth.x_i[k], truth.w_i[k]), truth.count)
        u, _ = model.proxy.exit(truth.x_i[k], truth.w_i[k])
        sums["paths: u_i"].add(truth.beta[k], cap_hits(truth.x_o[k], u), truth.count)
        p = Place(sampler, asset, x, w, count // 2, seed + 2 * number + 2, beam)
        surroundings = projection.occlusion.tensor(to_vector(p.x_o, mi.Point3f), to_vector(p.n), "cpu")
        with torch.no_grad():
            sites = model.sites(p.x_o, p.w_o, p.n, surroundings)
            albedo = model.albedo(sites)
            channel = torch.randint(0, CHANNELS, (p.count,))
            exit_, log_u = model.sample_exit(sites, p.x_o, p.n, channel, torch.rand(p.count, 2))
            w_i, log_w = model.sample_direction(sites, exit_, p.n, channel, torch.rand(p.count, 2))
            density_u, density = log_u.double().exp(), (log_u + log_w).double().exp()
            sums["u_i"].add(albedo * density_u / density_u.mean(-1, keepdim=True), cap_hits(p.x_o, exit_.u), p.count)
            weight = albedo * density / density.mean(-1, keepdim=True)
            sums["all"].add(weight, lamp_hits(start(projection, exit_.u, w_i, p.x_o), w_i), p.count)
            k = p.left
            u, _ = model.proxy.exit(p.x_i[k], p.w_i[k])
            sites = [site[k] for site in sites]
            exit_, _ = model.exit_at(sites, p.x_o[k], p.n[k], u)
            hero = torch.randint(0, CHANNELS, (len(u),))
            w_i, _ = model.sample_direction(sites, exit_, p.n[k], hero, torch.rand(len(u), 2))
            weight = CHANNELS * p.beta[k] * torch.nn.functional.one_hot(hero, CHANNELS)
            sums["w_i"].add(weight, lamp_hits(start(projection, u, w_i, p.x_o[k]), w_i), p.count)
        if model.probes is not None:
            tables.append(caps_of_tables(model.probes, surroundings[:, -2 * CORNERS :], caps) * truth.beta.double().mean(0))
        albedos.append((albedo.mean(0), truth.beta.mean(0)))
    found = {name: s.tensors() for name, s in sums.items()}
    if tables:
        found["tables"] = torch.stack(tables), torch.zeros(())
    return figures(found, *(torch.stack(a) for a in zip(*albedos, strict=True)))


def figures(sums: dict[str, tuple[Tensor, Tensor]], albedo: Tensor, beta: Tensor) -> dict[str, float]:
    """The printed numbers from the matrices."""

    def rms(name: str, truth: str) -> float:
        (value, variance), (known, noise) = sums[name], sums[truth]
        square = ((value - known) ** 2 - variance - noise).mean()
        return float(square.clamp_min(0).sqrt() / known.mean())

    value, known = sums["all"][0].mean(-1), sums["paths"][0].mean(-1)
    dark = known <= known.quantile(0.3)
    return {
        "all": rms("all", "paths"), "w_i": rms("w_i", "paths"), "u_i": rms("u_i", "paths: u_i"),
        "tables": rms("tables", "paths: u_i") if "tables" in sums else math.nan,
        "albedo": float((albedo - beta).square().mean().sqrt() / beta.mean()),
        "energy": float(value.sum() / known.sum()), "dark": float(value[dark].sum() / known[dark].sum()),
        "noise": float((sums["all"][1] + sums["paths"][1]).mean().sqrt() / sums["paths"][0].mean()),
    }  # fmt: skip


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("assets", nargs="+", metavar="ASSET")
    parser.add_argument("--places", type=int, default=150)
    parser.add_argument("--paths", type=int, default=50_000)
    parser.add_argument("--beam", type=float, default=BEAM, help="width of a place in radii of the asset (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()

    import mitsuba as mi

    mi.set_variant("llvm_ad_rgb")
    import mi_neural_asset
    from mi_neural_asset.asset.asset import NeuralAsset

    mi_neural_asset.register()
    assets = [NeuralAsset.load(name) for name in options.assets]
    if any(a.source is None or a.source.digest() != assets[0].source.digest() for a in assets):
        raise SystemExit("lamps: all assets must embed the same source")
    sampler = own_sampler(assets[0])
    found = sampler.sample(options.places, options.seed)
    places = list(zip(found.x_v, found.w_v, strict=True))
    about = machine()
    print(about)
    names = ("all", "w_i", "u_i", "tables", "albedo", "energy", "dark", "noise")
    print(f"{'asset':24}" + "".join(f"{name:>9}" for name in names))
    rows = []
    for name, asset in zip(options.assets, assets, strict=True):
        torch.manual_seed(options.seed)
        row = compare(asset, sampler, places, options.paths, options.beam, options.seed * 1_000_003)
        rows.append({"asset": name, **{key: value for key, value in row.items() if not math.isnan(value)}})
        print(f"{name[-24:]:24}" + "".join(f"{row[key]:9.4f}" for key in names), flush=True)
    if options.json:
        write_json(options.json, {"machine": about, "places": len(places), "paths": options.paths, "rows": rows})


if __name__ == "__main__":
    main()
