"""Random numbers of a wavefront: those of Mitsuba's samplers, for the lanes that ask."""

import numpy as np
import pytest

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


@pytest.mark.parametrize("kind", ["independent", "stratified"])
def test_second_halves_have_numbers_of_their_own(llvm, kind: str) -> None:  # noqa: ANN001
    """The camera's rays use the sensor's sampler where it has a structure."""
    from mi_neural_asset.render.randoms import Randoms

    randoms, structured = Randoms(sampler_of(llvm, kind, 5), WIDTH, True, 17), sampler_of(llvm, kind, 5)
    asked = np.array([3, 4, WIDTH + 3, WIDTH + 4], dtype=np.uint32)
    first, second = (np.asarray(randoms.next_2d(llvm.UInt32(asked))) for _ in range(2))
    assert len(np.unique(np.stack([first, second]))) == 16 and (0 <= first).all() and (first < 1).all()
    expected = np.asarray(structured.next_2d())[:, [3, 4]]
    assert np.array_equal(first[:, :2], expected) == (kind == "stratified")
    again = Randoms(sampler_of(llvm, kind, 5), WIDTH, True, 17)
    np.testing.assert_array_equal(again.next_2d(llvm.UInt32(asked)), first)
