"""Intel Open Image Denoise on path-traced pictures: `pip install mi-neural-asset[bench]`.

Guides are the albedo and shading normals of first hits.  A smooth dielectric or conductor has no albedo to show; as the library's
manual advises, it counts as one there.
"""

from __future__ import annotations

import mitsuba as mi
import numpy as np

import mi_neural_asset  # noqa: F401  (names the LLVM library before Dr.Jit is imported)

GUIDES = "albedo:albedo,normal:sh_normal"


def available() -> bool:
    """Whether the library is there."""
    try:
        import pyoidn  # noqa: F401
    except (ImportError, OSError):
        return False
    return True


def guides(scene: mi.Scene, spp: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Albedo and normals as the scene's first sensor sees them, [H, W, 3] each; noisy like a picture of `spp` samples."""
    image = np.asarray(mi.render(scene, integrator=mi.load_dict({"type": "aov", "aovs": GUIDES}), spp=spp, seed=seed))
    albedo, normal = image[..., :3], image[..., 3:6]
    hit = np.linalg.norm(normal, axis=-1, keepdims=True) > 0.5
    bare = hit & (albedo.max(-1, keepdims=True) <= 0)
    return np.where(bare, 1, albedo.clip(0, 1)).astype(np.float32), normal.clip(-1, 1).astype(np.float32)


def denoise(image: np.ndarray, albedo: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """The denoised picture; linear RGB [H, W, 3].

    Raises:
        ImportError: the library is not installed.
    """
    try:
        import pyoidn
    except ImportError as error:
        raise ImportError("denoising needs Open Image Denoise: pip install 'mi-neural-asset[bench]'") from error
    parts = (np.ascontiguousarray(part, dtype=np.float32) for part in (np.maximum(image, 0), albedo, normal))
    return pyoidn.denoise(*parts, hdr=True)
