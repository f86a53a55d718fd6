"""Ways to damage an asset file, each a function (random, sample) -> bytes of a file, by the name of its kind."""

from __future__ import annotations

import copy
import io
import pickletools
import random
import struct
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import torch

from .sample import Sample, pack

VALUES = (0.0, -0.0, 1.0, -1.0, 1e-40, 1e18, -1e18, 1e30, 3e38, -3e38, float("nan"), float("inf"), -float("inf"))
CHECKPOINT = "mi_neural_asset checkpoint"
Mutation = Callable[[random.Random, Sample], bytes]
KINDS: dict[str, Mutation] = {}
TEXTS = (
    "", " ", "../../x", "/etc/passwd", "..\\..\\x", "file:///etc/passwd", "C:\\x", "x\0y", "\x1b[2J\x1b]0;owned\x07", "a\nb\r",
    "\u202egnp.x",
    "<!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><x>&e;</x>", "&lol;&#0;", "${HOME}", "$(touch owned)", "%s%n", "nan", "1e999",
    "é" * 40, "x" * 300, "memory:x", "__class__", "filename", "id", "type", "vertex_", "vertex_x", "face_x", "data", "\ud800", "y" * 70_000,
    "ggx", "Au", "../Au", "none", "water", "1, 2", "1,,2", "1, -1", "-1", "raw", "nested_0", "mirror", "float32",
)  # fmt: skip
NUMBERS = (
    0, 1, -1, 2, 3, 255, 256, 2**31, 2**32, 2**53, 2**63 - 1, -(2**63), 10**30, 10**400, 0.0, -0.0, 0.5, 1e-40, 1e-300, 1e18, 1e30, 3.5e38,
    1e300, -1e300, float("nan"), float("inf"), -float("inf"), True, False,
)  # fmt: skip


def kind(function: Mutation) -> Mutation:
    """Register a kind under the function's name."""
    KINDS[function.__name__] = function
    return function


def mutant(seed: int, index: int, sample: Sample) -> tuple[str, bytes]:
    """File number `index` of a seed: (kind, bytes); the kinds take turns."""
    name = list(KINDS)[index % len(KINDS)]
    return name, KINDS[name](random.Random(f"{seed} {index}"), sample)


# -- bytes and container --------------------------------------------------------------------------------------------


