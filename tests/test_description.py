"""Scenes as plain values: rebuilt scenes render the same image, bit for bit; the rest is refused by name.

Transforms here are in double precision, as Mitsuba's parser makes them: a ScalarTransform4f brings an inverse with
single precision errors of its own, which a description does not keep.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mi_neural_asset.asset.description import (
    Description,
    bounding_box,
    bounding_sphere,
    describe,
    scene_dict,
    shape_dicts,
)
from mi_neural_asset.asset.vocabulary import DescriptionError


def plugin(type_, **properties):
    return {"type": type_, **properties}


def rgb(*value):
    return plugin("rgb", value=list(value))


def lights(mi):
    """What stands around every asset here; the film adds nothing up: the order of sums differs from run to run."""
    t = mi.ScalarTransform4f
    film = plugin("hdrfilm", width=48, height=48, rfilter=plugin("box"))
    return {
        "sky": plugin("constant", radiance=rgb(1, 0.6, 0.3)),
        "lamp": plugin("point", position=[3, 4, 5], intensity=20.0),
        "integrator": plugin("volpath", max_depth=32, rr_depth=16),
        "sensor": plugin("perspective", fov=40, to_world=t().look_at([1, 3, 7], [0, 0, 0], [0, 1, 0]), film=film),
    }


def render(mi, scene):
    return np.array(mi.render(mi.load_dict({**scene, **lights(mi)}), spp=1, seed=3))


def render_original(mi, shapes):
    """The scene as its author wrote it, with each shape loaded on its own where nothing refers to anything.

    (Given as one dict, Mitsuba folds other constants into the kernels, and images differ by 1e-6: so does the original
    from itself, once a BSDF is passed as an object.)
    """
    if "water" not in shapes:
        shapes = {name: mi.load_dict(shape) for name, shape in shapes.items()}
    return render(mi, {"type": "scene", **shapes})


JADE = plugin(
    "homogeneous", albedo=rgb(0.9, 0.8, 0.7), sigma_t=rgb(0.9, 0.4, 0.2), scale=3.0, phase=plugin("hg", g=0.3)
)


def textured(mi, tmp_path):
    pixels = np.random.default_rng(1).random((8, 6, 3))
    mi.Bitmap((pixels * 255).astype(np.uint8)).write(str(tmp_path / "colour.png"))
    colour = plugin(
        "bitmap", filename=str(tmp_path / "colour.png"), wrap_mode="mirror", to_uv=mi.ScalarAffineTransform4d().scale(3)
    )
    return {"box": plugin("cube", bsdf=plugin("diffuse", reflectance=colour))}


def textures_in_memory(mi, tmp_path):
    pixels = np.random.default_rng(2).random((5, 4, 3)).astype(np.float32)
    raw = plugin("bitmap", bitmap=mi.Bitmap(pixels), raw=True, filter_type="nearest")
    half = plugin("bitmap", bitmap=mi.Bitmap(pixels[..., :1].astype(np.float16)))
    checks = plugin("checkerboard", color0=rgb(0.9, 0.1, 0.1), to_uv=mi.ScalarAffineTransform4d().scale(4))
    rough = plugin("roughconductor", material="Au", alpha=half)
    return {
        "a": plugin("cube", bsdf=plugin("diffuse", reflectance=plugin("bitmap", data=mi.TensorXf(pixels)))),
        "b": plugin(
            "sphere", center=[1.5, 0, 0], radius=0.6, bsdf=plugin("twosided", inner=plugin("diffuse", reflectance=raw))
        ),
        "c": plugin("sphere", center=[-1.5, 0, 0], radius=0.6, bsdf=rough),
        "d": plugin(
            "rectangle",
            to_world=mi.ScalarAffineTransform4d().translate([0, 0, -2]),
            bsdf=plugin("diffuse", reflectance=checks),
        ),
    }


def jade(mi, tmp_path):
    turn = mi.ScalarAffineTransform4d().rotate([0, 1, 0], 30).scale([1, 0.7, 1.2])
    return {
        "block": plugin(
            "cube", to_world=turn, bsdf=plugin("roughdielectric", alpha=0.1, int_ior="water"), interior=JADE
        )
    }


def smoke(mi, tmp_path):
    grid = np.random.default_rng(3).random((4, 5, 6, 1)).astype(np.float32)
    colour = np.random.default_rng(4).random((3, 2, 2, 3)).astype(np.float32)
    mi.VolumeGrid(colour).write(str(tmp_path / "albedo.vol"))
    place = mi.ScalarAffineTransform4d().translate(-1).scale(2)
    medium = plugin(
        "heterogeneous",
        albedo=plugin("gridvolume", filename=str(tmp_path / "albedo.vol"), to_world=place, wrap_mode="mirror"),
        sigma_t=plugin("gridvolume", grid=mi.VolumeGrid(grid), to_world=place, filter_type="nearest"),
        scale=4.0,
    )
    return {"cloud": plugin("cube", bsdf=plugin("roughdielectric"), interior=medium)}


def nested(mi, tmp_path):
    return {
        "water": plugin("homogeneous", albedo=0.5, sigma_t=plugin("spectrum", value=[(400, 0.2), (700, 0.6)])),
        "outer": plugin("sphere", radius=1.5, bsdf=plugin("dielectric"), interior=plugin("ref", id="water")),
        "inner": plugin(
            "cube",
            to_world=mi.ScalarAffineTransform4d().scale(0.5),
            bsdf=plugin("dielectric", int_ior=1.3, ext_ior="water"),
            interior=JADE,
            exterior=plugin("ref", id="water"),
        ),
    }


def materials(mi, tmp_path):
    t = mi.ScalarAffineTransform4d
    gold = plugin("principled", base_color=rgb(0.9, 0.7, 0.2), metallic=0.8, clearcoat=0.4, roughness=0.3)
    both = plugin(
        "twosided",
        front=plugin("plastic", diffuse_reflectance=0.3),
        back=plugin("diffuse", reflectance=rgb(0.8, 0.2, 0.2)),
    )
    blend = plugin("blendbsdf", weight=0.3, first=plugin("roughplastic", nonlinear=True), second=plugin("diffuse"))
    return {
        "a": plugin("sphere", to_world=t().translate([-1, 0, 0]).scale(0.8), flip_normals=True, bsdf=gold),
        "b": plugin("disk", to_world=t().translate([1, 0, 0]).rotate([1, 0, 0], 20), bsdf=both),
        "c": plugin("cylinder", p0=[0, 1, 0], p1=[1, 2, 0], radius=0.3, bsdf=plugin("conductor", material="Cu")),
        "d": plugin(
            "cube", to_world=t().translate([0, -1.5, 0]).scale(0.4), flip_normals=True, face_normals=True, bsdf=blend
        ),
        "e": plugin(
            "cube",
            to_world=t().translate([0, 0, 1]).scale([0.4, 0.4, -0.4]),
            bsdf=plugin("mask", opacity=0.7, x=plugin("diffuse")),
        ),
    }


SCENES = {f.__name__: f for f in (textured, textures_in_memory, jade, smoke, nested, materials)}


@pytest.mark.parametrize("name", SCENES)
def test_rebuilt_scene_renders_the_same(llvm, tmp_path, name):
    shapes = SCENES[name](llvm, tmp_path)
    described = describe({"type": "scene", **shapes})
    for path in tmp_path.iterdir():
        path.unlink()  # nothing of the description is on the disk
    rebuilt = scene_dict(Description.from_plain(described.to_plain()))
    original = render_original(llvm, SCENES[name](llvm, tmp_path))
    assert original.std() > 0.01
    np.testing.assert_array_equal(render(llvm, rebuilt), original)


def test_loaded_scene_reads_back_to_the_same_image(llvm, tmp_path):
    """Transforms of a loaded scene come back in single precision, so these are exact in it."""
    place = llvm.ScalarAffineTransform4d().translate([1, 0, 0.5]).scale(0.5)
    made = materials(llvm, tmp_path)
    shapes = jade(llvm, tmp_path) | {
        "ball": {**made["a"], "to_world": place},
        "box": {**made["d"], "bsdf": made["b"]["bsdf"]},
    }
    described = describe(llvm.load_dict({"type": "scene", **shapes}))
    assert {shape["id"] for shape in described.shapes} == {"block", "ball", "box"}
    np.testing.assert_array_equal(render(llvm, scene_dict(described)), render_original(llvm, shapes))


def test_analytic_shapes_read_back(llvm, tmp_path):
    made = {name: shape for name, shape in materials(llvm, tmp_path).items() if name in "abc"}
    loaded = describe(llvm.load_dict({"type": "scene", **made}))
    for ours, direct in zip(loaded.shapes, describe({"type": "scene", **made}).shapes, strict=True):
        boxes = [bounding_box(Description([shape])) for shape in (ours, direct)]
        np.testing.assert_allclose(boxes[0], boxes[1], atol=1e-6)
        assert ours["geometry"]["flip_normals"] == direct["geometry"]["flip_normals"]


def test_data_folder_mesh_and_volume(llvm, data_dir):
    place = llvm.ScalarAffineTransform4d().translate([-4, -4, -1]).scale(8)
    albedo = plugin("gridvolume", filename=str(data_dir / "albedo.vol"), to_world=place)
    medium = plugin("heterogeneous", albedo=albedo, sigma_t=plugin("constvolume", value=0.5), scale=2.0)
    turn = llvm.ScalarAffineTransform4d().scale(0.5).rotate([1, 0, 0], -90)
    teapot = plugin(
        "ply", filename=str(data_dir / "teapot.ply"), to_world=turn, bsdf=plugin("roughdielectric"), interior=medium
    )
    described = describe({"type": "scene", "pot": teapot})
    assert described.shapes[0]["geometry"]["vertices"].shape == (1177, 3)
    assert described.media["interior"]["albedo"]["data"].shape == (16, 16, 16, 3)
    # the grid's to_world comes out of Mitsuba inverted twice, by reciprocals whose last bit is the processor's (equal on AMD, not on Intel)
    np.testing.assert_allclose(render(llvm, scene_dict(described)), render_original(llvm, {"pot": teapot}), atol=5e-6)


XML = """<scene version="3.0.0">
  <default name="alpha" value="0.2"/>
  <integrator type="path"/>
  <emitter type="constant"/>
  <texture type="bitmap" id="paint"> <string name="filename" value="images/paint.png"/> </texture>
  <medium type="homogeneous" id="wax">
    <spectrum name="sigma_t" value="0.5"/> <rgb name="albedo" value="0.9 0.8 0.7"/>
  </medium>
  <bsdf type="roughdielectric" id="glass"> <float name="alpha" value="$alpha"/> </bsdf>
  <shape type="cube" id="candle"> <ref id="glass"/> <ref name="interior" id="wax"/> </shape>
  <shape type="sphere" id="ball"> <bsdf type="diffuse"> <ref name="reflectance" id="paint"/> </bsdf> </shape>
  <shape type="rectangle" id="lamp"> <emitter type="area"> <rgb name="radiance" value="1"/> </emitter> </shape>
