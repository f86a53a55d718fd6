"""benchmarks/paper.py: the paper's figures as it sums them up itself, cells by content, measures, the denoiser."""

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch: pytest.MonkeyPatch, llvm) -> None:
    monkeypatch.setattr(sys, "path", [str(ROOT / "benchmarks"), *sys.path])


def test_papers_figures_are_copied_rightly() -> None:
    """Geometric means over the ten assets: error against far field .374, variance x time of path tracing over the paper's 11.8."""
    import paper_figures as paper
    from paper_tables import geometric

    ours, far = paper.ERROR["scene"]["ours"], paper.ERROR["scene"]["far_field"]
    assert abs(geometric([ours[a] / far[a] for a in paper.ASSETS]) - 0.374) < 0.005
    v, t = paper.VARIANCE, paper.MINUTES
    gains = {a: v["traced"][a] * t["traced"][a] / (v["ours"][a] * t["ours"][a]) for a in paper.ASSETS}
    assert abs(geometric(list(gains.values())) - 11.8) < 0.05
    assert abs(geometric([gains[a] for a in ("curl_hair", "hair", "fabric", "teaset")]) - 2.3) < 0.05


def test_cells_are_made_once_for_what_they_depend_on(tmp_path: Path) -> None:
    from paper_cells import Cells

    made: list[str] = []
    cells = Cells(tmp_path, made.append)

    def stopped(path: Path) -> dict:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cells.get("first", {"spp": 1}, stopped)
    assert not list(tmp_path.glob("*.json"))
    assert cells.get("first", {"spp": 1}, lambda path: {"value": 3})["value"] == 3
    again = Cells(tmp_path, made.append).get("first", {"spp": 1}, stopped)
    assert again["value"] == 3 and made == ["first", "first"]
    assert cells.get("second", {"spp": 2}, lambda path: {"value": 4})["value"] == 4
    assert len(list(tmp_path.glob("*.json"))) == 2


def test_errors_are_noise_corrected_and_variances_per_sample() -> None:
    from paper_tables import energy, error, variance

    random = np.random.default_rng(0)
    references = 2 + 0.3 * random.standard_normal((8, 40, 40, 3))
    runs = 2.2 + 0.5 * random.standard_normal((6, 40, 40, 3))
    found, spread = error(runs, references)
    assert abs(found - 100 * (0.2 / 2) ** 2) < 4 * spread < 0.4  # without the correction 2.3 instead of 1
    assert abs(variance(runs, 16, 2.0) - 100 * 16 * 0.25 / 4) < 8
    ratio, spread = energy(runs, references)
    assert (abs(ratio - 1.1) < 4 * spread).all() and (spread < 0.005).all()
    one = np.zeros((40, 40), bool)
    one[3, 5] = True
    ratio, spread = energy(runs, references, one)
    assert np.allclose(ratio, runs[:, 3, 5].mean(0) / references[:, 3, 5].mean(0)) and (spread > 0.03).all()


def test_means_over_squares_keep_the_error_and_lose_the_noise() -> None:
    from paper_tables import blocks, error

    random = np.random.default_rng(1)
    images = np.arange(2 * 4 * 8 * 3, dtype=float).reshape(2, 4, 8, 3)
    assert np.allclose(blocks(images, 2)[1, 1, 3], images[1, 2:4, 6:8].mean((0, 1))) and blocks(images, 2).shape == (2, 2, 4, 3)
    references = 1 + random.standard_normal((8, 40, 40, 3))
    runs = 1.1 + random.standard_normal((4, 40, 40, 3))
    fine, coarse = error(runs, references), error(blocks(runs, 4), blocks(references, 4))
    assert abs(coarse[0] - 1) < 4 * coarse[1] and coarse[1] < fine[1] / 3


def test_ratios_of_errors_are_told_bounded_or_left_out() -> None:
    from paper_tables import ratio_of

    assert ratio_of((1.0, 0.1), (4.0, 0.1)) == (0.25, pytest.approx(math.nan, nan_ok=True))
    ratio, bound = ratio_of((0.5, 0.5), (3.0, 0.1))
    assert math.isnan(ratio) and bound == 0.5
    assert ratio_of((-0.5, 0.5), (2.0, 0.1))[1] == 0.5
    assert all(map(math.isnan, ratio_of((1.0, 0.1), (1.0, 0.6))))


def test_tables_show_what_is_not_defined_as_such() -> None:
    from paper_tables import Table, beside, geometric

    assert beside(0.12345, 4.0) == "0.123 (4)" and beside(math.nan, None) == "- (-)"
    assert geometric([4.0, math.nan, 9.0, -1.0]) == pytest.approx(6.0) and math.isnan(geometric([]))
    assert Table("T", ["a", "b"], [["1", "2"]], "note").markdown() == "### T\n\nnote\n\n| a | b |\n| --- | --- |\n| 1 | 2 |\n"


