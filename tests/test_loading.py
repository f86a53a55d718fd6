"""`weights="..."` as an attribute: what is changed in a scene file, and that nothing else is."""

from __future__ import annotations

import random
import time
from pathlib import Path
from xml.parsers import expat

import pytest

from mi_neural_asset import load_file, load_string, register
from mi_neural_asset.loading import _Rewriter
from mi_neural_asset.scene_xml import Scanner, expand, read, tags

SCENE = '<scene version="3.0.0">{}</scene>'


@pytest.fixture
def seen(llvm):
    """Puts a plain sphere in the place of `neural_asset` and lists the (weights, resolved path) it is asked for."""
    requests = []

    def factory(props):
        path = props["weights"]
        requests.append((path, str(llvm.file_resolver().resolve(path))))
        return llvm.load_dict({"type": "sphere"}, parallel=False)

    llvm.register_shape("neural_asset", factory)
    yield requests
    register()


def rewritten(text: str) -> str:
    with _Rewriter() as rewriter:
        return rewriter.rewrite(text, None, 0)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            '<shape type="neural_asset" weights="seal.pt"/>',
            '<shape type="neural_asset"><string name="weights" value="seal.pt"/></shape>',
        ),
        (
            '<shape weights=\'a &amp; "b".pt\'\n\ttype = \'neural_asset\'  id="x" ><ref id="m"/></shape>',
            '<shape\n\ttype = \'neural_asset\'  id="x" >'
            '<string name="weights" value=\'a &amp; "b".pt\'/><ref id="m"/></shape>',
        ),
        (
            '<shape type="neural_asset" weights="$w"\n/>\n<x/>',
            '<shape type="neural_asset"\n><string name="weights" value="$w"/></shape>\n<x/>',
        ),
    ],
)
def test_attribute_becomes_nested_string(before, after):
    assert rewritten(before) == after
    assert after.count("\n") == before.count("\n")  # lines keep their numbers


@pytest.mark.parametrize(
    "text",
    [
        '<shape type="sphere" weights="seal.pt"/>',  # Mitsuba's to refuse
        '<shape type="neural_asset"><string name="weights" value="seal.pt"/></shape>',
        '<!-- <shape type="neural_asset" weights="seal.pt"/> -->',
        '<?note <shape type="neural_asset" weights="seal.pt"/> ?>',
        '<![CDATA[<shape type="neural_asset" weights="seal.pt"/>]]>',
        "<!DOCTYPE s [ <!ENTITY e \"<shape type='neural_asset' weights='seal.pt'/>\"> ]>",
        "<string name=\"s\" value=\"<shape type='neural_asset' weights='seal.pt'/>\"/>",
        '<shape type="neural_asset" weights="seal.pt"',  # no end
    ],
)
def test_everything_else_stays(text):
    assert rewritten(text) == text


def test_bytes_around_the_attribute_stay(tmp_path):
    # Carriage returns, a byte that is no UTF-8, a byte order mark, tabs.
    before = (
        b'\xef\xbb\xbf<scene version="3.0.0">\r\n<!-- \xe9 -->\t<shape type="neural_asset" weights="w"/>\r\n</scene>'
    )
    (tmp_path / "s.xml").write_bytes(before)
    with _Rewriter() as rewriter:
        copy = rewriter.file(tmp_path / "s.xml")
        after = copy.read_bytes()
    nested = b'<shape type="neural_asset"><string name="weights" value="w"/></shape>'
    assert after == before.replace(b'<shape type="neural_asset" weights="w"/>', nested)
    assert not copy.exists()  # temporary
    assert (tmp_path / "s.xml").read_bytes() == before


def test_file_without_attributes_is_read_in_place(tmp_path):
    (tmp_path / "s.xml").write_text(SCENE.format('<shape type="sphere"/>'))
    with _Rewriter() as rewriter:
        assert rewriter.file(tmp_path / "s.xml") == tmp_path / "s.xml"