def container(entries: list[tuple[str, bytes]], compression: int = zipfile.ZIP_STORED) -> bytes:
    """Entries as a zip file; names may occur twice."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, data in entries:
            archive.writestr(_entry(name, compression), data)
    return stream.getvalue()


def _entry(name: str, compression: int) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.compress_type = compression
    return entry


@kind
def flipped_bytes(r: random.Random, s: Sample) -> bytes:
    data = bytearray(s.data)
    for _ in range(r.choice((1, 1, 2, 8, 64))):
        data[r.randrange(len(data))] = r.randrange(256)
    return bytes(data)


@kind
def moved_bytes(r: random.Random, s: Sample) -> bytes:
    a, b = sorted(r.sample(range(len(s.data)), 2))
    b = min(b, a + r.choice((1, 4, 100, 5000)))
    block = s.data[a:b]
    return r.choice((s.data[:a] + s.data[b:], s.data[:b] + block + s.data[b:], s.data[:a] + bytes(b - a) + s.data[b:], block + s.data))


@kind
def cut_off(r: random.Random, s: Sample) -> bytes:
    return s.data[: r.choice((r.randrange(len(s.data)), len(s.data) - r.randrange(200), r.randrange(64)))]


@kind
def directory_bytes(r: random.Random, s: Sample) -> bytes:
    """Sizes, offsets, names and flags of the directory and the local headers."""
    data = bytearray(s.data)
    for _ in range(r.choice((1, 1, 2, 4))):
        start = data.find(r.choice((b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07")), r.randrange(len(data)))
        place = start + r.randrange(4, 56) if start >= 0 else len(data) - r.randrange(1, 100)
        value = r.choice((b"\0", b"\1", b"\xff", b"\xff\xff\xff\xff", struct.pack("<Q", 2**40), bytes([r.randrange(256)])))
        data[place : place + len(value)] = value
    return bytes(data)


@kind
def entries(r: random.Random, s: Sample) -> bytes:
    """Additional, missing, doubled, renamed, exchanged and shortened entries."""
    items = list(s.entries)
    k, j = r.randrange(len(items)), r.randrange(len(items))
    name, data = items[k]
    strange = r.choice((
        "../x", "archive/../../x", "/tmp/x", "archive/data/../0", "archive/code/x.py", "archive/data/999", "archive/DATA.PKL",
        "archive/data/00", "archive/constants.pkl", "archive//data.pkl", "archive/data.pkl\0x", "é/data.pkl", "archive/.data/x",
    ))  # fmt: skip
    items[k : k + 1] = r.choice((
        [(name, data), (strange, data)], [(name, data)] * 2, [(strange, data)], [], [(name, items[j][1])], [(name, data[:-1])],
        [(name, data + b"\0" * r.choice((1, 4, 1000)))], [(name.upper(), data)], [(name, b"")], [(name, r.randbytes(len(data)))],
    ))  # fmt: skip
    return container(items)


@kind
def containers(r: random.Random, s: Sample) -> bytes:
    """Compression, comments, data around and between, two directories, links, many entries."""
    plain = container(s.entries)
    choice = r.randrange(9)
    if choice == 0:
        bomb = [(name, bytes(2**24) if name.endswith("data/0") else data) for name, data in s.entries]
        return container(bomb, r.choice((zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)))
    if choice == 1:
        return r.randbytes(r.randrange(1, 300)) + plain
    if choice == 2:
        return plain + r.choice((b"\0", b"PK\x05\x06" + bytes(18), r.randbytes(50)))
    if choice == 3:
        return plain[:-2] + struct.pack("<H", 30) + r.randbytes(30)
    if choice == 4:
        return plain[:-2] + struct.pack("<H", len(s.data) % 65536) + s.data[: len(s.data) % 65536]
    if choice == 5:
        return container([*s.entries, *((f"archive/data/{k}", b"") for k in range(1000, r.choice((1100, 19_000, 30_000))))])
    if choice == 6:
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            for name, data in s.entries:
                entry = zipfile.ZipInfo(name)
                entry.external_attr = 0o120777 << 16  # a symbolic link
                archive.writestr(entry, data)
        return stream.getvalue()
    if choice == 7:
        return s.data + s.data
    return _claims(r, s)


def _claims(r: random.Random, s: Sample) -> bytes:
    """A record whose headers claim a huge size, or another checksum."""
    data = bytearray(container(s.entries))
    name = f"archive/data/{r.randrange(20)}".encode()
    place = data.rfind(b"PK\x01\x02", 0, data.rfind(name))
    struct.pack_into("<I", data, place + r.choice((16, 20, 24, 42)), r.choice((2**32 - 1, 2**31, 2**30, 0, 7)))
    return bytes(data)


@kind
def patched_records(r: random.Random, s: Sample) -> bytes:
    """Other values in a tensor's record, with the right checksum: NaN, infinity, anything."""
    items = list(s.entries)
    k = r.choice([k for k, (name, data) in enumerate(items) if "/data/" in name and data])
    data = bytearray(items[k][1])
    for _ in range(r.choice((1, 2, 20))):
        place = r.randrange(max(len(data) - 3, 1)) & ~3
        value = r.choice((struct.pack("<f", r.choice((float("nan"), float("inf"), 3e38, -3e38, 1e-45, -1.0, 0.0))), r.randbytes(4)))
        data[place : place + 4] = value[: len(data) - place]
    items[k] = (items[k][0], bytes(data))
    return container(items)


# -- pickle ---------------------------------------------------------------------------------------------------------


def _instructions(data: bytes) -> list[bytes]:
    places = [place for _, _, place in pickletools.genops(data)] + [len(data)]
    return [data[a:b] for a, b in zip(places, places[1:])]  # noqa: B905


def _with_pickle(s: Sample, data: bytes) -> bytes:
    return container([(name, data if name.endswith("data.pkl") else old) for name, old in s.entries])


def _pickle(s: Sample) -> bytes:
    return next(data for name, data in s.entries if name.endswith("data.pkl"))


def _call(name: str, *arguments: bytes) -> bytes:
    return b"c" + name.replace(" ", "\n").encode() + b"\n(" + b"".join(arguments) + b"tR"


def _text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def _int(value: int) -> bytes:
    return b"\x8a\x08" + struct.pack("<q", value)


