"""The flow: drawing agrees with its density, the density is normalised, the training loss by slices equals torch's."""

import itertools

import pytest
import torch
from oracle import roof
from scipy import stats

from mi_neural_asset.model import summed
from mi_neural_asset.model.config import ModelConfig
from mi_neural_asset.model.transport import Transport

SIZES = {"occlusion": 0, "probes": 0, "width": 16, "knots": 6, "triplane": 8, "cubemap": 8, "line": 8, "features": 4, "albedo_width": 8}
SIGNIFICANCE = 0.01


def rough_model(coordinates: str, proxy: str, seed: int = 0) -> Transport:
    """An untrained model with weights so large that all its splines differ from uniform."""
    torch.manual_seed(seed)
    model = Transport(ModelConfig(coordinates=coordinates, proxy=proxy, **SIZES))
    if proxy == "hull":
        roof(model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.mul_(12.0 if "last.weight" in name else 3.0 if "table" in name else 1.0)
    return model.requires_grad_(False)


def one_site(model: Transport, count: int) -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]:
    x_o = torch.tensor([[0.3, -0.2, 0.4]]).expand(count, 3)
    n = torch.nn.functional.normalize(torch.tensor([[0.5, -0.1, 0.7]]), dim=-1).expand(count, 3)
    w_o = torch.nn.functional.normalize(torch.tensor([[0.1, 0.4, 0.8]]), dim=-1).expand(count, 3)
    return x_o, n, model.sites(x_o, w_o, n)


def draw(model: Transport, channel: int, count: int, seed: int) -> torch.Tensor:
    """Points s of the unit cube that the model draws, [count, 4]."""
    x_o, n, sites = one_site(model, count)
    z = torch.rand(count, 4, generator=torch.Generator().manual_seed(seed))
    channels = torch.full((count,), channel)
    exit_, _ = model.sample_exit(sites, x_o, n, channels, z[:, :2])
    w, _ = model.sample_direction(sites, exit_, n, channels, z[:, 2:])
    return model.square(x_o, n, exit_.u, w)[0]


def density(model: Transport, s: torch.Tensor, channel: int) -> torch.Tensor:
    """p(s) of one channel."""
    x_o, n, sites = one_site(model, s.shape[0])
    exit_ = model.coordinates.exit(s[:, 0], s[:, 1], x_o, n)
    w = model.coordinates.direction(s[:, 2], s[:, 3], exit_, n)
    log_w = model.direction_density(sites, exit_, n, w)[:, channel] - model.coordinates.log_direction_density(s[:, 2])
    known = model.known(sites)
    log_u = model._density(0, model.inputs_1(known), s[:, 0]) + model._density(1, model.inputs_2(known, s[:, 0]), s[:, 1])
    return (log_u[:, channel] + log_w).exp()


@pytest.mark.parametrize(("coordinates", "proxy"), [("local", "sphere"), ("paper", "box")])
def test_chi2_in_each_pair_of_dimensions(coordinates: str, proxy: str) -> None:
    model, bins, count = rough_model(coordinates, proxy), 8, 1 << 18
    pairs = list(itertools.combinations(range(4), 2))
    for channel in (0, 2):
        drawn = draw(model, channel, count, seed=1)
        grid = torch.quasirandom.SobolEngine(4, scramble=True, seed=2).draw(count)
        p = density(model, grid, channel).double()
        assert abs(p.mean().item() - 1) < 4 * (p.std() / count**0.5).item()  # normalised
        for a, b in pairs:
            cell = ((drawn[:, [a, b]] * bins).long().clamp_max(bins - 1) * torch.tensor([bins, 1])).sum(-1)
            observed = torch.bincount(cell, minlength=bins**2).double()
            where = ((grid[:, [a, b]] * bins).long().clamp_max(bins - 1) * torch.tensor([bins, 1])).sum(-1)
            expected = torch.zeros(bins**2, dtype=torch.float64).index_add_(0, where, p)
            variance = torch.zeros(bins**2, dtype=torch.float64).index_add_(0, where, p * p)
            statistic = ((observed - expected) ** 2 / (observed.clamp_min(5) + variance)).sum().item()
            assert stats.chi2.sf(statistic, bins**2 - 1) > SIGNIFICANCE / (2 * len(pairs)), (channel, a, b, statistic)
            # the same statistic rejects the uniform density: the test can fail
            uniform = torch.full_like(observed, count / bins**2)
            assert ((observed - uniform) ** 2 / uniform).sum() > 2 * bins**2


