"""Sizes and choices of a transport model, as one frozen value that travels with checkpoints and assets."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from .probes import CORNERS

COORDINATES = ("local", "paper")
PROXIES = ("sphere", "box", "hull")


@dataclass(frozen=True)
class ModelConfig:
    """Everything that fixes the shape of a transport model.

    The defaults are those of the `preview` preset; `ModelConfig.paper()` gives the sizes of the 8DNA paper.
    """

    coordinates: str = "local"  # "local": around x_o; "paper": Eq. 9-10 (seen from the centre, in the asset's frame)
    proxy: str = "sphere"  # surface that carries u_i
    proxy_margin: float = 0.03  # distance between the asset's bound and the proxy, see `Proxy`
    separate_direct: bool = True  # networks know neither the direct lobe (paper, Sec. 3.1) nor mirror reflections
    occlusion: int = 12  # directions about the normal along which distances to the asset itself are told to the networks
    probes: int = 16384  # most points of the surface at which is kept what their neighbourhoods see; 0: none
    width: int = 64  # hidden features of the four flow networks (far field: of the value network)
    depth: int = 4  # hidden layers of the flow networks (far field: of the value network)
    knots: int = 12  # bins of each spline
    albedo_width: int = 64  # hidden features of the albedo network (far field: of the sampler's two)
    albedo_depth: int = 2  # hidden layers of the albedo network (far field: of the sampler's two)
    triplane: int = 64  # texels along a side of a triplane's plane, for x_o
    cubemap: int = 32  # texels along a side of a cubemap's face, for w_o and for (s1, s2)
    line: int = 32  # nodes of the 1D grids, for s1 and s3
    features: int = 8  # features stored at each node of every grid, for each network

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value, kind = getattr(self, field.name), field.type
            expected = {"str": str, "int": int, "float": (int, float), "bool": bool}[kind]
            if not isinstance(value, expected) or (kind != "bool" and isinstance(value, bool)):
                raise TypeError(f"ModelConfig.{field.name}: expected {kind}, got {value!r}")
        if self.coordinates not in COORDINATES:
            raise ValueError(f"ModelConfig.coordinates: expected one of {COORDINATES}, got {self.coordinates!r}")
        if self.proxy not in PROXIES:
            raise ValueError(f"ModelConfig.proxy: expected one of {PROXIES}, got {self.proxy!r}")
        if not 0 <= self.proxy_margin <= 1:
            raise ValueError(f"ModelConfig.proxy_margin: expected a number in [0, 1], got {self.proxy_margin!r}")
        bounds = {
            "occlusion": (0, 256), "probes": (0, 1 << 20),
            "width": (1, 1024), "depth": (1, 16), "knots": (2, 128), "albedo_width": (1, 1024), "albedo_depth": (1, 16),
            "triplane": (2, 1024), "cubemap": (2, 512), "line": (2, 1024), "features": (1, 64),
        }  # fmt: skip
        for name, (low, high) in bounds.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"ModelConfig.{name}: expected {low} to {high}, got {getattr(self, name)}")

    @property
    def surroundings(self) -> int:
        """Numbers that `Occlusion` tells of a point: two of each direction, and its place among the probes."""
        return 2 * self.occlusion + (2 * CORNERS if self.probes else 0)

    @classmethod
    def paper(cls, **changes: Any) -> ModelConfig:  # noqa: ANN401
        """The paper's model (Sec. 3.3): 128 wide, 32 knots, its own coordinates on the tight bounding box."""
        rays = {"coordinates": "paper", "proxy": "box", "proxy_margin": 0.0, "occlusion": 0, "probes": 0}
        return cls(**{**rays, "width": 128, "knots": 32, "albedo_width": 128, **changes})

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for files."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelConfig:
        """Undoes `to_dict`.

        Raises:
            ValueError, TypeError: a field is missing, unknown, of another type or out of range; the message names it.
        """
        names = {field.name for field in dataclasses.fields(cls)}
        if not isinstance(values, dict):
            raise TypeError(f"config: expected a dict, got {type(values).__name__}")
        if missing := sorted(names - values.keys()):
            raise ValueError(f"config: missing field {missing[0]!r}")
        if unknown := sorted(map(str, values.keys() - names)):
            raise ValueError(f"config: unknown field {unknown[0]!r}; was it written by a newer version?")
        return cls(**values)