</scene>"""


@pytest.fixture
def xml(llvm, tmp_path):
    (tmp_path / "images").mkdir()
    llvm.Bitmap(np.full((2, 3, 3), 100, dtype=np.uint8)).write(str(tmp_path / "images/paint.png"))
    (tmp_path / "scene.xml").write_text(XML)
    return tmp_path / "scene.xml"


def test_xml_references_defaults_and_relative_files(xml):
    described = describe(xml)
    candle, ball = described.shapes
    assert (candle["id"], candle["interior"], candle["exterior"]) == ("candle", "wax", None)
    assert candle["bsdf"] == {"type": "roughdielectric", "alpha": 0.2}
    assert described.media["wax"]["sigma_t"] == {"type": "spectrum", "value": 0.5}
    assert described.media["wax"]["albedo"] == {"type": "rgb", "value": [0.9, 0.8, 0.7]}
    paint = ball["bsdf"]["reflectance"]
    assert paint["data"].dtype == torch.uint8 and paint["data"].shape == (2, 3, 3) and (paint["data"] == 100).all()
    assert described.notes == (("lamp", "Shape 'lamp' is a lamp and is left out of the asset."),)


def test_xml_parameters(xml):
    assert describe(xml, params={"alpha": 0.4}).shapes[0]["bsdf"]["alpha"] == 0.4


def test_only_picks_shapes(xml):
    assert [shape["id"] for shape in describe(xml, only=["ball"]).shapes] == ["ball"]
    dark = describe(xml, only=["lamp"])
    assert dark.shapes[0]["bsdf"] == {"type": "diffuse", "reflectance": 0.0}  # Mitsuba's own default for a lamp
    assert "emitter is left out" in dark.notes[0][1]


def test_only_takes_media_of_its_shapes_alone(xml):
    assert describe(xml, only=["ball"]).media == {}


@pytest.mark.parametrize("argument", [{"only": ["bell"]}, {"only": []}])
def test_wrong_only(xml, argument):
    with pytest.raises(DescriptionError, match="only"):
        describe(xml, **argument)


def test_only_as_a_string(xml):
    with pytest.raises(TypeError, match=r"write \['ball'\]"):
        describe(xml, only="ball")


def test_plain_means_plain(llvm, tmp_path):
    """No description names a file, and every leaf is a plain value or a tensor."""

    def walk(value):
        if isinstance(value, dict):
            assert "filename" not in value
            for item in value.values():
                walk(item)
        elif isinstance(value, list):
            for item in value:
                walk(item)
        else:
            assert value is None or type(value) in (str, bool, int, float, torch.Tensor)
            assert not isinstance(value, str) or str(tmp_path) not in value

    for make in SCENES.values():
        walk(describe({"type": "scene", **make(llvm, tmp_path)}).to_plain())


def test_shared_bsdf_and_medium_are_one(llvm):
    ball = {"bsdf": plugin("ref", id="glass"), "interior": plugin("ref", id="wax")}
    scene = {
        "type": "scene",
        "glass": plugin("dielectric"),
        "wax": plugin("homogeneous"),
        "a": plugin("sphere", **ball),
        "b": plugin("cube", **ball),
    }
    described = describe(scene)
    assert list(described.media) == ["wax"]
    shapes = dict(shape_dicts(described, media=True))
    assert shapes["a"]["interior"] == shapes["b"].interior_medium()
    assert dict(shape_dicts(described))["b"].interior_medium() is None


def test_objects_inside_a_dict(llvm):
    scene = {
        "type": "scene",
        "mesh": llvm.load_dict(plugin("cube", bsdf=plugin("diffuse", reflectance=0.25))),
        "ball": plugin("sphere", bsdf=llvm.load_dict(plugin("dielectric", int_ior=1.4)), interior=llvm.load_dict(JADE)),
    }
    described = describe(scene)
    assert described.shapes[0]["geometry"]["faces"].shape == (12, 3)
    assert described.shapes[0]["bsdf"]["reflectance"]["value"] == 0.25
    assert described.shapes[1]["bsdf"]["int_ior"] == pytest.approx(1.4 / 1.000277, rel=1e-6)
    assert next(iter(described.media.values()))["sigma_t"]["value"] == pytest.approx([0.9, 0.4, 0.2])


def test_numpy_arrays_stand_for_tensors(llvm):
    pixels = np.random.default_rng(0).random((2, 3, 3))
    described = describe(plugin("sphere", bsdf=plugin("diffuse", reflectance=plugin("bitmap", data=pixels))))
    np.testing.assert_array_equal(described.shapes[0]["bsdf"]["reflectance"]["data"], pixels.astype(np.float32))


def test_vertex_colours_travel(llvm, tmp_path):
    mesh = llvm.load_dict(plugin("cube"))
    colours = np.random.default_rng(5).random(3 * mesh.vertex_count())
    mesh.add_attribute("vertex_color", 3, colours.tolist())
    mesh.write_ply(str(tmp_path / "painted.ply"))
    paint = plugin("diffuse", reflectance=plugin("mesh_attribute", name="vertex_color"))
    shapes = {"box": plugin("ply", filename=str(tmp_path / "painted.ply"), bsdf=paint)}
    described = describe({"type": "scene", **shapes})
    assert described.shapes[0]["geometry"]["attributes"]["vertex_color"].shape == (24, 3)
    np.testing.assert_array_equal(render(llvm, scene_dict(described)), render_original(llvm, shapes))


def test_grid_box_of_the_file_goes_into_the_transform(llvm, tmp_path):
    header = (
        b"VOL"
        + bytes([3])
        + np.array([1, 2, 2, 2, 1], np.int32).tobytes()
        + np.array([-1, -1, -1, 1, 3, 1], np.float32).tobytes()
    )
    values = np.linspace(0.1, 0.9, 8, dtype=np.float32)
    (tmp_path / "box.vol").write_bytes(header + values.tobytes())
    grid = plugin("gridvolume", filename=str(tmp_path / "box.vol"), use_grid_bbox=True)
    shapes = {
        "box": plugin("cube", bsdf=plugin("dielectric"), interior=plugin("heterogeneous", sigma_t=grid, scale=3.0))
    }
    described = describe({"type": "scene", **shapes})
    matrix = np.array(described.media["interior"]["sigma_t"]["to_world"]["matrix"])
    last_bits = 2 * np.finfo(np.float32).eps  # see above
    np.testing.assert_allclose(matrix, [[2, 0, 0, -1], [0, 4, 0, -1], [0, 0, 2, -1], [0, 0, 0, 1]], rtol=last_bits)
    # Mitsuba itself renders the box and the same to_world 3e-7 apart.
    np.testing.assert_allclose(render(llvm, scene_dict(described)), render_original(llvm, shapes), atol=1e-6)


# -- refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bsdf", "named"),
    [
        (plugin("diffuse", reflectance=plugin("bitmap", data=np.ones((2, 2, 3)))), "BitmapTexture.*of shape 'ball'"),
        (plugin("blendbsdf", id="mix", weight=0.5, a=plugin("diffuse"), b=plugin("plastic")), "BlendBSDF"),
        (plugin("hair", id="fur"), "Hair"),
    ],
)
def test_what_cannot_be_read_back_is_refused_by_name(llvm, bsdf, named):
    if "reflectance" in bsdf:
        bsdf["reflectance"]["data"] = llvm.TensorXf(bsdf["reflectance"]["data"])
    scene = llvm.load_dict({"type": "scene", "ball": plugin("sphere", bsdf=bsdf)})
    with pytest.raises(DescriptionError, match=f"{named}.*pass the scene file or the dict instead"):
        describe(scene)


def test_grid_of_a_loaded_scene_is_refused(llvm, tmp_path):
    scene = llvm.load_dict({"type": "scene", **smoke(llvm, tmp_path)})
    with pytest.raises(DescriptionError, match="HeterogeneousMedium.*pass the scene file"):
        describe(scene)


def test_readback_that_does_not_rebuild_is_refused(llvm):
    """A read-back that does not rebuild the object is refused, whatever the rules say."""
    from mi_neural_asset.asset import readback

    plugin_, values, objects, words = readback._RULES["RoughPlastic"]
    readback._RULES["RoughPlastic"] = (
        plugin_,
        values,
        objects,
        ("distribution", "sample_visible"),
    )  # forgets `nonlinear`
    try:
        scene = llvm.load_dict({"type": "scene", "ball": plugin("sphere", bsdf=plugin("roughplastic", nonlinear=True))})
        with pytest.raises(DescriptionError, match="RoughPlastic.*does not rebuild it"):
            describe(scene)
    finally:
        readback._RULES["RoughPlastic"] = plugin_, values, objects, words


@pytest.mark.parametrize(
    ("shape", "named"),
    [
        (plugin("neural_asset", weights="seal.pt"), "an asset cannot be baked from assets"),
        (plugin("shapegroup", ball=plugin("sphere")), "shapegroup.*list the instanced shapes"),
        (plugin("sdfgrid", filename="field.vol"), "sdfgrid.*convert it to a mesh"),
        (plugin("sdfgrid", filename="x.vol"), "sdfgrid"),
    ],
)
def test_unsupported_shapes_are_refused_by_name(llvm, shape, named):
    with pytest.raises(DescriptionError, match=f"'thing'.*{named}"):
        describe({"type": "scene", "thing": shape})


def test_plugins_that_read_other_files_are_refused(llvm):
    with pytest.raises(DescriptionError, match="measured.*reads a file"):
        describe(plugin("sphere", bsdf=plugin("measured", filename="paper.bsdf")))


def test_missing_files(llvm, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.xml.*does not exist"):
        describe(tmp_path / "nothing.xml")
    with pytest.raises(FileNotFoundError, match="is a folder"):
        describe(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"gone\.ply.*does not exist"):
        describe({"type": "scene", "a": plugin("ply", filename="gone.ply")})


def test_wrong_types_and_empty_scenes(llvm):
    with pytest.raises(TypeError, match="path of an XML file"):
        describe(3)
    with pytest.raises(DescriptionError, match="no shapes"):
        describe({"type": "scene", "sky": plugin("constant")})
    lamp = plugin("sphere", emitter=plugin("area"))
    with pytest.raises(DescriptionError, match="but lamps.*only"):
        describe({"type": "scene", "lamp": lamp})
    with pytest.raises(DescriptionError, match="not a scene or a shape"):
        describe(plugin("diffuse"))


# -- bounds ---------------------------------------------------------------------------------------------------------


def test_bounds_of_a_sphere_are_exact(llvm):
    place = llvm.ScalarAffineTransform4d().translate([1, 2, 3]).rotate([0, 0, 1], 30).scale(2)
    described = describe(plugin("sphere", center=[0, 0, 1], radius=0.5, to_world=place))
    center, radius = bounding_sphere(described)
    assert center == pytest.approx([1, 2, 5]) and radius == pytest.approx(1.0)
    low, high = bounding_box(described)
    assert low == pytest.approx([0, 1, 4]) and high == pytest.approx([2, 3, 6])


def test_bounds_hold_every_shape(llvm):
    """Against Mitsuba's own boxes, and by points on the surfaces."""
    place = llvm.ScalarAffineTransform4d().translate([1, 2, 3]).rotate([0.6, 0.8, 0], 40).scale([2, 1, 0.5])
    kinds = [
        plugin("disk"),
        plugin("rectangle"),
        plugin("cube"),
        plugin("cylinder", p0=[0, 1, 0], p1=[1, 2, 1], radius=0.3),
    ]
    for kind in kinds:
        shape = {**kind, "to_world": place} if kind["type"] != "cylinder" else kind
        loaded = llvm.load_dict(shape)
        described = describe(shape)
        low, high = bounding_box(described)
        box = loaded.bbox()
        assert np.allclose(low, box.min, atol=1e-5) and np.allclose(high, box.max, atol=1e-5), kind["type"]
        center, radius = bounding_sphere(described)
        uv = llvm.Point2f(np.random.default_rng(0).random((2, 4096)).astype(np.float32))
        points = np.array(loaded.sample_position(0.0, uv).p).reshape(3, -1)
        far = np.linalg.norm(points - np.array(center)[:, None], axis=0).max()
        assert far <= radius * (1 + 1e-6) and far > 0.8 * radius, kind["type"]