def test_a_page_keeps_the_parts_of_other_scales() -> None:
    from paper import with_part

    page = "# Page\n\nWords.\n\n## Scale tiny\n\nold\n\n### T\n\n## Scale small\n\nother\n"
    assert with_part(page, "## Scale tiny\n\nnew\n") == "# Page\n\nWords.\n\n## Scale tiny\n\nnew\n\n## Scale small\n\nother\n"
    assert with_part("# Page\n", "## Scale tiny\n\nnew\n") == "# Page\n\n## Scale tiny\n\nnew\n"


def test_report_reads_what_the_bench_writes(tmp_path: Path) -> None:
    from paper import write_report
    from paper_tables import Table, Tables

    from mi_neural_asset.report.content import read

    tables = Tables(None, ["seal"])
    tables.views[("seal", "scene")] = {"reference": np.full((4, 5, 3), 0.5), "traced_denoised 16 spp": np.full((4, 5, 3), 0.25)}
    tables.plots.append({"title": "t", "x": "x", "y": "y", "series": {"ours": [[1, 2.0], [2, 1.0]]}})
    write_report(tmp_path, tables, [Table("T", ["a"], [["1"]])], "title", {"cpu": "any"})
    content = read(tmp_path)
    assert list(content.views[0].images) == ["reference", "traced denoised 16 spp"] and content.views[0].name == "seal, scene"
    assert np.allclose(content.views[0].images["traced denoised 16 spp"], 0.25) and content.tables[0]["rows"] == [["1"]]
    assert json.loads((tmp_path / "report.json").read_text())["machine"] == {"cpu": "any"}


def test_denoiser_takes_noise_away(llvm) -> None:
    """Open Image Denoise on a lit diffuse ball: guides as they should be, and a fraction of the noise."""
    pytest.importorskip("pyoidn", reason="no Open Image Denoise: pip install pyoidn")
    from denoise import denoise, guides

    scene = llvm.load_dict(
        {
            "type": "scene", "sky": {"type": "constant"},
            "ball": {"type": "sphere", "bsdf": {"type": "diffuse", "reflectance": {"type": "rgb", "value": [0.5, 0.3, 0.1]}}},
            "glass": {"type": "sphere", "center": [0, -1.2, 0], "radius": 0.3, "bsdf": {"type": "dielectric"}},
            "sensor": {
                "type": "perspective", "fov": 30, "to_world": llvm.ScalarTransform4f().look_at([0, -5, 0], [0, 0, 0], [0, 0, 1]),
                "film": {"type": "hdrfilm", "width": 64, "height": 64, "rfilter": {"type": "box"}}, "sampler": {"type": "independent"},
            },
        },
        parallel=False,
    )  # fmt: skip
    albedo, normal = guides(scene, 16, 0)
    assert np.allclose(albedo[20, 32], [0.5, 0.3, 0.1], atol=1e-3) and np.allclose(albedo[32, 32], 1)  # the ball; the glass in front
    assert (albedo[0, 0] == 0).all() and normal[32, 32][1] < -0.9
    clean = np.broadcast_to(albedo * 0.5 + 0.05, (64, 64, 3))
    noisy = (clean * np.random.default_rng(0).exponential(size=(64, 64, 1))).astype(np.float32)
    better = denoise(noisy, albedo, normal)
    inside = np.s_[16:28, 26:38]
    assert np.std(better[inside] - clean[inside]) < 0.25 * np.std(noisy[inside] - clean[inside])


def test_processes_share_the_work_by_assets_and_say_which_failed(tmp_path: Path, capfd) -> None:
    from paper import run_shares, shares

    work = shares(["1", "4", "12", "13"], ["cat", "seal"])
    assert work == [[("cat", "1"), ("seal", "1")], [("seal", "4"), ("cat", "12"), ("cat", "13")]]
    program = "import sys, pathlib; pathlib.Path(sys.argv[1], '_'.join(sys.argv[2:])).touch(); sys.exit('12' in sys.argv)"
    with pytest.raises(RuntimeError, match=r"not made, see above: cat \(tables 12\): exit code 1$"):
        run_shares(work, 2, [sys.executable, "-c", program, str(tmp_path)])
    assert len(list(tmp_path.iterdir())) == 5


def test_contact_sheet_shows_lit_scenes_alone() -> None:
    from paper import contact_sheet

    def views(*assets: str) -> dict:
        images = {name: np.full((4, 6, 3), value) for name, value in (("reference", 2.0), ("ours", 1.0), ("far_field", 4.0))}
        return {(asset, setup): images for asset in assets for setup in ("scene", "area")}

    assert contact_sheet({}) is None
    one = contact_sheet(views("seal"))
    assert one.shape == (4, 24, 3) and one[0, ::6, 0].tolist() == [1.0, 0.5, 1.0, 0.5]
    assert contact_sheet(views("seal", "milk", "hair")).shape == (8, 48, 3)