EVIL = (
    _call("os system", _text("touch owned")), _call("posix system", _text("touch owned")), _call("builtins eval", _text("1/0")),
    _call("builtins bytearray", _int(10**11)), _call("builtins bytearray", _int(10**8)), _call("builtins set", b"]"),
    _call("torch.storage _load_from_bytes", _text("x")), _call("torch load", _text("x")),
    _call("_codecs encode", _text("x"), _text("rot13")),
    _call("torch._utils _rebuild_meta_tensor_no_storage", b"ctorch\nfloat32\n", b"(" + _int(2**40) + b"t", b"(K\x01t", b"\x89"),
    _call("torch._tensor _rebuild_from_type_v2"), _call("collections Counter", b"]"), _call("torch Size", b"("),
    b"(X\x01\x00\x00\x00xios\nsystem\n", b"}(X\x01\x00\x00\x00ackos\nsystem\nub", b"cos\nsystem\n", b"\x82\x01", b"\x93", b"Px\n", b"}b",
    b"r\xff\xff\xff\xff", b"j\xff\xff\xff\xff", b"X\xff\xff\xff\x7f", b"\x8d" + struct.pack("<Q", 2**60),
    b"\x8b\xff\xff\xff\x7f", b"\x8a\xff",
    b"T\xff\xff\xff\x7f", b"(" * 5000, b"](" * 500, b"}" * 300_000, b")" + b"\x85" * 100_000, b"2" * 1000, b"0", b"1", b".",
    b"\x95" + bytes(8),
)  # fmt: skip


@kind
def instructions(r: random.Random, s: Sample) -> bytes:
    """Instructions of the pickle: dropped, doubled, exchanged, and foreign ones."""
    steps = _instructions(_pickle(s))
    for _ in range(r.choice((1, 1, 1, 3))):
        k, j = r.randrange(1, len(steps)), r.randrange(1, len(steps))
        steps[k : k + 1] = r.choice(([], [steps[k]] * 2, [steps[j]], [steps[j], steps[k]], [r.randbytes(1)], [b"0", steps[k]]))
    return _with_pickle(s, b"".join(steps))


@kind
def foreign_instructions(r: random.Random, s: Sample) -> bytes:
    steps = _instructions(_pickle(s))
    values = [k for k, step in enumerate(steps) if step[:1] in b"XKJMGN\x88\x89" and k > 4]
    k = r.choice(values)
    steps[k : k + 1] = r.choice(([r.choice(EVIL)], [r.choice(EVIL), b"0", steps[k]], [steps[k], r.choice(EVIL), b"0"]))
    return _with_pickle(s, b"".join(steps))


@kind
def pickle_bytes(r: random.Random, s: Sample) -> bytes:
    data = bytearray(_pickle(s))
    for _ in range(r.choice((1, 1, 2, 6))):
        data[r.randrange(len(data))] = r.randrange(256)
    return _with_pickle(s, bytes(data))


@kind
def tensor_claims(r: random.Random, s: Sample) -> bytes:
    """Storage, offset, shape, strides and type of a tensor."""
    steps = _instructions(_pickle(s))
    stores = [k for k, step in enumerate(steps) if step == b"Q"]
    k = r.choice(stores)
    begin, end = max(k - 8, 0), next(j for j in range(k, len(steps)) if steps[j] == b"R")
    for _ in range(r.choice((1, 1, 2))):
        j = r.choice([j for j in range(begin, end) if steps[j][:1] in b"KJMXch"])
        big = _int(r.choice((0, 1, 3, 4, 1000, -1, -4, 2**31, 2**33, 2**40, 2**62, -(2**62))))
        type_ = r.choice((b"Double", b"Half", b"Byte", b"Bool", b"Long", b"BFloat16", b"ComplexFloat", b"QInt8"))
        other = b"ctorch\n" + type_ + b"Storage\n"
        first = steps[j][:1]
        if first in b"KJM":
            steps[j] = big
        elif first in b"ch":
            steps[j] = other
        else:
            steps[j] = _text(r.choice(("storage", "cpu", "cuda:0", "meta", "0", "1", "7", "999", "-1", "../0", "")))
    return _with_pickle(s, b"".join(steps))


# -- content --------------------------------------------------------------------------------------------------------


def _places(value: Any, holder: Any = None, key: Any = None) -> Iterator[tuple[Any, Any]]:
    if holder is not None:
        yield holder, key
    if isinstance(value, dict):
        for name in value:
            yield from _places(value[name], value, name)
    elif isinstance(value, list):
        for k, item in enumerate(value):
            yield from _places(item, value, k)