def test_relative_weights_are_beside_the_scene(seen, tmp_path, monkeypatch):
    scene = tmp_path / "scene"
    (scene / "parts").mkdir(parents=True)
    (scene / "seal.pt").touch()
    (scene / "s.xml").write_text(
        SCENE.format(
            '<default name="w" value="seal.pt"/>\n<include filename="parts/inner.xml"/>\n'
            '<shape type="neural_asset" weights="seal.pt"/>'
        )
    )
    (scene / "parts/inner.xml").write_text(SCENE.format('<shape type="neural_asset" weights="$w"/>'))
    monkeypatch.chdir(tmp_path)
    loaded = load_file("scene/s.xml")
    assert len(loaded.shapes()) == 2
    assert [name for name, _ in seen] == ["seal.pt"] * 2
    assert all(Path(path).resolve() == scene / "seal.pt" for _, path in seen)


def test_file_resolver_is_restored_after_an_error(seen, llvm, tmp_path):
    before = str(llvm.file_resolver())
    (tmp_path / "s.xml").write_text(SCENE.format('<shape type="nothing"/>'))
    with pytest.raises(RuntimeError, match="nothing"):
        load_file(tmp_path / "s.xml")
    assert str(llvm.file_resolver()) == before


def test_included_file_that_names_no_asset_stays_beside_a_changed_one(seen, tmp_path):
    (tmp_path / "s.xml").write_text(
        SCENE.format('<include filename="plain.xml"/><shape type="neural_asset" weights="a.pt"/>')
    )
    (tmp_path / "plain.xml").write_text(SCENE.format('<shape type="disk"/>'))
    assert len(load_file(tmp_path / "s.xml").shapes()) == 2


@pytest.mark.parametrize("place", ["s.xml", "inner.xml"])
def test_errors_name_the_file_and_its_line(seen, tmp_path, place):
    wrong = '\n<shape type="neural_asset" weights="a"/>\n<shape type="neural_asset" weights="a">\n\n<wrong/></shape>'
    texts = {"s.xml": '<include filename="inner.xml"/>', "inner.xml": '<shape type="neural_asset" weights="b"/>'}
    texts[place] += wrong
    for name, text in texts.items():
        (tmp_path / name).write_text(SCENE.format(text))
    with pytest.raises(RuntimeError) as caught:
        load_file(tmp_path / "s.xml")
    assert f"{tmp_path / place} (line 5" in str(caught.value)
    assert "mi_neural_asset_" not in str(caught.value)  # the copy's folder


def test_parameters(seen):
    xml = SCENE.format('<default name="w" value="a.pt"/><shape type="neural_asset" weights="$w"/>')
    load_string(xml)
    load_string(xml, w="b.pt")
    assert [name for name, _ in seen] == ["a.pt", "b.pt"]
    with pytest.raises(RuntimeError, match="unused"):
        load_string(xml, nothing=1)


@pytest.mark.parametrize("name", ["config", "string", "filename"])
def test_parameter_name_that_cannot_be_passed(llvm, name):
    with pytest.raises(ValueError, match=f'"{name}"'):
        load_string(SCENE.format(""), **{name: 1})


def test_plain_mitsuba_refuses_the_attribute(llvm):
    # What the documentation quotes; the reason for these functions.
    with pytest.raises(RuntimeError, match='unexpected attribute "weights" in element <shape>'):
        llvm.load_string(SCENE.format('<shape type="neural_asset" weights="a.pt"/>'))


def test_no_variant_is_an_error_that_says_what_to_do(llvm, monkeypatch):
    monkeypatch.setattr(llvm, "variant", lambda: None)
    with pytest.raises(RuntimeError, match="call mitsuba.set_variant"):
        load_string(SCENE.format(""))


def test_include_of_itself_is_mitsubas_error(seen, tmp_path):
    (tmp_path / "s.xml").write_text(
        SCENE.format('<include filename="s.xml"/><shape type="neural_asset" weights="a.pt"/>')
    )
    with pytest.raises(RuntimeError, match="(?i)recursion|include|attribute"):
        load_file(tmp_path / "s.xml")


