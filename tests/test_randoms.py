"""Random numbers of a wavefront: those of Mitsuba's samplers, for the lanes that ask."""

import numpy as np
import pytest
from scipy import stats

WIDTH = 1000


def sampler_of(mi, kind: str, seed: int):  # noqa: ANN001, ANN202
    sampler = mi.load_dict({"type": kind, "sample_count": 4})
    sampler.set_samples_per_wavefront(4)
    sampler.seed(seed, WIDTH)
    return sampler


def lanes(mi, *values: int):  # noqa: ANN001, ANN202
    return mi.UInt32(list(values))


def test_streams_are_those_of_the_independent_sampler(llvm) -> None:  # noqa: ANN001
    """Every lane asks every time: the same numbers, bit by bit."""
    from mi_neural_asset.render.randoms import Streams

    sampler, streams, every = sampler_of(llvm, "independent", 11), Streams(WIDTH, 11), llvm.UInt32(np.arange(WIDTH, dtype=np.uint32))
    for _ in range(5):
        assert np.array_equal(sampler.next_1d(), streams.next(1, every)[0])
        assert np.array_equal(sampler.next_2d(), np.stack([np.asarray(v) for v in streams.next(2, every)]))


def test_lanes_that_do_not_ask_stay_where_they_are(llvm) -> None:  # noqa: ANN001
    from mi_neural_asset.render.randoms import Streams

    sampler, streams = sampler_of(llvm, "independent", 3), Streams(WIDTH, 3)
    expected = np.stack([np.asarray(sampler.next_1d()) for _ in range(4)])
    found = streams.next(2, lanes(llvm, 7, 900))
    np.testing.assert_array_equal(found[0], expected[0, [7, 900]])
    np.testing.assert_array_equal(found[1], expected[1, [7, 900]])
    np.testing.assert_array_equal(streams.next(1, lanes(llvm, 900, 8))[0], [expected[2, 900], expected[0, 8]])
    masked = streams.next(1, lanes(llvm, 7, 900), llvm.Bool([True, False]))[0]
    assert masked[0] == expected[2, 7]
    np.testing.assert_array_equal(streams.next(1, lanes(llvm, 7, 900))[0], [expected[3, 7], expected[3, 900]])


def randoms_of(mi, kind: str, exits: int, before: int = 0):  # noqa: ANN001, ANN202
    """Of a picture of WIDTH / 4 pixels, 4 samples of each a pass."""
    from mi_neural_asset.render.lanes import Branches
    from mi_neural_asset.render.randoms import Randoms, Samples

    return Randoms(sampler_of(mi, kind, 5), Branches(WIDTH, exits), Samples(100, 4, before), 17, 18)


@pytest.mark.parametrize("kind", ["independent", "stratified"])
def test_exits_have_numbers_of_their_own(llvm, kind: str) -> None:  # noqa: ANN001
    """The camera's rays use the sensor's sampler where it has a structure."""
    randoms, structured = randoms_of(llvm, kind, 2), sampler_of(llvm, kind, 5)
    asked = np.array([3, 4, WIDTH + 3, WIDTH + 4, 2 * WIDTH + 3], dtype=np.uint32)
    first, second = (np.asarray(randoms.next_2d(llvm.UInt32(asked))) for _ in range(2))
    assert len(np.unique(np.stack([first, second]))) == 20 and (0 <= first).all() and (first < 1).all()
    expected = np.asarray(structured.next_2d())[:, [3, 4]]
    assert np.array_equal(first[:, :2], expected) == (kind == "stratified")
    again = randoms_of(llvm, kind, 2)
    np.testing.assert_array_equal(again.next_2d(llvm.UInt32(asked)), first)


def test_a_picture_has_the_same_points_in_one_pass_or_several(llvm) -> None:  # noqa: ANN001
    """Second passes go on where the first ones ended, pixel by pixel."""
    from mi_neural_asset.render.lanes import Branches
    from mi_neural_asset.render.randoms import Randoms, Samples

    def numbers(each: int, before: int) -> np.ndarray:
        width = 10 * each
        sampler = llvm.load_dict({"type": "independent"})
        draw = Randoms(sampler, Branches(width, 3), Samples(7, each, before), 1, 2).of_exits(llvm.UInt32(np.arange(width, dtype=np.uint32)))
        return np.stack([np.asarray(draw.next_2d()) for _ in range(3)]).reshape(3, 2, 10, 3 * each)

    whole, parts = numbers(8, 0), [numbers(4, 0), numbers(4, 4)]
    np.testing.assert_array_equal(whole, np.concatenate(parts, -1))


def spread(mi, groups: int, size: int, pairs: int = 2, seed: int = 3) -> np.ndarray:  # noqa: ANN001
    """[pairs, 2, groups, size]"""
    from mi_neural_asset.render.randoms import Spread

    lane = np.arange(groups * size, dtype=np.uint32)
    draw = Spread(mi.UInt32(lane // size), mi.UInt32(lane % size), seed)
    return np.stack([np.asarray(draw.next_2d()) for _ in range(pairs)]).reshape(pairs, 2, groups, size).astype(np.float64)


def test_spread_numbers_are_even_within_a_group(llvm) -> None:  # noqa: ANN001
    """Every box of area 1/16 has one of 16 points, whatever its shape; and the first four are even too."""
    points = spread(llvm, 300, 16)
    assert (0 <= points).all() and (points < 1).all()
    for across in (1, 2, 4, 8, 16):
        box = (points[:, 0] * across).astype(int) * (16 // across) + (points[:, 1] * (16 // across)).astype(int)
        assert (np.sort(box, -1) == np.arange(16)).all()
    assert (np.sort((points[..., :4] * 4).astype(int), -1) == np.arange(4)).all()


@pytest.mark.parametrize("size", [1, 3, 4])
def test_each_spread_number_is_uniform(llvm, size: int) -> None:  # noqa: ANN001
    """Chi^2 of points alone, of both numbers of one, and of numbers of two pairs: 16 cells each."""
    points = spread(llvm, 20000, size)
    p_values = []
    for k in range(size):
        for x, y in ((points[0, 0], points[0, 1]), (points[0, 0], points[1, 0]), (points[0, 1], points[1, 1])):
            cell = (x[:, k] * 4).astype(int) * 4 + (y[:, k] * 4).astype(int)
            p_values.append(stats.chisquare(np.bincount(cell, minlength=16)).pvalue)
    assert min(p_values) > 0.001 / len(p_values)


def test_groups_know_nothing_of_each_other(llvm, monkeypatch) -> None:  # noqa: ANN001
    """Means over 16 neighbouring groups vary as those of independent ones do; without the shuffling they do not."""
    from mi_neural_asset.render import randoms

    def ratio() -> float:
        wave = np.cos(2 * np.pi * spread(llvm, 16 * 4000, 1)).reshape(-1, 4000, 16)
        return np.abs(wave.mean(-1).var(-1) * 16 / wave.var((1, 2)) - 1).max()

    bound = 5 * np.sqrt(2 / 4000)
    assert ratio() < bound
    monkeypatch.setattr(randoms, "shuffled", lambda number, seed: number)
    assert ratio() > bound