def _content(s: Sample) -> dict[str, Any]:
    return copy.deepcopy(s.content)


def _pick(r: random.Random, content: Any, want: Callable[[Any], bool] = lambda v: True) -> tuple[Any, Any]:
    return r.choice([(holder, key) for holder, key in _places(content) if want(holder[key])])


def _value(r: random.Random) -> Any:
    return r.choice((
        lambda: r.choice(NUMBERS), lambda: r.choice(TEXTS), lambda: None, lambda: [], lambda: {}, lambda: (1, 2), lambda: {1: 2},
        lambda: [r.choice(NUMBERS)] * r.randrange(5), lambda: {"type": r.choice(TEXTS)},
        lambda: torch.zeros(r.choice(((), (0,), (1,), (3, 3), (2, 2, 2)))),
        lambda: {"type": "rgb", "value": [r.choice(NUMBERS)] * 3}, lambda: b"bytes", lambda: 1j, lambda: {1, 2}, lambda: torch.Size([1]),
    ))()  # fmt: skip


@kind
def values(r: random.Random, s: Sample) -> bytes:
    """Other values and types anywhere."""
    content = _content(s)
    for _ in range(r.choice((1, 1, 1, 2))):
        holder, key = _pick(r, content)
        holder[key] = _value(r)
    return pack(content)


@kind
def numbers(r: random.Random, s: Sample) -> bytes:
    content = _content(s)
    holder, key = _pick(r, content, lambda v: type(v) in (int, float, bool))
    holder[key] = r.choice(NUMBERS) if r.random() < 0.7 else r.uniform(-3, 3) * 10 ** r.randrange(-12, 12)
    return pack(content)


@kind
def texts(r: random.Random, s: Sample) -> bytes:
    """Texts and names of resources: paths, entities, control characters, endless ones."""
    content = _content(s)
    holder, key = _pick(r, content, lambda v: type(v) is str or (type(v) is dict and len(v)))
    if type(holder[key]) is str:
        holder[key] = r.choice(TEXTS)
    else:
        inner = holder[key]
        name = r.choice(list(inner))
        holder[key] = {(r.choice(TEXTS) if key_ == name else key_): value for key_, value in inner.items()}
    return pack(content)


@kind
def missing_and_unknown(r: random.Random, s: Sample) -> bytes:
    content = _content(s)
    holder, key = r.choice([(h, k) for h, k in _places({"": content}) if isinstance(h[k], dict) and h[k]])
    if r.random() < 0.5:
        del holder[key][r.choice(list(holder[key]))]
    else:
        name = r.choice(("filename", "id", "type", "emitter", "to_world", "data", "x", "nested_1", "grid", "bitmap", "material", "alpha"))
        holder[key][name] = _value(r)
    return pack(content)


@kind
def versions(r: random.Random, s: Sample) -> bytes:
    content = _content(s)
    others = (*NUMBERS, *TEXTS[:12], None, [], "far_field", "transport ", 1, 3, CHECKPOINT)
    content[r.choice(("version", "kind", "magic"))] = r.choice(others)
    return pack(content)


@kind
def configurations(r: random.Random, s: Sample) -> bytes:
    """Sizes of the model, up to gigabytes, with the weights of the small one, or with weights that claim those sizes; both kinds."""
    from mi_neural_asset.model.config import ModelConfig
    from mi_neural_asset.model.kinds import build

    content = _content(s)
    config = content["config"]
    content["kind"] = r.choice(("transport", "far_field"))
    for _ in range(r.choice((1, 1, 2, 13))):
        name = r.choice(list(config))
        config[name] = r.choice((1, 2, 16, 64, 512, 1024, 1025, 0, -1, 10**9, 0.5, "box", "paper", True, None))
    try:
        with torch.device("meta"):
            shapes = {name: value.shape for name, value in build(content["kind"], ModelConfig(**config)).state_dict().items()}
    except (TypeError, ValueError):
        return pack(content)
    if r.random() < 0.7:
        content["weights"] = {name: torch.ones(1).expand(shape) for name, shape in shapes.items()}
    return pack(content)


