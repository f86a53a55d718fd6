"""Incident rays as points of the unit cube: each map undoes the other, Jacobians agree with autograd."""

import pytest
import torch

from mi_neural_asset.model.config import ModelConfig
from mi_neural_asset.model.coordinates import frame, reference_axis
from mi_neural_asset.model.proxy import Proxy
from mi_neural_asset.model.transport import Transport

SYSTEMS = [("local", "sphere"), ("local", "box"), ("paper", "box"), ("paper", "sphere"), ("local", "hull"), ("paper", "hull")]


def unit(count: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(count, 3, generator=generator, dtype=torch.float64), dim=-1)


def system(coordinates: str, proxy: str) -> Transport:
    config = ModelConfig(coordinates=coordinates, proxy=proxy, proxy_margin=0.05)
    model = Transport(config).double()
    shape(model.proxy)
    return model


def shape(proxy: Proxy) -> None:
    """A box, or a hull with slanted faces, around all `points`."""
    proxy.extent.copy_(torch.tensor([0.7, 0.4, 0.58]))
    if proxy.kind == "hull":
        proxy.planes[:, :3] = unit(len(proxy.planes), 13)
        proxy.planes[:6, :3] = torch.cat([torch.eye(3), -torch.eye(3)])
        proxy.planes[:, 3] = (proxy.planes[:, :3].abs() * torch.tensor([0.56, 0.32, 0.46])).sum(-1)


