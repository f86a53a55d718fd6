"""The HTML report: what it takes, that it is whole in itself, and how it behaves in a browser."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SIZE = (24, 32)  # height, width


@pytest.fixture
def folder(tmp_path: Path, llvm) -> Path:
    """Two views of flat and sloping pictures, one plot, one table."""
    from mi_neural_asset.images import write_exr

    y, x = np.mgrid[: SIZE[0], : SIZE[1]] / 32.0
    reference = np.stack([x, y, 0 * x + 0.25], -1)
    pictures = {"reference": reference, "ours": 0.5 * reference, "far field": reference + 0.1}
    files = {}
    for name, picture in pictures.items():
        files[name] = f"{name.replace(' ', '_')}.exr"
        write_exr(tmp_path / files[name], picture)
    content = {
        "title": "A <report> & more", "machine": {"cpu": "</script><b>"},
        "views": [{"name": "seal, scene", "reference": "reference", "images": files},
                  {"name": "seal, </script>", "reference": "reference", "images": {k: files[k] for k in ("reference", "ours")}}],
        "plots": [{"title": "variance", "x": "seconds", "y": "variance",
                   "series": {"ours": [[1, 0.5], [10, 0.05]], "traced": [[2, 5], [20, 0.5], [0, 1]]}}],
        "tables": [{"title": "Table 1", "header": ["asset", "error"], "rows": [["seal", "<0.1"]], "note": "A note."}],
    }  # fmt: skip
    (tmp_path / "report.json").write_text(json.dumps(content))
    return tmp_path


def make(folder: Path) -> str:
    from mi_neural_asset.cli import main

    assert main(["report", str(folder)]) == 0
    return (folder / "report.html").read_text()


def test_page_is_whole_and_escapes_what_it_is_given(folder: Path) -> None:
    text = make(folder)
    assert "<h1>A &lt;report&gt; &amp; more</h1>" in text and "<td>&lt;0.1</td>" in text
    assert text.count("</script>") == 2  # the data and the program: no more
    assert not re.search(r'(?:src|href)="(?!data:)', text) and "@import" not in text and "fetch(" not in text
    assert re.search(r'<link rel="icon" href="data:,">', text)
    svg = re.search(r"<svg.*?</svg>", text, re.S)[0]
    assert svg.count("<circle") == 4 and "nan" not in svg  # the point at zero has no place


def test_pictures_come_back_from_the_page(folder: Path) -> None:
    import base64

    data = json.loads(re.search(r'id="content">(.*?)</script>', make(folder), re.S)[1])
    view = data["views"][0]
    assert (view["height"], view["width"]) == SIZE and list(view["images"]) == ["reference", "ours", "far field"]
    values = {n: np.frombuffer(base64.b64decode(t), "<f2").reshape(*SIZE, 3).astype(float) for n, t in view["images"].items()}
    assert np.allclose(values["ours"], 0.5 * values["reference"], atol=1e-3)
    assert np.allclose(values["reference"][:, -1, 0], 31 / 32, atol=1e-3)


def test_wrong_folders_are_named(folder: Path, tmp_path: Path, capsys) -> None:
    from mi_neural_asset.cli import main

    plain = json.loads((folder / "report.json").read_text())
    for change, message in (
        (lambda c: c["views"][0].update(reference="none"), "its reference 'none' is none of its pictures reference, ours"),
        (lambda c: c["views"][0]["images"].update(ours="gone.exr"), "gone.exr is missing"),
        (lambda c: c["views"][0]["images"].update(ours="report.json"), "report.json cannot be read"),
        (lambda c: c.pop("views"), "is not what a report is made of"),
    ):
        content = json.loads(json.dumps(plain))
        change(content)
        (folder / "report.json").write_text(json.dumps(content))
        assert main(["report", str(folder)]) == 1 and message in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert main(["report", str(tmp_path / "empty")]) == 1 and "neither report.json nor verify.json" in capsys.readouterr().err


def test_folder_of_verify(tmp_path: Path, llvm) -> None:
    from mi_neural_asset.images import write_exr

    figures = {"energy_ratio": [1.0, 0.9, None], "rms": 0.1, "relmse": 0.2, "flip": 0.1, "variance_ratio": 3.0, "time_ratio": 2.0,
               "gain": 6.0, "miss_rate": None}  # fmt: skip
    (tmp_path / "verify.json").write_text(json.dumps({"asset": {"file": "a.pt"}, "settings": {"size": 8}, "lights": {"area": figures}}))
    for name in ("reference", "ours"):
        write_exr(tmp_path / f"area_{name}.exr", np.full((8, 8, 3), 0.5))
    text = make(tmp_path)
    assert "Asset a.pt" in text and "<td>1 0.9 -</td>" in text


def test_page_in_a_browser(folder: Path) -> None:
    """It loads, switches, zooms, slides, exposes, without a word on the console."""
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install playwright")
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip(f"no browser: install one of {', '.join(BROWSERS)}")
    make(folder)
    with playwright.sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        page = chromium.new_page(viewport={"width": 1000, "height": 800})
        said, asked = [], []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto((folder / "report.html").as_uri())
        _use(page)
        chromium.close()
    own = [text for text in said if "readback" in text]  # of `colour`, below
    assert said == own and [url for url in asked if not url.startswith("data:")] == [(folder / "report.html").as_uri()]


def colour(page, fx: float, fy: float, panel: int = 0) -> list[int]:
    """What a panel shows at a place of it, 0 to 1 each way."""
    program = """([k, x, y]) => {
        const c = document.querySelectorAll("#panels canvas")[k];
        return [...c.getContext("2d").getImageData(Math.floor(x * c.width), Math.floor(y * c.height), 1, 1).data].slice(0, 3);
    }"""
    return page.evaluate(program, [panel, fx, fy])


def srgb(value: float) -> int:
    value = min(max(value, 0), 1)
    return round(255 * (12.92 * value if value <= 0.0031308 else 1.055 * value ** (1 / 2.4) - 0.055))


def _use(page) -> None:
    def near(got: list[int], blue: float) -> None:
        assert abs(got[2] - srgb(blue)) <= 1, (got, blue)

    pressed = '#names button.name[aria-pressed="true"]'
    near(colour(page, 0.5, 0.5), 0.125)  # ours
    assert page.inner_text(pressed) == "2 ours"
    page.keyboard.press("1")
    near(colour(page, 0.5, 0.5), 0.25)  # reference
    page.get_by_role("button", name="3 far field").click()
    near(colour(page, 0.5, 0.5), 0.35)
    page.fill("#exposure", "1")
    near(colour(page, 0.5, 0.5), 0.7)
    page.fill("#exposure", "0")

    before = colour(page, 0.9, 0.5)
    for _ in range(3):
        page.keyboard.press("+")
    assert page.inner_text("#zoom") == "2.0 x" and colour(page, 0.9, 0.5)[0] < before[0]  # the same place shows what was further left
    page.mouse.move(500, 400)
    page.mouse.down()
    page.mouse.move(300, 400)
    page.mouse.up()
    assert colour(page, 0.9, 0.5)[0] > srgb(0.75)  # dragged to the left, the right side comes in
    assert re.match(r"pixel \d+, \d+: far field .*; reference ", page.inner_text("#values"))
    page.keyboard.press("0")
    assert page.inner_text("#zoom") == "1.0 x"

    page.get_by_role("button", name="Slider").click()
    near(colour(page, 0.25, 0.25), 0.25)
    near(colour(page, 0.75, 0.25), 0.35)
    box = page.locator("#panels canvas").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.9 * box["width"], box["y"] + box["height"] / 2)
    page.mouse.up()
    near(colour(page, 0.75, 0.25), 0.25)

    page.get_by_role("button", name="Side by side").click()
    assert page.locator("#panels canvas").count() == 3
    page.get_by_role("button", name="Errors").click()
    assert page.locator("#panels canvas").count() == 2 and page.is_visible("#scale")
    page.fill("#limit", "-2")
    assert colour(page, 0.5, 0.5, 1) == [252, 255, 163]  # the far field is 0.1 off everywhere: beyond the scale's end
    page.select_option("#view", "1")
    assert page.locator("#panels canvas").count() == 1
