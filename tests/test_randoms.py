"""Random numbers of a wavefront: even over each pixel, and independent otherwise."""

import numpy as np
import pytest
from scipy import stats

WIDTH = 1000


def sampler_of(mi, kind: str, seed: int):  # noqa: ANN001, ANN202
    sampler = mi.load_dict({"type": kind, "sample_count": 4})
    sampler.set_samples_per_wavefront(4)
    sampler.seed(seed, WIDTH)
    return sampler


def numbers(mi, index: np.ndarray, depth: int = 0, purpose: str = "a", exits: int = 2, before: int = 0, each: int = 4) -> np.ndarray:  # noqa: ANN001
    """[2, N] for paths of a picture of WIDTH / 4 pixels, `each` samples of each a pass."""
    from mi_neural_asset.render.lanes import Branches
    from mi_neural_asset.render.randoms import Randoms, Samples

    randoms = Randoms(Branches(WIDTH // 4 * each, exits), Samples(100, each, before), 17)
    return np.asarray(randoms.of(mi.UInt32(index.astype(np.uint32)), depth, purpose).next_2d())


@pytest.mark.parametrize("before", [0, 4])
def test_camera_paths_of_a_pixel_are_even(llvm, before: int) -> None:  # noqa: ANN001
    """Four samples of a pixel are in four quarters."""
    points = numbers(llvm, np.arange(WIDTH), before=before)
    assert (np.sort((points.reshape(2, -1, 4) * 4).astype(int), -1) == np.arange(4)).all()


@pytest.mark.parametrize("exits", [1, 2, 4])
def test_exits_of_a_pixel_are_even(llvm, exits: int) -> None:  # noqa: ANN001
    """All exits of its four samples together, and apart from its own paths."""
    points = numbers(llvm, WIDTH + np.arange(exits * WIDTH), exits=exits).reshape(2, exits, -1, 4)
    cells = (points.transpose(0, 2, 3, 1).reshape(2, -1, 4 * exits) * 4 * exits).astype(int)
    assert (np.sort(cells, -1) == np.arange(4 * exits)).all()
    own = numbers(llvm, np.arange(WIDTH), exits=exits).reshape(2, -1, 4)
    assert abs(np.corrcoef(own[0].ravel(), points[0, 0].ravel())[0, 1]) < 5 / np.sqrt(WIDTH)


def test_depths_and_purposes_know_nothing_of_each_other(llvm) -> None:  # noqa: ANN001
    every = np.arange(WIDTH)
    asked = [(0, "a"), (1, "a"), (2, "a"), (0, "b"), (1, "b")]
    found = [numbers(llvm, every, *one) for one in asked]
    assert np.abs(np.corrcoef(np.concatenate(found)) - np.eye(2 * len(asked))).max() < 5 / np.sqrt(WIDTH)
    np.testing.assert_array_equal(numbers(llvm, every, *asked[0]), found[0])


def test_numbers_do_not_depend_on_who_else_is_alive(llvm) -> None:  # noqa: ANN001
    some = np.array([3, 4, WIDTH + 3, WIDTH + 4, 2 * WIDTH + 3])
    np.testing.assert_array_equal(numbers(llvm, some), numbers(llvm, np.arange(3 * WIDTH))[:, some])


def test_a_picture_has_the_same_points_in_one_pass_or_several(llvm) -> None:  # noqa: ANN001
    """Second passes go on where the first ones ended, pixel by pixel."""
    whole = numbers(llvm, np.arange(2 * WIDTH), each=8).reshape(2, -1, 8)
    parts = [numbers(llvm, np.arange(WIDTH), before=before).reshape(2, -1, 4) for before in (0, 4)]
    np.testing.assert_array_equal(whole, np.concatenate(parts, -1))


@pytest.mark.parametrize("kind", ["independent", "stratified"])
def test_camera_rays_are_even_over_a_pixel_or_the_samplers(llvm, kind: str) -> None:  # noqa: ANN001
    from mi_neural_asset.render.randoms import Samples, of_camera

    draw = of_camera(sampler_of(llvm, kind, 5), Samples(100, 4, 0), WIDTH, 5)
    film, aperture = (np.asarray(draw.next_2d()) for _ in range(2))
    if kind == "stratified":
        np.testing.assert_array_equal(film, np.asarray(sampler_of(llvm, kind, 5).next_2d()))
        return
    for points in (film, aperture):
        assert (np.sort((points.reshape(2, -1, 4) * 4).astype(int), -1) == np.arange(4)).all()
    assert abs(np.corrcoef(film[0], aperture[0])[0, 1]) < 5 / np.sqrt(WIDTH)


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