@pytest.mark.parametrize(("coordinates", "proxy"), [("local", "sphere"), ("local", "box"), ("paper", "box"), ("local", "hull")])
def test_density_over_rays_is_normalised(coordinates: str, proxy: str) -> None:
    """Integral of p(u, w) over the proxy's area and all directions, by a sampler that knows nothing of the flow."""
    model, count = rough_model(coordinates, proxy), 1 << 19
    x_o, n, _ = one_site(model, count)
    generator = torch.Generator().manual_seed(3)
    around = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=-1)
    origin = x_o if coordinates == "local" else torch.zeros_like(x_o)
    u, distance = model.proxy.exit(origin, around)
    per_area = (model.proxy.normal(u) * around).sum(-1) / distance**2 / (4 * torch.pi)  # density of u in area
    d = around
    z = torch.rand(count, 2, generator=generator)
    v = z[:, 0] ** (4 if coordinates == "local" else 1)
    helper = torch.nn.functional.normalize(torch.linalg.cross(d, torch.tensor([[0.3, 0.5, -0.8]]).expand_as(d)), dim=-1)
    phi, r = 2 * torch.pi * z[:, 1], 2 * (v * (1 - v)).clamp_min(0).sqrt()
    w = (1 - 2 * v)[:, None] * d + (r * phi.cos())[:, None] * helper + (r * phi.sin())[:, None] * torch.linalg.cross(d, helper)
    per_angle = 1 / (4 * torch.pi) / (4 * z[:, 0].clamp_min(1e-3) ** 3 if coordinates == "local" else 1)
    w_o = torch.nn.functional.normalize(torch.tensor([[0.1, 0.4, 0.8]]), dim=-1).expand(count, 3)
    p = model.log_density(x_o, w_o, n, u, w).exp().double()
    for channel in range(3):
        ratio = p[:, channel] / (per_area * per_angle)
        z_score = (ratio.mean() - 1) / (ratio.std() / count**0.5)
        assert abs(z_score) < stats.norm.isf(SIGNIFICANCE / 2 / 12), (channel, ratio.mean(), z_score)
        assert ratio.std() / count**0.5 < 0.02


@pytest.mark.parametrize("size", [2048, 50, 64])
def test_likelihood_by_slices_and_its_gradient_equal_torchs(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """With more rows than carry weight."""
    monkeypatch.setattr(summed, "SLICE", size)
    model, count, more = rough_model("local", "sphere").requires_grad_(), 3 * 64, 7
    generator = torch.Generator().manual_seed(4)
    s, weight = torch.rand(count, 4, generator=generator), torch.rand(count, 3, generator=generator)
    x_o, w_o, n = torch.nn.functional.normalize(torch.randn(3, count + more, 3, generator=generator), dim=-1)
    x_o = 0.7 * x_o
    exit_ = model.coordinates.exit(s[:, 0], s[:, 1], x_o[:count], n[:count])

    def gradients(value: torch.Tensor) -> dict[str, torch.Tensor]:
        model.zero_grad()
        value.backward()
        return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    by_slices = model.log_likelihood(model.known(model.sites(x_o, w_o, n)), s, exit_, n[:count], weight)
    known = model.known(model.sites(x_o[:count], w_o[:count], n[:count]))
    features = model.exit_features(known, exit_, n[:count])
    inputs = (
        model.inputs_1(known), model.inputs_2(known, s[:, 0]), model.inputs_3(known, exit_, features),
        model.inputs_4(known, exit_, features, s[:, 2]),
    )  # fmt: skip
    log_p = sum(model._density(j, inputs[j], s[:, j]) for j in range(4))
    full, other = (weight * log_p).sum(), (weight * log_p.roll(1, -1)).sum()
    assert abs(by_slices - full) < 3e-4 and abs(by_slices - other) > 1  # the channels differ
    ours, torchs = gradients(-2 * by_slices), gradients(-2 * full)
    assert ours.keys() == torchs.keys() and not any(name.startswith("albedo") for name in ours)
    for name, wanted in torchs.items():
        assert wanted.abs().max() > 0 and (ours[name] - wanted).abs().max() < 1e-4 * wanted.abs().max(), name


def test_drawn_densities_equal_evaluated_ones() -> None:
    model, count = rough_model("local", "sphere"), 4096
    x_o, n, sites = one_site(model, count)
    z = torch.rand(count, 4, generator=torch.Generator().manual_seed(5))
    channel = torch.arange(count) % 3
    exit_, _ = model.sample_exit(sites, x_o, n, channel, z[:, :2])
    w, log_p = model.sample_direction(sites, exit_, n, channel, z[:, 2:])
    again = model.direction_density(sites, exit_, n, w)
    wide = (w - exit_.d).norm(dim=-1) > 0.02  # nearer to d the azimuth of w is lost in float32
    assert wide.float().mean() > 0.7
    assert (log_p - again)[wide].abs().max() < 5e-3


def test_empty_batch() -> None:
    model = rough_model("local", "sphere")
    x_o, n, sites = one_site(model, 0)
    exit_, log_p = model.sample_exit(sites, x_o, n, torch.zeros(0, dtype=torch.long), torch.zeros(0, 2))
    assert log_p.shape == (0, 3) and model.albedo(sites).shape == (0, 3)
    assert model.sample_direction(sites, exit_, n, torch.zeros(0, dtype=torch.long), torch.zeros(0, 2))[0].shape == (0, 3)


def test_config_refuses_what_it_does_not_know() -> None:
    good = ModelConfig().to_dict()
    assert ModelConfig.from_dict(good) == ModelConfig()
    for change, message in (({"width": -1}, "width"), ({"coordinates": "polar"}, "coordinates"), ({"knots": 2.5}, "knots")):
        with pytest.raises((ValueError, TypeError), match=message):
            ModelConfig.from_dict({**good, **change})
    with pytest.raises(ValueError, match="unknown field 'colour'"):
        ModelConfig.from_dict({**good, "colour": 1})
    with pytest.raises(ValueError, match="missing field 'width'"):
        ModelConfig.from_dict({k: v for k, v in good.items() if k != "width"})
