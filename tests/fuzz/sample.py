"""A small asset with one of everything, and the parts of its file."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from typing import Any

import torch

from mi_neural_asset.asset.asset import NeuralAsset
from mi_neural_asset.asset.description import Description
from mi_neural_asset.model.config import ModelConfig
from mi_neural_asset.model.far_field import FarField
from mi_neural_asset.model.transport import Transport

SMALL = {
    "features": 2, "width": 8, "depth": 1, "knots": 4, "triplane": 4, "cubemap": 4, "line": 4, "albedo_width": 8, "probes": 16,
}  # fmt: skip


@dataclass(frozen=True)
class Sample:
    """What mutations start from; they change copies."""

    content: dict[str, Any]
    data: bytes  # of the file
    entries: list[tuple[str, bytes]]  # of its container
    far_field: dict[str, torch.Tensor]  # weights of the other kind of model, of the same configuration


def pack(content: Any) -> bytes:
    """Any content as torch saves it, unchecked."""
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


def unpack(data: bytes) -> list[tuple[str, bytes]]:
    """Names and bytes of a container's entries."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return [(entry.filename, archive.read(entry)) for entry in archive.infolist()]


def sample() -> Sample:
    """The asset, the same at each call."""
    torch.manual_seed(0)
    config, whole = ModelConfig(**SMALL), _description()
    asset = NeuralAsset(
        boundary=whole, source=whole, center=[0.1, 0.2, 0.3], scale=2.0, config=config,
        weights=dict(Transport(config).state_dict()), units="metres",
        provenance={"seed": 1, "versions": {"torch": "2"}, "validation": {"nll": -0.1, "ratio": [1.0, float("nan"), None]}},
    )  # fmt: skip
    content = asset.to_content()
    data = pack(content)
    return Sample(content, data, unpack(data), dict(FarField(config).state_dict()))


def _description() -> Description:
    random = torch.Generator().manual_seed(0)
    place = {"type": "transform", "matrix": [[2.0, 0, 0, 1], [0, 2.0, 0, 1], [0, 0, 2.0, 1], [0, 0, 0, 1]]}
    paint = {"type": "bitmap", "data": (torch.rand(3, 2, 3, generator=random) * 255).to(torch.uint8), "srgb_gamma": True, "to_uv": place}
    grid = {"type": "gridvolume", "data": torch.rand(2, 3, 4, 1, generator=random), "filter_type": "nearest", "to_world": place}
    mesh = {
        "type": "mesh", "vertices": torch.rand(4, 3, generator=random), "normals": torch.rand(4, 3, generator=random),
        "faces": torch.tensor([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], dtype=torch.int32),
        "texcoords": torch.rand(4, 2, generator=random), "face_normals": False, "flip_normals": True,
        "attributes": {"vertex_color": torch.rand(4, 3, generator=random), "face_id": torch.rand(4, 1, generator=random)},
    }  # fmt: skip
    sphere = {"type": "sphere", "to_world": torch.eye(4).tolist(), "flip_normals": False, "center": [0.0, 1.0, 2.0], "radius": 0.5}
    tube = {"type": "cylinder", "to_world": torch.eye(4).tolist(), "flip_normals": False, "p0": [0.0] * 3, "p1": [0.0, 0.0, 1.0]}
    curve = {"type": "linearcurve", "control_points": torch.rand(5, 4, generator=random) + 0.1, "counts": torch.tensor([2, 3]).int()}
    glass = {
        "type": "roughdielectric", "alpha": 0.1, "int_ior": "water",
        "specular_transmittance": {"type": "rgb", "value": [0.9, 0.8, 0.7]},
    }  # fmt: skip
    mixed = {
        "type": "twosided",
        "nested_0": {
            "type": "blendbsdf", "weight": 0.3, "nested_0": {"type": "roughplastic", "distribution": "ggx"},
            "nested_1": {"type": "conductor", "material": "Au"},
        },
    }  # fmt: skip
    colour = {"type": "spectrum", "value": [[400.0, 0.1], [700.0, 0.3]]}
    table = {"type": "tabphase", "values": "1, 2, 1"}
    phase = {"type": "blendphase", "weight": 0.5, "nested_0": {"type": "hg", "g": 0.5}, "nested_1": table}
    geometry = {"mesh": mesh, "ball": sphere, "tube": tube, "hair": curve}
    paper, fibre = {"type": "diffuse", "reflectance": paint}, {"type": "principled", "roughness": 0.4}
    bsdf = {"mesh": paper, "ball": glass, "tube": mixed, "hair": fibre}
    inside, outside = {"mesh": "smoke", "ball": "wax"}, {"ball": "smoke"}
    shapes = [
        {"id": name, "geometry": geometry[name], "bsdf": bsdf[name], "interior": inside.get(name), "exterior": outside.get(name)}
        for name in geometry
    ]
    smoke = {"type": "heterogeneous", "sigma_t": grid, "scale": 3.0, "nested_0": phase}
    return Description(shapes, {"smoke": smoke, "wax": {"type": "homogeneous", "albedo": colour, "nested_0": {"type": "hg", "g": 0.5}}})
