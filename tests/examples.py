"""An asset that holds one of everything, and what tests of asset files share."""

from __future__ import annotations

import pytest
import torch

from mi_neural_asset.asset.asset import NeuralAsset, load
from mi_neural_asset.asset.description import Description
from mi_neural_asset.asset.schema import AssetFileError
from mi_neural_asset.model.config import ModelConfig
from mi_neural_asset.model.transport import Transport

SMALL = {"features": 2, "width": 8, "depth": 1, "knots": 4, "triplane": 4, "cubemap": 4, "line": 4, "albedo_width": 8}


def description():
    """One of everything that a description holds."""
    generator = torch.Generator().manual_seed(0)
    mesh = {
        "type": "mesh",
        "vertices": torch.rand(4, 3, generator=generator),
        "normals": torch.rand(4, 3, generator=generator),
        "faces": torch.tensor([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], dtype=torch.int32),
        "texcoords": torch.rand(4, 2, generator=generator),
        "face_normals": False,
        "flip_normals": True,
        "attributes": {
            "vertex_color": torch.rand(4, 3, generator=generator),
            "face_id": torch.rand(4, 1, generator=generator),
        },
    }
    place = {"type": "transform", "matrix": [[2.0, 0, 0, 1], [0, 2.0, 0, 1], [0, 0, 2.0, 1], [0, 0, 0, 1]]}
    paint = {
        "type": "bitmap",
        "data": (torch.rand(3, 2, 3, generator=generator) * 255).to(torch.uint8),
        "srgb_gamma": True,
        "to_uv": place,
    }
    grid = {
        "type": "gridvolume",
        "data": torch.rand(2, 3, 4, 1, generator=generator),
        "filter_type": "nearest",
        "to_world": place,
    }
    sphere = {
        "type": "sphere",
        "to_world": torch.eye(4).tolist(),
        "flip_normals": False,
        "center": [0.0, 1.0, 2.0],
        "radius": 0.5,
    }
    colour = {"type": "spectrum", "value": [[400.0, 0.1], [700.0, 0.3]]}
    return Description(
        [
            {
                "id": "mesh",
                "geometry": mesh,
                "bsdf": {"type": "diffuse", "reflectance": paint},
                "interior": "smoke",
                "exterior": None,
            },
            {
                "id": "ball",
                "geometry": sphere,
                "bsdf": {
                    "type": "roughdielectric",
                    "alpha": 0.1,
                    "int_ior": "water",
                    "specular_transmittance": {"type": "rgb", "value": [0.9, 0.8, 0.7]},
                },
                "interior": "wax",
                "exterior": "smoke",
            },
        ],
        {
            "smoke": {"type": "heterogeneous", "sigma_t": grid, "scale": 3.0},
            "wax": {"type": "homogeneous", "albedo": colour, "nested_0": {"type": "hg", "g": 0.5}},
        },
    )


def example_asset():
    """Small, with notes, both descriptions and weights."""
    torch.manual_seed(0)
    config = ModelConfig(**SMALL)
    whole = description()
    return NeuralAsset(
        boundary=whole.without_media(),
        source=whole,
        center=[0.1, 0.2, 0.3],
        scale=2.0,
        config=config,
        weights=dict(Transport(config).state_dict()),
        units="metres",
        provenance={
            "seed": 1,
            "versions": {"torch": "2"},
            "validation": {"nll": -0.1, "ratio": [1.0, float("nan"), None]},
        },
    )


def refused(path, match):
    """Loading says what is wrong, and of which file."""
    with pytest.raises(AssetFileError, match=match) as caught:
        load(path)
    assert str(path) in str(caught.value)


def equal(a, b, where=""):
    """Same types, same values, same bits."""
    assert type(a) is type(b), where
    if isinstance(a, dict):
        assert list(a) == list(b), where
        for key in a:
            equal(a[key], b[key], f"{where}.{key}")
    elif isinstance(a, list):
        assert len(a) == len(b), where
        for k, (x, y) in enumerate(zip(a, b, strict=True)):
            equal(x, y, f"{where}[{k}]")
    elif isinstance(a, torch.Tensor):
        assert a.dtype == b.dtype and a.shape == b.shape and a.numpy().tobytes() == b.numpy().tobytes(), where
    else:
        assert repr(a) == repr(b), where
