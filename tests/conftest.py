"""Fixtures shared by the tests."""

from __future__ import annotations

import copy
import gc
import os
from pathlib import Path

import pytest

import mi_neural_asset  # noqa: F401  (names the LLVM library before Dr.Jit is imported)

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def llvm():
    """Mitsuba with `llvm_ad_rgb`; afterwards the queue is drained, memory freed, and JIT flags are as before."""
    import drjit as dr
    import mitsuba as mi

    mi.set_variant("llvm_ad_rgb")
    flags = {flag: dr.flag(flag) for flag in dr.JitFlag.__members__.values()}
    yield mi
    dr.sync_thread()
    gc.collect()
    for flag, value in flags.items():
        dr.set_flag(flag, value)
    dr.flush_malloc_cache()


@pytest.fixture
def scalar():
    """Mitsuba with `scalar_rgb` active, and whatever was active before restored afterwards."""
    import mitsuba as mi

    before = mi.variant()
    mi.set_variant("scalar_rgb")
    yield mi
    if before:
        mi.set_variant(before)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of larger test data (dragon.ply, museum.exr, ...): `MI_NEURAL_ASSET_TEST_DATA`, else ../shared/data."""
    path = Path(os.environ.get("MI_NEURAL_ASSET_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip(f"no test data at {path}: set MI_NEURAL_ASSET_TEST_DATA to the folder that holds it")
    return path


@pytest.fixture
def asset():  # noqa: ANN201
    """An asset that holds one of everything (`examples.example_asset`)."""
    from examples import example_asset

    return example_asset()


@pytest.fixture
def content(asset) -> dict:  # noqa: ANN001
    """What its file holds, a copy of its own."""
    return copy.deepcopy(asset.to_content())


@pytest.fixture
def saved(asset, tmp_path: Path) -> Path:  # noqa: ANN001
    """Its file."""
    asset.save(tmp_path / "a.pt")
    return tmp_path / "a.pt"