def laughs(levels: int) -> str:
    entities = '<!ENTITY l0 "ha">' + "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, levels))
    return f"<!DOCTYPE scene [{entities}]>" + SCENE.format(f'<shape type="neural_asset" weights="&l{levels - 1};"/>')


def test_entities_are_not_expanded(seen):
    text = laughs(30)
    assert len(rewritten(text)) < len(text) + 100
    load_string(text)
    assert seen == [("&l29;", "&l29;")]  # Mitsuba's parser does not expand them either


@pytest.mark.parametrize(
    "piece",
    ['<shape type="neural_asset" weights="', "<!--", "<![CDATA[", "<?", "<!DOCTYPE [", "<a '", "<", "<s a='1' "],
)
def test_hostile_text_takes_linear_time(piece):
    def seconds(repeats: int) -> float:
        text, start = piece * repeats, time.perf_counter()
        sum(1 for _ in tags(text))
        return time.perf_counter() - start

    seconds(1000)
    assert seconds(64_000) < 2.0  # quadratic would be minutes; linear is some 0.1 s


def test_tags_agree_with_expat():
    random.seed(7)
    names, values = ["shape", "bsdf", "string", "a-b"], ["1", "x > y", "it's", "&lt;&amp;&#65;&#x42;", "a/b", ""]
    for _ in range(200):
        parts, open_tags = [], []
        for _ in range(30):
            kind = random.randrange(6)
            attributes = "".join(
                f'{random.choice([" ", chr(10)])}k{i}{random.choice(["=", " = "])}"{random.choice(values)}"'
                for i in range(random.randrange(3))
            )
            if kind < 2:
                open_tags.append(random.choice(names))
                parts.append(f"<{open_tags[-1]}{attributes}>")
            elif kind == 2:
                parts.append(f"<{random.choice(names)}{attributes}/>")
            elif kind == 3 and open_tags:
                parts.append(f"</{open_tags.pop()}>")
            else:
                parts.append(random.choice(["text > ", "<!-- <shape a='1'> -->", "<![CDATA[<a>]]>", "<?p <b?>"]))
        text = "<root>" + "".join(parts) + "".join(f"</{name}>" for name in reversed(open_tags)) + "</root>"
        expected = []
        parser = expat.ParserCreate()
        parser.StartElementHandler = lambda name, attributes: expected.append((name, attributes))  # noqa: B023
        parser.Parse(text, True)
        found = [(tag.name, {name: a.value for name, a in tag.attributes.items()}) for tag in tags(text)]
        # XML turns a line break inside a value into a space; none of the values here has one.
        assert found == expected


def test_tags_of_noise_lie_inside_the_text():
    random.seed(8)
    for _ in range(3000):
        text = "".join(random.choices("<>\"'!-[]?/= \nshape&;$", k=random.randrange(60)))
        last = 0
        for tag in tags(text):
            assert text[tag.start] == "<" and text[tag.end - 1] == ">" and last <= tag.start < tag.end
            last = tag.end
            assert all(tag.start < a.start < a.end < tag.end for a in tag.attributes.values())


def test_longer_parameter_names_go_first():
    assert expand("$a $ab $b", {"a": "1", "ab": "2"}) == "1 2 $b"


def test_scanner_reads_defaults_of_included_files(tmp_path):
    (tmp_path / "s.xml").write_text(SCENE.format('<include filename="d.xml"/><integrator type="$i"/>'))
    (tmp_path / "d.xml").write_text(SCENE.format('<default name="i" value="nap_path"/>'))
    scanner = Scanner()
    names = [tag.name for tag in scanner.walk(tmp_path / "s.xml")]
    assert names == ["scene", "include", "scene", "default", "integrator"]
    assert scanner.parameters == {"i": "nap_path"}


def test_utf16_file_round_trip(tmp_path):
    (tmp_path / "s.xml").write_bytes('<scene version="3.0.0"/>'.encode("utf-16"))
    text, encoding = read(tmp_path / "s.xml")
    assert text.startswith("<scene") and text.encode(encoding) == (tmp_path / "s.xml").read_bytes()
