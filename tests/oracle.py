"""Assets whose transport is known without training, for tests of the renderer."""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np
import torch
from scipy.stats import qmc
from torch import Tensor

from mi_neural_asset.asset.cache import remember
from mi_neural_asset.asset.description import Description, describe
from mi_neural_asset.model.config import ModelConfig
from mi_neural_asset.model.coordinates import Exit, cylinder, frame
from mi_neural_asset.model.far_field import FarField
from mi_neural_asset.model.probes import AZIMUTHS, BANDS, POOL, Tables
from mi_neural_asset.model.transport import Transport

SMALL = {
    "occlusion": 4, "probes": 0, "features": 2, "width": 8, "depth": 1, "knots": 4, "triplane": 8, "cubemap": 8, "line": 8,
    "albedo_width": 8, "albedo_depth": 1,
}  # fmt: skip

PROBES = 50
LAYOUTS = {
    "sphere": {},
    "box": {"proxy": "box"},
    "hull": {"proxy": "hull"},
    "nothing around": {"occlusion": 0, "knots": 5},
    "probes": {"probes": PROBES, "occlusion": 3, "features": 4, "width": 24, "depth": 3, "knots": 12, "albedo_width": 16},
}


def uniform_rays(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Uniform rays that leave the unit sphere, by quasi-Monte Carlo: points (also the normals) and directions, each [N, 3]."""
    z = qmc.Sobol(4, seed=7).random(count)
    height, phi = 2 * z[:, 0] - 1, 2 * np.pi * z[:, 1]
    n = np.stack([np.sqrt(1 - height**2) * np.cos(phi), np.sqrt(1 - height**2) * np.sin(phi), height], -1)
    t = np.cross(n, np.where(np.abs(n[:, :1]) < 0.9, [[1.0, 0, 0]], [[0, 1.0, 0]]))
    t /= np.linalg.norm(t, axis=-1, keepdims=True)
    r, phi = np.sqrt(z[:, 2]), 2 * np.pi * z[:, 3]
    return n, (r * np.cos(phi))[:, None] * t + (r * np.sin(phi))[:, None] * np.cross(n, t) + np.sqrt(1 - z[:, 2])[:, None] * n


class UniformRays(Transport):
    """F = albedo times the uniform distribution over rays that leave the proxy sphere: p(u, w) = |n_u . w| / (pi A)."""

    def __init__(self, config: ModelConfig, albedo: tuple[float, float, float]) -> None:
        super().__init__(config)
        self.register_buffer("constant_albedo", torch.tensor(albedo))

    def sites(self, x_o: Tensor, w_o: Tensor, n: Tensor, occlusion: Tensor) -> list[Tensor]:
        return [x_o] * 5

    def albedo(self, sites: list[Tensor]) -> Tensor:
        return self.constant_albedo.expand(sites[0].shape[0], 3)

    def sample_exit(self, sites: list[Tensor], x_o: Tensor, n: Tensor, channel: Tensor, z: Tensor) -> tuple[Exit, Tensor]:
        axis = cylinder(2 * z[:, 0] - 1, z[:, 1])
        return Exit(axis * self.proxy.radius, axis, axis, axis.new_empty(len(axis), 0)), axis.new_zeros(len(axis), 3)

    def exit_at(self, sites: list[Tensor], x_o: Tensor, n: Tensor, u: Tensor) -> tuple[Exit, Tensor]:
        axis = u / u.norm(dim=-1, keepdim=True)
        return Exit(u, axis, axis, axis.new_empty(len(axis), 0)), axis.new_zeros(len(axis), 3)

    def direction_density(self, sites: list[Tensor], exit_: Exit, n: Tensor, w: Tensor) -> Tensor:
        cosine = (w * exit_.axis).sum(-1).clamp_min(0)
        return (cosine / math.pi).log()[:, None].expand(-1, 3)

    def sample_direction(self, sites: list[Tensor], exit_: Exit, n: Tensor, channel: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        cosine = z[:, 0].sqrt()
        t, b = frame(exit_.axis)
        phi, r = 2 * math.pi * z[:, 1], (1 - z[:, 0]).sqrt()
        w = (r * phi.cos())[:, None] * t + (r * phi.sin())[:, None] * b + cosine[:, None] * exit_.axis
        return w, self.direction_density(sites, exit_, n, w)


class UniformLines(Transport):
    """F = albedo times the uniform distribution over lines that meet the unit sphere, the same on every proxy around it.

    In area times solid angle p(u, w) = |n_u . w| / (4 pi^2) where the line meets the sphere, for |n . w| dA of a ray is that of its
    line.  So u is uniform in direction from the centre, and w, projected across n_u, uniform in an ellipse: a cone about u / |u| of
    sin(alpha) = 1 / |u|, which lies above the face at u.
    """

    def __init__(self, config: ModelConfig, albedo: tuple[float, float, float]) -> None:
        super().__init__(config)
        self.register_buffer("constant_albedo", torch.tensor(albedo))

    sites, albedo = UniformRays.sites, UniformRays.albedo

    def sample_exit(self, sites: list[Tensor], x_o: Tensor, n: Tensor, channel: Tensor, z: Tensor) -> tuple[Exit, Tensor]:
        exit_ = self.coordinates.exit(z[:, 0], z[:, 1], x_o, n)
        return exit_, z.new_zeros(len(z), 3)

    def exit_at(self, sites: list[Tensor], x_o: Tensor, n: Tensor, u: Tensor) -> tuple[Exit, Tensor]:
        axis = u / u.norm(dim=-1, keepdim=True)
        return Exit(u, axis, axis, axis.new_empty(len(axis), 0)), axis.new_zeros(len(axis), 3)

    def _cone(self, exit_: Exit) -> tuple[Tensor, Tensor, Tensor]:
        """(normal of the proxy, sin(alpha), cosine between normal and axis)."""
        n = self.proxy.normal(exit_.u)
        return n, 1 / exit_.u.norm(dim=-1), (n * exit_.axis).sum(-1)

    def direction_density(self, sites: list[Tensor], exit_: Exit, n: Tensor, w: Tensor) -> Tensor:
        n, sine, cosine = self._cone(exit_)
        inside = (w * exit_.axis).sum(-1) > (1 - sine * sine).sqrt()
        p = inside * (n * w).sum(-1).clamp_min(0) / (math.pi * sine * sine * cosine)
        return p.log()[:, None].expand(-1, 3)

    def sample_direction(self, sites: list[Tensor], exit_: Exit, n: Tensor, channel: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        n, sine, cosine = self._cone(exit_)
        across = exit_.axis - cosine[:, None] * n
        length = across.norm(dim=-1, keepdim=True)
        e = torch.where(length > 1e-4, across / length.clamp_min(1e-4), frame(n)[0])
        r, phi = 0.99999 * sine * z[:, 0].sqrt(), 2 * math.pi * z[:, 1]
        shift = (1 - sine * sine).sqrt()[:, None] * across
        w = shift + (r * cosine * phi.cos())[:, None] * e + (r * phi.sin())[:, None] * torch.linalg.cross(n, e)
        w = w + (1 - (w * w).sum(-1, keepdim=True)).clamp_min(0).sqrt() * n
        return w, self.direction_density(sites, exit_, n, w)


class Lambert(FarField):
    """F' = rho / pi cos(n, w), or rho / 4 pi `everywhere`, with a sampler that draws all directions alike."""

    def __init__(self, config: ModelConfig, rho: tuple[float, float, float], everywhere: bool) -> None:
        super().__init__(config)
        self.everywhere = everywhere
        self.register_buffer("rho", torch.tensor(rho))

    def sites(self, x_o: Tensor, w_o: Tensor, n: Tensor, occlusion: Tensor) -> list[Tensor]:
        return [x_o] * 3

    def value(self, sites: list[Tensor], w: Tensor, n: Tensor) -> Tensor:
        if self.everywhere:
            return self.rho.expand(len(w), 3) / (4 * math.pi)
        return (w * n).sum(-1, keepdim=True).clamp_min(0) * self.rho / math.pi

    def log_density(self, sites: list[Tensor], w: Tensor, n: Tensor) -> Tensor:
        return torch.full_like(w[:, 0], -math.log(4 * math.pi))

    def sample(self, sites: list[Tensor], n: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        w = self._from_frame(cylinder(2 * z[:, 0] - 1, z[:, 1]), n)
        return w, self.log_density(sites, w, n)


BLACK = {"type": "homogeneous", "albedo": 0.0, "sigma_t": 1e4}  # nothing passes


class Asset:
    """What the renderer asks of a NeuralAsset, around any model; the boundary is an opaque unit sphere unless given."""

    is_volume = False

    def __init__(self, model: Transport, boundary: dict | None = None, center: tuple = (0.0, 0.0, 0.0), scale: float = 1.0) -> None:
        self._model, self.center, self.scale = model.requires_grad_(False), center, scale
        self._boundary = boundary or {"ball": {"type": "sphere", "bsdf": {"type": "dielectric"}, "interior": BLACK}}

    @cached_property
    def boundary(self) -> Description:
        return describe(self.boundary_scene()).without_media()

    @property
    def config(self) -> ModelConfig:
        return self._model.config

    def model(self) -> Transport:
        return self._model

    def boundary_shapes(self) -> dict:
        def bare(shape):  # noqa: ANN001, ANN202
            return {key: value for key, value in shape.items() if key != "interior"} if isinstance(shape, dict) else shape

        media = [name for name, shape in self._boundary.items() if isinstance(shape, dict) and shape["type"].endswith("geneous")]
        return {name: bare(shape) for name, shape in self._boundary.items() if name not in media}

    def boundary_scene(self, media: bool = False) -> dict:
        return {"type": "scene", **(self._boundary if media else self.boundary_shapes())}


def uniform_asset(name: str, albedo=(0.9, 0.6, 0.3), separate: bool = False, margin: float = 0.2, boundary: dict | None = None) -> str:  # noqa: ANN001
    """Remember a uniform-ray asset; returns what a scene writes as its weights."""
    config = ModelConfig(coordinates="paper", separate_direct=separate, proxy_margin=margin, **SMALL)
    return remember(Asset(UniformRays(config, albedo), boundary), name)


def roof(model: Transport) -> Transport:
    """Give a hull slanted faces around the unit sphere: nothing is parallel to an axis but the first six."""
    planes = model.proxy.planes
    slants = torch.nn.functional.normalize(torch.randn(len(planes) - 6, 3, generator=torch.Generator().manual_seed(0)), dim=-1)
    planes[6:] = torch.cat([slants, torch.linspace(1, 1.3, len(slants))[:, None]], -1).to(planes)
    return model


def lines_asset(name: str, proxy: str, albedo=(0.9, 0.6, 0.3)) -> str:  # noqa: ANN001
    """Remember a uniform-line asset on a proxy of any kind."""
    model = UniformLines(ModelConfig(coordinates="paper", proxy=proxy, separate_direct=False, proxy_margin=0.1, **SMALL), albedo)
    return remember(Asset(roof(model) if proxy == "hull" else model), name)


def random_asset(name: str, seed: int = 0, separate: bool = False, coordinates: str = "local", proxy: str = "sphere") -> str:
    """Remember an asset with an untrained model of large weights: no symmetry, every channel different."""
    torch.manual_seed(seed)
    model = Transport(ModelConfig(separate_direct=separate, coordinates=coordinates, proxy=proxy, **SMALL))
    if proxy == "hull":
        roof(model)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            parameter.mul_(8.0 if "last.weight" in key else 3.0 if "table" in key else 1.0)
    return remember(Asset(model), name)


def lambert_asset(
    name: str, rho: tuple[float, float, float], separate: bool = False, everywhere: bool = False, boundary: dict | None = None
) -> str:
    """Remember a far-field asset of which all is known; the boundary is an opaque unit sphere unless given."""
    return remember(Asset(Lambert(ModelConfig(separate_direct=separate, **SMALL), rho, everywhere), boundary), name)


def model_of(case: str) -> Transport:
    """A random model of one of `LAYOUTS`, whose channels all differ."""
    torch.manual_seed(3)
    model = Transport(ModelConfig(**{**SMALL, **LAYOUTS[case]}))
    if model.config.proxy == "hull":
        roof(model)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            parameter.mul_(4.0 if "last.weight" in key else 2.0 if "table" in key else 1.0)
            if "bias" in key:
                parameter.uniform_(-0.5, 0.5)
    if model.probes:
        wide = BANDS // POOL, AZIMUTHS // POOL
        model.probes.fill(Tables(2 * torch.rand(PROBES, 3, BANDS, AZIMUTHS), torch.randn(PROBES, *wide, 3) / 4, torch.rand(PROBES, *wide)))
    return model.eval()
