"""Certificates: what is sound passes, what is not is found and named, and a certificate can be repeated."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from oracle import SMALL, Asset, UniformRays, model_of

from mi_neural_asset import cli
from mi_neural_asset.asset.asset import NeuralAsset
from mi_neural_asset.asset.description import describe
from mi_neural_asset.model.config import ModelConfig
from mi_neural_asset.model.transport import Transport


@pytest.fixture
def small(monkeypatch):
    """Quick certificates are quicker."""
    from mi_neural_asset.verify import certificate

    monkeypatch.setitem(certificate.SIZES, "quick", {"rows": 512, "lines": 8192, "size": 8, "spp": 16, "runs": 2})


def rough_asset(**settings) -> NeuralAsset:
    """A ball of wax with an untrained model of large weights, so that its densities are far from even."""
    medium = {"type": "homogeneous", "albedo": 0.8, "sigma_t": 3.0}
    source = describe({"type": "scene", "ball": {"type": "sphere", "radius": 0.5, "bsdf": {"type": "dielectric"}, "interior": medium}})
    torch.manual_seed(0)
    config = ModelConfig(**{**SMALL, **settings})
    model = Transport(config)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            parameter.mul_(8.0 if "last.weight" in key else 3.0 if "table" in key else 1.0)
        model.albedo_net.last.weight.mul_(0.02)
        model.albedo_net.last.bias.fill_(-1.0)
    weights = {name: value.detach().clone() for name, value in model.state_dict().items()}
    return NeuralAsset(source, source, [0.0, 0.0, 0.0], 0.5, config, weights)


@pytest.mark.parametrize("j", [2, 3])
def test_sharp_splines_integrate_to_one(llvm, j: int) -> None:
    """Peaks beside knots, far narrower than a cell of the quadrature: of even cells and quantiles alone, up to .04 was missing."""
    from mi_neural_asset.model.flow import PERIODIC
    from mi_neural_asset.splines import raw_size
    from mi_neural_asset.verify import checks

    model, generator = model_of("probes"), torch.Generator().manual_seed(0)
    raw = 4 * torch.randn(200, raw_size(model.config.knots, PERIODIC[j]), generator=generator)
    z = torch.rand(200, generator=generator)
    with torch.no_grad():
        drawn = model.flow.sample(j, z, raw[:, None], torch.zeros(200, dtype=torch.long))
        below, total = checks._integrate(model, j, drawn, raw)
    assert (total - 1).abs().max() < 1e-3 and (below - z).abs().max() < 2e-3


@pytest.mark.parametrize("coordinates", ["local", "paper"])
def test_sound_densities_pass_unsound_ones_do_not(llvm, monkeypatch, coordinates: str) -> None:
    from mi_neural_asset.model.flow import Flow
    from mi_neural_asset.verify import checks
    from mi_neural_asset.verify.certificate import LIMITS
    from mi_neural_asset.verify.hits import viewers

    asset = rough_asset(coordinates=coordinates)
    hits = viewers(asset, 1024, 3)
    np.testing.assert_allclose(hits.x_o.norm(dim=-1), 1, atol=1e-4)
    assert (hits.n * hits.w_o).sum(-1).min() > -1e-5

    def figures() -> tuple[float, float, float]:
        s = checks.sample(asset.model(), hits, 5)
        return np.abs(s.mass - 1).max(), np.abs(s.cdf - s.z).max(), checks.chi_squared(s)

    mass, gap, p = figures()
    assert mass < LIMITS["normalisation"] and gap < LIMITS["inversion"] and p > 0.01
    sample, log_density = Flow.sample, Flow.log_density
    with monkeypatch.context() as patch:  # samples of another distribution
        patch.setattr(Flow, "sample", lambda self, j, z, raw, channel: sample(self, j, z**1.2 if j == 2 else z, raw, channel))
        mass, gap, p = figures()
        assert mass < LIMITS["normalisation"] and gap > LIMITS["inversion"] and p < LIMITS["chi_squared_least"]
    with monkeypatch.context() as patch:  # a density that is too large everywhere
        patch.setattr(Flow, "log_density", lambda self, j, s, raw: log_density(self, j, s, raw) + (0.01 if j == 1 else 0))
        mass, gap, _ = figures()
        assert mass == pytest.approx(np.exp(0.01) - 1, abs=2e-3) and mass > LIMITS["normalisation"]


def test_asymmetry_of_known_transports(llvm) -> None:
    """Uniform rays are the same both ways; seen from above twice as bright, they are not, by a known amount."""
    from mi_neural_asset.verify import checks
    from mi_neural_asset.verify.hits import viewers

    class Lopsided(UniformRays):
        def sites(self, x_o, w_o, n, occlusion):
            return [w_o] * 5

        def albedo(self, sites):
            return torch.where(sites[0][:, 2:] > 0, 1.0, 0.5).expand(-1, 3)

    config = ModelConfig(coordinates="paper", separate_direct=False, proxy_margin=0.2, **SMALL)
    even, uneven = UniformRays(config, (0.9, 0.6, 0.3)), Lopsided(config, (1.0, 1.0, 1.0))
    asset = Asset(even)
    hits = viewers(asset, 1 << 17, 1)
    value, error = checks.asymmetry(even, hits, 2)
    assert value < 4 * error + 1e-9 and error < 0.02
    # P_ij of octants, without the albedo: T_ij = a_i P_ij
    a = np.where(np.arange(8) >= 4, 1.0, 0.5)
    z = torch.rand(1 << 17, 4, generator=torch.Generator().manual_seed(3))
    exit_, _ = even.sample_exit(None, hits.x_o, hits.n, None, z[:, :2])
    w, _ = even.sample_direction(None, exit_, hits.n, None, z[:, 2:])
    counts = np.zeros((8, 8))
    np.add.at(counts, (checks._octant(hits.w_o).numpy(), checks._octant(w).numpy()), 1)
    p, (i, j) = counts + counts.T, np.triu_indices(8, 1)
    expected = np.sqrt((p[i, j] ** 2 * (a[i] - a[j]) ** 2).sum() / (p[i, j] ** 2 * (a[i] + a[j]) ** 2 / 4).sum())
    value, error = checks.asymmetry(uneven, hits, 2)
    assert expected > 0.3 and abs(value - expected) < 4 * error + 0.005


def test_certificate_travels_is_shown_and_can_be_repeated(llvm, small, tmp_path: Path, capsys) -> None:
    from mi_neural_asset.verify.certificate import attach
    from mi_neural_asset.verify.recheck import CertificateError, recheck

    path = tmp_path / "ball.pt"
    with pytest.raises(CertificateError, match="no certificate: mi-neural-asset verify writes one"):
        recheck(rough_asset())
    rough_asset().save(path)
    assert cli.main(["verify", str(path), "--quick", "--quiet", "--seed", "3"]) == 0
    asset = NeuralAsset.load(path)
    made = asset.provenance["certificate"]
    assert set(made["checks"]) == {"normalisation", "inversion", "chi_squared", "reciprocity", "furnace", "mis"} and made["seed"] == 3
    assert made["holds"] is True and 0.05 < made["checks"]["furnace"]["value"] < 1
    assert cli.main(["info", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "certificate              holds (quick, seed 3)" in shown and made["hashes"]["weights"] in shown
    assert cli.main(["verify", str(path), "--check", "--quiet"]) == 0
    assert "the certificate holds" in capsys.readouterr().out

    forged = json.loads(json.dumps(made))
    forged["checks"].pop("inversion")
    forged["checks"]["furnace"]["value"] += 0.2
    forged["limits"]["mis_least"] = 0.0
    forged["hashes"]["weights"] = "0"
    attach(asset, forged).save(path)
    assert cli.main(["verify", str(path), "--check", "--quiet"]) == 5
    failed = capsys.readouterr().out
    for text in ("weights: the certificate is of other ones", "limit of mis_least", "furnace:", "inversion: the certificate lacks it"):
        assert f"does not hold: {text}" in failed
    assert failed.count("does not hold") == 4


def test_hashes_follow_weights_frame_and_source(llvm) -> None:
    from mi_neural_asset.verify.certificate import hashes

    asset = rough_asset()
    first = hashes(asset)
    name = next(iter(asset.weights))
    changed = {**asset.weights, name: asset.weights[name] + 1e-6}
    assert hashes(asset.replace(weights=changed))["weights"] != first["weights"]
    assert hashes(asset.replace(scale=0.51))["weights"] != first["weights"]
    bare = hashes(asset.replace(source=None, provenance={"note": "other"}))
    assert bare["weights"] == first["weights"] and bare["source"] is None and bare["boundary"] == first["boundary"]


@pytest.mark.slow
def test_techniques_that_disagree_are_found(llvm, monkeypatch) -> None:
    from mi_neural_asset.render.exits import Techniques
    from mi_neural_asset.verify import certificate

    asset, sizes = rough_asset(), certificate.SIZES["quick"]
    found = certificate._mis(asset, "quick", sizes, 0)["mis"]
    assert found["value"] > 0.01 and found["resolution"] < 0.1
    share = Techniques.share
    monkeypatch.setattr(Techniques, "share", lambda self, name, *densities: share(self, name, *densities) * (1.2 if self.lobe else 1))
    found = certificate._mis(asset, "quick", sizes, 0)["mis"]
    assert found["value"] < certificate.LIMITS["mis_least"] and found["difference"] > found["resolution"] / 2


def test_bake_ends_with_a_certificate(llvm, small, tmp_path: Path, monkeypatch, capsys) -> None:
    import mi_neural_asset
    from mi_neural_asset.baking import presets
    from mi_neural_asset.verify import certificate

    monkeypatch.setitem(presets.PRESETS, "preview", presets.BakeConfig(batch=1536, buffer=16384, validation=4096))
    medium = {"type": "homogeneous", "albedo": 0.9, "sigma_t": 3.0}
    scene = {"type": "scene", "ball": {"type": "sphere", "bsdf": {"type": "dielectric"}, "interior": medium}}
    asset = mi_neural_asset.bake(scene, tmp_path / "a.pt", steps=3, **SMALL)
    made = asset.provenance["certificate"]
    assert made["holds"] and made["hashes"] == certificate.hashes(asset)
    assert NeuralAsset.load(tmp_path / "a.pt").provenance["certificate"] == made
    assert "certificate: all checks hold" in capsys.readouterr().err

    def broken(*arguments, **settings):
        raise RuntimeError("no light")

    monkeypatch.setattr(certificate, "certify", broken)
    asset = mi_neural_asset.bake(scene, steps=1, **SMALL)
    assert "certificate" not in asset.provenance and "no certificate: no light" in capsys.readouterr().err


@pytest.mark.slow
def test_full_certificate_holds_the_lights_too(llvm, tmp_path: Path, capsys) -> None:
    path, dark = tmp_path / "ball.pt", rough_asset()
    dark.weights["albedo_net.last.bias"].fill_(-4.0)
    dark.save(path)
    sizes = ["--size", "16", "--spp", "16", "--reference-spp", "32", "--lights", "constant", "--quiet"]
    assert cli.main(["verify", str(path), *sizes]) == 5  # an untrained asset is not its source
    made = NeuralAsset.load(path).provenance["certificate"]
    assert made["level"] == "full" and list(made["lights"]["rows"]) == ["constant"] and not made["lights"]["rows"]["constant"]["holds"]
    capsys.readouterr()
    assert cli.main(["verify", str(path), "--check", "--quiet"]) == 5
    assert "does not hold: light constant" in capsys.readouterr().out
