"""Metrics on pictures of known noise and error; `verify` on assets whose difference from their source is known."""

import json

import numpy as np
import pytest
import torch
from oracle import SMALL, Asset, UniformRays
from scipy import stats

from mi_neural_asset import cli
from mi_neural_asset.asset.asset import NeuralAsset
from mi_neural_asset.asset.description import describe
from mi_neural_asset.model.config import ModelConfig
from mi_neural_asset.model.transport import Transport
from mi_neural_asset.verify import lights, measure, metrics

RHO = np.array([0.2, 0.4, 0.6])


def truth(size: int = 12) -> np.ndarray:
    return 0.2 + np.random.default_rng(1).random((size, size, 3)) * [1.0, 2.0, 0.5]


def noisy(image: np.ndarray, runs: int, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Runs with exponential (skewed) noise of standard deviation sigma times the image."""
    return image * (1 + sigma * (rng.exponential(size=(runs, *image.shape)) - 1))


def test_noise_correction_removes_the_noise_and_nothing_else():
    rng, image = np.random.default_rng(0), truth()
    mask = rng.random(image.shape[:2]) < 0.7
    mean = image[mask].mean()
    for offset in (0.0, 0.05):
        found, raw = [], []
        for _ in range(400):
            a, b = noisy(image + offset, 2, 0.5, rng), noisy(image, 4, 0.3, rng)
            result = metrics.noise_corrected_rms(a, b, mask)
            found.append(result.square * b.mean(0)[mask].mean() ** 2)  # the numerator is what is unbiased
            raw.append(((a.mean(0) - b.mean(0))[mask] ** 2).mean())
        z = (np.mean(found) - offset**2) / (np.std(found, ddof=1) / np.sqrt(len(found)))
        assert abs(z) < stats.norm.isf(0.001)
        assert np.mean(raw) > offset**2 + 4 * np.std(found)  # uncorrected it is mostly noise
        assert min(found) < offset**2 < max(found)
    assert result.value == pytest.approx(np.sqrt(max(result.square, 0))) and result.noise > 0.1
    exact = metrics.noise_corrected_rms(np.stack([1.1 * image] * 2), np.stack([image] * 2), mask)
    assert exact.value == pytest.approx(0.1 * np.sqrt((image[mask] ** 2).mean()) / mean) and exact.noise == 0


def test_standard_error_of_the_square_is_its_scatter():
    rng, image = np.random.default_rng(5), np.ones((16, 16, 3))
    mask = np.ones((16, 16), bool)
    results = [metrics.noise_corrected_rms(noisy(image, 3, 0.4, rng), noisy(image, 3, 0.4, rng), mask) for _ in range(300)]
    scatter = np.std([r.square for r in results], ddof=1)
    assert np.mean([r.square_error for r in results]) == pytest.approx(scatter, rel=0.15)


def test_relative_mse_of_a_known_error():
    image, mask = truth(), np.ones((12, 12), bool)
    b = image[None].repeat(2, 0)
    expected = ((0.2 * image) ** 2 / (image**2 + 0.01 * image.mean() ** 2)).mean()
    assert metrics.relative_mse(1.2 * b, b, mask) == pytest.approx(expected)
    rng = np.random.default_rng(2)
    a, b = noisy(image, 4, 0.2, rng), noisy(image, 4, 0.2, rng)
    assert metrics.relative_mse(a, b, mask, correct=False) > 10 * abs(metrics.relative_mse(a, b, mask))


def test_energy_ratio_covers_the_truth_as_often_as_it_says():
    rng, image, runs = np.random.default_rng(3), truth(6), 16
    mask = np.ones((6, 6), bool)
    covered = []
    for _ in range(1500):
        ratio, error = metrics.energy_ratio(noisy(0.9 * image, runs, 0.8, rng), noisy(image, runs, 0.8, rng), mask)
        covered.append(np.abs(ratio - 0.9) < stats.t.isf(0.025, 2 * runs - 2) * error)
    hits, n = int(np.sum(covered)), 3 * len(covered)  # channels are independent here
    low, high = stats.binom.interval(0.999, n, 0.95)
    assert low <= hits <= high
    ratio, error = metrics.energy_ratio(np.ones((2, 1, 1, 3)), np.array([1.0, 2.0, 0.0]) * np.ones((2, 1, 1, 3)), np.ones((1, 1), bool))
    np.testing.assert_array_equal(ratio, [1, 0.5, np.nan])
    np.testing.assert_array_equal(error, [0, 0, np.nan])


def test_variance_and_time_are_per_sample():
    rng, mask = np.random.default_rng(4), np.ones((64, 64), bool)
    image = np.ones((64, 64, 3))
    a, b = noisy(image, 4, 1 / np.sqrt(16), rng), noisy(image, 8, 3 / np.sqrt(64), rng)
    assert metrics.variance_per_sample(a, mask, 16) == pytest.approx(1, rel=0.06)
    assert metrics.variance_ratio(a, 16, b, 64, mask) == pytest.approx(9, rel=0.08)
    assert metrics.time_ratio([1.0, 1.0, 50.0, 1.0], 16, [8.0, 8.0], 64) == pytest.approx(2)
    assert np.isnan(metrics.variance_ratio(a[:1].repeat(2, 0), 1, b, 1, mask))


def test_flip_is_zero_for_equal_pictures_and_grows_with_the_error():
    image = truth(32)
    mask = np.zeros((32, 32), bool)
    mask[8:24, 8:24] = True
    b = (image * mask[..., None])[None].repeat(2, 0)
    values = [metrics.hdr_flip(factor * b, b, mask) for factor in (1.0, 1.05, 1.5)]
    assert values[0] == 0 and 0 < values[1] < values[2] < 1


def test_unsound_runs_are_refused():
    runs, mask = np.ones((2, 4, 4, 3)), np.ones((4, 4), bool)
    for bad, picked, message in (
        (runs[:1], mask, "at least two runs"), (runs, mask[:2], "the mask is"), (runs, ~mask, "mask is empty"),
        (runs * np.nan, mask, "not finite"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            metrics.energy_ratio(bad, runs, picked)
    with pytest.raises(ValueError, match="reference is black"):
        metrics.noise_corrected_rms(runs, 0 * runs, mask)


@pytest.mark.parametrize("up", ["x", "y", "z"])
def test_lights_surround_an_asset_of_any_size_and_place(llvm, up):
    mi = llvm
    stage = lights.Stage((5.0, -3.0, 2.0), 0.01, up)
    r = stage.rotation()
    np.testing.assert_allclose(r.T @ r, np.eye(3), atol=1e-12)
    assert np.linalg.det(r) == pytest.approx(1) and r["xyz".index(up), 1] == 1
    ball = {"type": "sphere", "center": list(stage.center), "radius": stage.radius}
    cover = measure.coverage({"type": "scene", "ball": ball}, lights.sensor(stage, 32), 32)
    assert cover[16, 16] == 1 and cover[0, 0] == 0 and cover[:, 1].max() > 0 and 0.7 < cover.mean() < 0.8
    # the sun stands where it is said to, whatever is up, and the sky above is not the ground
    sky = mi.load_dict({"type": "scene", "sky": lights.light("envmap", stage)}).environment()

    def seen(direction):
        si = mi.SurfaceInteraction3f()
        si.wi = -mi.Vector3f((r @ direction / np.linalg.norm(direction)).tolist())
        return np.asarray(sky.eval(si)).ravel()

    assert seen(lights.SUN)[0] > 50 and seen(lights.SUN * [-1, 1, -1])[0] < 2
    np.testing.assert_allclose(seen(np.array([0.1, -1, 0.1])), lights.GROUND, atol=0.02)
    # the lamp is outside of the bounding sphere, faces the asset, and is not in the picture
    lamp = lights.light("area", stage)
    matrix = np.array(lamp["to_world"].matrix)
    corners = [(matrix @ [x, y, 0, 1])[:3] - stage.center for x in (-1, 1) for y in (-1, 1)]
    assert min(np.linalg.norm(c) for c in corners) > 1.5 * stage.radius
    assert matrix[:3, 2] @ matrix[:3, 3] < matrix[:3, 2] @ np.array(stage.center)
    assert measure.coverage({"type": "scene", "lamp": lamp}, lights.sensor(stage, 32), 32).max() == 0
    with pytest.raises(ValueError, match="no light is called 'moon'"):
        lights.light("moon", stage)


class DirectOnly(Asset):
    """A ball as an asset whose network is black, so that its direct lobe is all there is."""

    up_axis = "z"

    def __init__(self, bsdf: dict, source_bsdf: dict, **media: dict) -> None:
        def ball(bsdf: dict, **more: dict) -> dict:
            return {"ball": {"type": "sphere", "radius": 2.0, "center": [1, 2, 3], "bsdf": bsdf, **more}}

        model = UniformRays(ModelConfig(separate_direct=True, **SMALL), (0.0, 0.0, 0.0))
        super().__init__(model, ball(bsdf, **media), (1.0, 2.0, 3.0), 2.0)
        self.source = type("Source", (), {"media": media, "digest": lambda: repr((source_bsdf, media))})
        self._source = {"type": "scene", **ball(source_bsdf, **media)}

    def source_scene(self) -> dict:
        return self._source


def diffuse_ball(factor: float) -> DirectOnly:
    """Differs from its source by the factor between their reflectances."""
    return DirectOnly(*({"type": "diffuse", "reflectance": {"type": "rgb", "value": (f * RHO).tolist()}} for f in (factor, 1.0)))


def check_energy(row: dict, factor: float, tests: int) -> None:
    t = np.abs(np.array(row["energy_ratio"]) - factor) / np.maximum(row["energy_ratio_error"], 1e-6)
    assert t.max() < stats.t.isf(0.005 / (3 * tests), 3), row


def test_known_difference_is_found(llvm, tmp_path):
    from mi_neural_asset.verify.verify import verify

    factor = 0.8
    result = verify(diffuse_ball(factor), size=24, spp=64, out=tmp_path, progress=False)
    assert result["settings"]["reference"] == "path" and list(result["lights"]) == list(lights.LIGHTS)
    for name, row in result["lights"].items():
        check_energy(row, factor, 3)
        reference = np.array(llvm.Bitmap(str(tmp_path / f"{name}_reference.exr")))  # black around the ball
        mean_square = (reference**2).sum() / (3 * result["settings"]["pixels"])
        expected = (1 - factor) ** 2 * mean_square / np.mean(row["mean_reference"]) ** 2
        assert abs(row["rms_square"] - expected) < 5 * row["rms_square_error"] + 0.01 * expected, name
        assert row["flip"] > 0.1 and row["gain"] == pytest.approx(row["variance_ratio"] * row["time_ratio"])
        for label in ("ours", "reference", "error"):
            assert (tmp_path / f"{name}_{label}.exr").is_file() and (tmp_path / f"{name}_{label}.png").is_file()
    assert json.loads((tmp_path / "verify.json").read_text()) == result


def test_asset_that_equals_its_source_passes(llvm):
    """A black medium behind smooth glass leaves the mirror lobe alone, and that is what the asset has."""
    from mi_neural_asset.verify.verify import verify

    glass = {"type": "dielectric"}
    asset = DirectOnly(glass, glass, interior={"type": "homogeneous", "albedo": 0.0, "sigma_t": 1e4})
    result = verify(asset, lights=["constant"], size=16, spp=1024, reference_spp=1024, progress=False)
    assert result["settings"]["reference"] == "volpath"
    for row in result["lights"].values():
        check_energy(row, 1.0, 1)
        assert abs(row["rms_square"]) < 4 * row["rms_square_error"]
        assert 0.02 < row["mean_reference"][0] < 0.5 and max(row["energy_ratio_error"]) < 0.02
        assert row["variance_ratio"] > 20  # volpath draws the mirror lobe at random, we follow it always


@pytest.fixture
def untrained(llvm, tmp_path):
    """A file with an untrained asset of a ball of wax."""
    medium = {"type": "homogeneous", "albedo": 0.8, "sigma_t": 3.0}
    ball = {"type": "sphere", "radius": 0.5, "bsdf": {"type": "dielectric"}, "interior": medium}
    source = describe({"type": "scene", "ball": ball})
    torch.manual_seed(0)
    config = ModelConfig(**SMALL)
    asset = NeuralAsset(source, source, [0.0, 0.0, 0.0], 0.5, config, dict(Transport(config).state_dict()))
    asset.save(tmp_path / "ball.pt")
    asset.replace(source=None).save(tmp_path / "bare.pt")
    return tmp_path / "ball.pt"


def finite(value) -> bool:
    if isinstance(value, dict):
        return all(finite(v) for v in value.values())
    if isinstance(value, list):
        return all(finite(v) for v in value)
    return isinstance(value, str) or (value is not None and np.isfinite(value))


def test_command_reports_every_figure(untrained, tmp_path, capsys):
    arguments = ["verify", str(untrained), "--size", "16", "--spp", "8", "--reference-spp", "16", "--lights", "area", "--no-certificate"]
    assert cli.main([*arguments, "--json", str(tmp_path / "figures.json"), "-o", str(tmp_path / "out"), "--quiet"]) == 0
    result = json.loads((tmp_path / "figures.json").read_text())
    assert result == json.loads((tmp_path / "out" / "verify.json").read_text())
    assert list(result["lights"]) == ["area"] and result["settings"]["reference"] == "volpath"
    for row in result["lights"].values():
        assert finite(row) and set(row) == {
            "energy_ratio", "energy_ratio_error", "rms", "rms_square", "rms_square_error", "rms_noise", "relmse", "relmse_with_noise",
            "flip", "variance_ratio", "time_ratio", "gain", "miss_rate", "mean_ours", "mean_reference", "ours", "reference",
        }  # fmt: skip
        assert row["ours"]["runs"] * row["ours"]["spp"] == 8 and row["reference"]["runs"] * row["reference"]["spp"] == 16
        assert 0 < row["miss_rate"] < 1 and min(row["ours"]["seconds"]) > 0
    printed = capsys.readouterr().out
    assert "area " in printed and f"{result['lights']['area']['rms']:.2%}" in printed


def test_same_seed_same_figures_other_seed_others(llvm):
    from mi_neural_asset.verify.verify import verify

    options = {"lights": ["constant"], "size": 8, "spp": 4, "reference_spp": 4, "progress": False}
    first, again, other = (verify(diffuse_ball(0.5), seed=s, **options)["lights"]["constant"] for s in (1, 1, 2))
    assert first["mean_reference"] == again["mean_reference"] and first["mean_ours"] == again["mean_ours"]
    assert first["mean_reference"] != other["mean_reference"] and first["mean_ours"] != other["mean_ours"]


def test_references_are_kept(llvm, tmp_path):
    from mi_neural_asset.verify.verify import verify

    options = {"lights": ["constant"], "size": 8, "spp": 4, "reference_spp": 8, "progress": False}
    plain = verify(diffuse_ball(0.5), **options)["lights"]["constant"]
    first = verify(diffuse_ball(0.5), references=tmp_path, **options)["lights"]["constant"]
    (folder,) = tmp_path.iterdir()
    assert first["mean_reference"] == plain["mean_reference"] and first["time_ratio"] > 0

    # an interrupted one goes on: two runs are missing, one of them half written
    runs = sorted(folder.glob("run_*.npy"))
    assert len(runs) == len(first["reference"]["seconds"]) == first["reference"]["runs"]
    runs[1].unlink()
    runs[2].write_bytes(runs[2].read_bytes()[:100])
    resumed = verify(diffuse_ball(0.5), references=tmp_path, **options)["lights"]["constant"]
    assert resumed["mean_reference"] == plain["mean_reference"] and len(resumed["reference"]["seconds"]) == 2

    # all are there: nothing is rendered, nothing is timed; our factor is another one, the source is the same
    other = verify(diffuse_ball(0.7), references=tmp_path, **options)["lights"]["constant"]
    assert other["mean_reference"] == plain["mean_reference"] and other["mean_ours"] != plain["mean_ours"]
    assert other["time_ratio"] is None and other["gain"] is None and other["reference"]["seconds"] == []

    # anything that the picture depends on makes another folder
    verify(diffuse_ball(0.5), references=tmp_path, **{**options, "seed": 1})
    verify(diffuse_ball(0.5), references=tmp_path, **{**options, "reference_spp": 4})
    assert len(list(tmp_path.iterdir())) == 3


def test_wrong_uses_are_named(llvm, untrained, capsys):
    from mi_neural_asset.verify.verify import verify

    with pytest.raises(ValueError, match="bare.pt does not embed its source.*bake it again without --no-source"):
        verify(untrained.with_name("bare.pt"))
    wrong = (({"lights": ["moon"]}, "no light is called 'moon'"), ({"spp": 0}, "spp must be"), ({"size": 2}, "size must be"))
    for options, message in wrong:
        with pytest.raises(ValueError, match=message):
            verify(untrained, **options)
    assert cli.main(["verify", str(untrained), "--lights", "moon"]) == 1
    assert "choose from constant, area, envmap" in capsys.readouterr().err
    with pytest.raises(FileNotFoundError):
        verify(untrained.with_name("none.pt"))


def test_large_requests_become_more_runs():
    assert measure.plan(64, 128) == (4, 16) and measure.plan(5, 8) == (4, 2)
    runs, each = measure.plan(4096, 256)
    assert runs * each >= 4096 and each * 256 * 256 <= measure.MAX_LANES


def test_a_scalar_variant_is_refused(scalar):
    from mi_neural_asset.verify.verify import verify

    with pytest.raises(ValueError, match="needs a JIT RGB variant"):
        verify("any.pt")