def points(count: int, seed: int) -> torch.Tensor:
    """Points inside both proxies."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(count, 3, generator=generator, dtype=torch.float64) * 2 - 1) * torch.tensor([0.55, 0.3, 0.45])


@pytest.mark.parametrize(("coordinates", "proxy"), SYSTEMS)
def test_rays_survive_the_round_trip(coordinates: str, proxy: str) -> None:
    model = system(coordinates, proxy)
    x_o, n, w = points(5000, 0), unit(5000, 1), unit(5000, 2)
    u, _ = model.proxy.exit(points(5000, 3), w)
    s, exit_ = model.square(x_o, n, u, w)
    assert ((s >= 0) & (s <= 1)).all()
    assert (exit_.u - u).abs().max() < 1e-6
    back = model.coordinates.direction(s[:, 2], s[:, 3], exit_, n)
    assert (back - w).abs().max() < 1e-6


@pytest.mark.parametrize(("coordinates", "proxy"), SYSTEMS)
def test_jacobians_against_autograd(coordinates: str, proxy: str) -> None:
    model = system(coordinates, proxy)
    count = 200
    s = 0.02 + 0.96 * torch.rand(count, 4, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    x_o, n = points(count, 5), unit(count, 6)

    def exit_point(s12: torch.Tensor) -> torch.Tensor:
        return model.coordinates.exit(s12[:, 0], s12[:, 1], x_o, n).u

    exit_ = model.coordinates.exit(s[:, 0], s[:, 1], x_o, n)

    def direction(s34: torch.Tensor) -> torch.Tensor:
        return model.coordinates.direction(s34[:, 0], s34[:, 1], exit_, n)

    for function, columns, log_density in (
        (exit_point, s[:, :2], model.coordinates.log_exit_density(exit_, x_o)),
        (direction, s[:, 2:], model.coordinates.log_direction_density(s[:, 2])),
    ):
        jacobian = torch.autograd.functional.jacobian(lambda t, f=function: f(t).sum(0), columns).permute(1, 0, 2)  # [N, 3, 2]
        area = torch.linalg.cross(jacobian[..., 0], jacobian[..., 1]).norm(dim=-1)
        assert (area.log() + log_density).abs().max() < 1e-6


def test_frames_are_rotations_everywhere() -> None:
    n = torch.cat([unit(10000, 7), torch.eye(3, dtype=torch.float64), -torch.eye(3, dtype=torch.float64)])
    nearly_down = torch.nn.functional.normalize(torch.tensor([[1e-4, 1e-5, -1.0], [0, 3e-3, -1.0]], dtype=torch.float64), dim=-1)
    n = torch.cat([n, nearly_down])
    t, b = frame(n)
    basis = torch.stack([t, b, n], -1)
    assert (basis.transpose(1, 2) @ basis - torch.eye(3)).abs().max() < 1e-6
    assert (torch.linalg.det(basis) - 1).abs().max() < 1e-6
    d = torch.cat([unit(10000, 8), n[10000:]])  # the last rows: d = n, where the projection degenerates
    t, b = reference_axis(n, d)
    basis = torch.stack([t, b, d], -1)
    assert (basis.transpose(1, 2) @ basis - torch.eye(3)).abs().max() < 1e-6


def test_seam_of_the_angles_is_closed() -> None:
    model = system("local", "sphere")
    x_o, n = points(50, 9), unit(50, 10)
    s1 = torch.full((50,), 0.3, dtype=torch.float64)
    low = model.coordinates.exit(s1, torch.zeros(50, dtype=torch.float64), x_o, n).u
    high = model.coordinates.exit(s1, torch.ones(50, dtype=torch.float64), x_o, n).u
    assert (low - high).abs().max() < 1e-9


@pytest.mark.parametrize("kind", ["sphere", "box", "hull"])
def test_chords_of_the_proxy(kind: str) -> None:
    proxy = Proxy(kind, 0.1).double()
    shape(proxy)
    origin, w = points(2000, 11), unit(2000, 12)
    t_in, t_out = proxy.chord(origin, w)
    assert (t_in < 0).all() and (t_out > 0).all()
    for t in (t_in, t_out):
        p = origin + t[:, None] * w
        on_surface = p.norm(dim=-1) / 1.1
        if kind != "sphere":
            planes = proxy.half_spaces()
            on_surface = (p @ planes[:, :3].T - planes[:, 3]).amax(-1) + 1
        assert (on_surface - 1).abs().max() < 1e-9
    u, distance = proxy.exit(origin, w)
    assert ((proxy.normal(u) * w).sum(-1) > 0).all() and torch.allclose(distance, t_out)
    far = torch.tensor([[5.0, 0.0, 0.0]], dtype=torch.float64)
    t_in, t_out = proxy.chord(far, torch.tensor([[0.0, 1.0, 0.0]], dtype=torch.float64))
    assert (t_in > t_out).all()


@pytest.mark.parametrize("proxy", ["sphere", "box", "hull"])
def test_view_is_told_in_the_frame_of_w_i(proxy: str) -> None:
    """w_i = w_o, told by (s3, s4), lies where `view` says that w_o lies: along the axes across d, and along d."""
    model = system("local", proxy)
    x_o, n, w_o = points(2000, 14), unit(2000, 15), unit(2000, 16)
    s = torch.rand(2000, 2, generator=torch.Generator().manual_seed(17), dtype=torch.float64)
    exit_ = model.coordinates.exit(s[:, 0], s[:, 1], x_o, n)
    t, b, along = model.coordinates.view(w_o, exit_, n).unbind(-1)
    s3, s4 = model.coordinates.direction_to_square(w_o, exit_, n)
    assert (along - (1 - 2 * s3**4)).abs().max() < 1e-6
    across = (1 - along**2).clamp_min(0).sqrt()
    assert (t - across * (2 * torch.pi * s4).cos()).abs().max() < 1e-6
    assert (b - across * (2 * torch.pi * s4).sin()).abs().max() < 1e-6


def test_all_networks_hear_the_view() -> None:
    """In local coordinates all five networks read w_o itself; in the paper's, its encoding alone."""
    for coordinates, numbers in (("local", 3), ("paper", 0)):
        model = Transport(ModelConfig(coordinates=coordinates, probes=0, occlusion=0))
        x_o, n, w_o = (v.float() for v in (points(64, 18), unit(64, 19), unit(64, 20)))
        known = model.known(model.sites(x_o, w_o, n))
        assert all((w_o[:, None, :] == torch.cat(columns, -1)[:, :, None]).all(0).any(0).sum() == numbers for columns in known[:5])