@kind
def tensors(r: random.Random, s: Sample) -> bytes:
    """Other types, shapes, strides, layouts and values of tensors."""
    content = _content(s)
    holder, key = _pick(r, content, lambda v: isinstance(v, torch.Tensor))
    t = holder[key]
    one = torch.zeros(1, dtype=t.dtype)
    changed = t.clone().reshape(-1)
    changed[r.randrange(len(changed))] = r.choice(VALUES) if t.is_floating_point() else r.choice((0, 1, 100, 127))
    holder[key] = r.choice((
        lambda: t.double(), lambda: t.half(), lambda: t.int(), lambda: t.bool(), lambda: t.bfloat16(), lambda: t.to(torch.complex64),
        lambda: t[:0], lambda: t[1:].clone(), lambda: torch.cat([t, t]), lambda: t.flatten(), lambda: t[None], lambda: t.transpose(0, -1),
        lambda: t.T.contiguous().T if t.dim() == 2 else t.flip(0), lambda: t.expand(2, *t.shape), lambda: one.expand(t.shape),
        lambda: one.expand(2**20, 2**20), lambda: changed.reshape(t.shape), lambda: changed.reshape(t.shape), lambda: t.to_sparse(),
        lambda: torch.nn.Parameter(t.float()), lambda: t.float().requires_grad_(), lambda: t.to("meta"), lambda: t.tolist(), lambda: t * 0,
        lambda: t.view(torch.uint8), lambda: torch.cat([t.flatten()] * 2)[: t.numel()].view(t.shape), lambda: t.to(torch.uint16),
    ))()  # fmt: skip
    return pack(content)


@kind
def exchanged(r: random.Random, s: Sample) -> bytes:
    """Two values of the content in each other's places, or one in both."""
    content = _content(s)
    places = list(_places(content))
    (a, k), (b, j) = r.sample(places, 2)
    a[k], b[j] = r.choice(((b[j], a[k]), (b[j], b[j])))
    try:
        return pack(content)
    except (RecursionError, ValueError):  # one within the other
        return pack({**s.content, "units": "x" * 65})


@kind
def bombs(r: random.Random, s: Sample) -> bytes:
    """Small files that unfold: shared references, deep nesting, tensors in many places, many values."""
    content, choice = _content(s), r.randrange(8)
    shapes = content["boundary"]["shapes"]
    if choice in (0, 1):
        inner: Any = {"type": "rgb", "value": [0.5, 0.5, 0.5]} if choice else {"type": "diffuse"}
        for _ in range(r.choice((3, 10, 15, 30))):
            inner = {"type": "blendbsdf", "weight": 0.5, **{f"nested_{k}": inner for k in range(r.choice((2, 2, 8)))}}
        shapes[0]["bsdf"] = inner
    elif choice == 2:
        wide: Any = [0]
        for _ in range(r.choice((3, 12, 15, 40))):
            wide = [wide] * r.choice((2, 16))
        content["provenance"]["x"] = wide
    elif choice == 3:
        deep: Any = {}
        for _ in range(r.choice((15, 60, 200))):
            deep = {"x": deep}
        content["provenance"]["x"] = deep
    elif choice == 4:
        mesh = {**shapes[0]["geometry"], "vertices": torch.rand(20_000, 3), "normals": None, "texcoords": None}
        mesh["attributes"] = {f"vertex_{k}": mesh["vertices"] for k in range(r.choice((2, 100, 2000)))}
        content["boundary"]["shapes"] = [{**shapes[0], "id": str(k), "geometry": mesh} for k in range(r.choice((1, 10, 1000)))]
    elif choice == 5:
        content["provenance"]["x"] = [r.random() for _ in range(r.choice((1000, 100_000, 300_000)))]
    elif choice == 6:
        content["boundary"]["shapes"] = [{**shapes[1], "id": str(k)} for k in range(r.choice((100, 1025, 5000)))]
    else:
        cycle: list = []
        cycle.append(cycle)
        content["provenance"]["x"] = cycle
    return pack(content)


@kind
def harmless(r: random.Random, s: Sample) -> bytes:
    """Changes that leave the asset sound: these have to be accepted."""
    content = _content(s)
    choice = r.randrange(5)
    if choice == 0:
        content["provenance"]["note"] = r.choice(TEXTS[:12])
    elif choice == 1:
        name = r.choice([name for name, value in content["weights"].items() if value.is_floating_point() and name != "proxy.extent"])
        content["weights"][name] = torch.randn(content["weights"][name].shape, generator=torch.Generator().manual_seed(r.randrange(99)))
    elif choice == 2:
        content["source"] = None
    elif choice == 3:
        content["kind"], content["weights"] = "far_field", s.far_field
    else:
        return container(s.entries)
    return pack(content)
