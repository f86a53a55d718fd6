"""The standard set of lights, and the camera, around an asset of any size, place and up axis.

All is laid out in a frame where the asset is the unit sphere around the origin, y points up and z to the front.
"""

from __future__ import annotations

from dataclasses import dataclass

import mitsuba as mi
import numpy as np

LIGHTS = ("constant", "area", "envmap")

CAMERA_DISTANCE = 4.2  # radii from the centre
CAMERA = np.array([0.45, 0.40, 0.80])  # direction to the camera
LAMP_DISTANCE = 1.9  # radii from the centre: 0.9 from the bounding sphere
LAMP = np.array([-0.55, 0.70, 0.55])  # direction to the lamp, 63 degrees from the camera: it stays out of the picture
LAMP_HALF_SIDE = 0.35  # radii
WALL_HALF_SIDE = 1.5  # of the lamp for certificates, which sampled rays hit as often as not
LAMP_RADIANCE = 12.0
SUN = np.array([0.62, 0.66, 0.43])  # direction to the sun of the environment map
SUN_WIDTH = 0.12  # standard deviation, radians
SUN_RADIANCE = np.array([60.0, 52.0, 40.0])
ZENITH, HORIZON, GROUND = np.array([[0.25, 0.45, 0.95], [0.85, 0.85, 0.80], [0.22, 0.18, 0.14]])
MAP_HEIGHT = 64  # rows of the environment map


@dataclass(frozen=True)
class Stage:
    """Where the asset is.

    Attributes:
        center: centre of its bounding sphere, [3], scene units.
        radius: its radius, scene units.
        up_axis: "x", "y" or "z".
    """

    center: tuple[float, float, float]
    radius: float
    up_axis: str = "y"

    def __post_init__(self) -> None:
        if self.up_axis not in ("x", "y", "z"):
            raise ValueError(f'lights: up_axis must be "x", "y" or "z", got {self.up_axis!r}')
        if not (np.isfinite(self.center).all() and np.isfinite(self.radius) and self.radius > 0):
            raise ValueError(f"lights: needs a finite centre and a positive radius, got {self.center} and {self.radius}")

    @classmethod
    def of(cls, asset) -> Stage:  # noqa: ANN001
        """Around a NeuralAsset."""
        return cls(tuple(float(x) for x in asset.center), float(asset.scale), asset.up_axis)

    def rotation(self) -> np.ndarray:
        """From the frame of this module to the scene, [3, 3]: columns are right, up and front."""
        up = np.eye(3)["xyz".index(self.up_axis)]
        right = np.array([0.0, 1.0, 0.0]) if self.up_axis == "x" else np.array([1.0, 0.0, 0.0])
        return np.stack([right, up, np.cross(right, up)], axis=1)

    def point(self, direction: np.ndarray, distance: float) -> list[float]:
        """The point `distance` radii from the centre, in scene units."""
        d = self.rotation() @ (direction / np.linalg.norm(direction))
        return (np.asarray(self.center) + self.radius * distance * d).tolist()

    def look_at(self, origin: list[float]) -> mi.ScalarTransform4f:
        """A frame at `origin` whose z axis points to the centre."""
        return mi.ScalarTransform4f().look_at(origin, list(self.center), self.rotation()[:, 1].tolist())


def sensor(stage: Stage, size: int) -> dict:
    """A camera that sees the whole bounding sphere; size x size pixels, box filter, RGB film."""
    fov = 2 * np.degrees(np.arcsin(1.02 / CAMERA_DISTANCE))
    return {
        "type": "perspective", "fov": float(fov), "near_clip": 1e-2 * stage.radius, "far_clip": 1e2 * stage.radius,
        "to_world": stage.look_at(stage.point(CAMERA, CAMERA_DISTANCE)),
        "film": {"type": "hdrfilm", "width": size, "height": size, "pixel_format": "rgb", "component_format": "float32",
                 "rfilter": {"type": "box"}},
        "sampler": {"type": "independent"},
    }  # fmt: skip


def light(name: str, stage: Stage) -> dict:
    """One light of the standard set, "constant", "area" or "envmap"; or "wall", the second one enlarged.

    Raises:
        ValueError: the name is none of these.
    """
    if name == "constant":
        return {"type": "constant", "radiance": 1.0}
    if name in ("area", "wall"):
        half_side = LAMP_HALF_SIDE if name == "area" else WALL_HALF_SIDE
        to_world = stage.look_at(stage.point(LAMP, LAMP_DISTANCE)).scale(half_side * stage.radius)
        return {"type": "rectangle", "to_world": to_world, "emitter": {"type": "area", "radiance": LAMP_RADIANCE}}
    if name == "envmap":
        matrix = np.eye(4)
        matrix[:3, :3] = stage.rotation()
        return {"type": "envmap", "bitmap": mi.Bitmap(environment()), "to_world": mi.ScalarTransform4f(matrix.tolist())}
    raise ValueError(f"verify: no light is called {name!r}; choose from {', '.join(LIGHTS)}")


def environment(height: int = MAP_HEIGHT) -> np.ndarray:
    """A sky that brightens to the horizon, dark ground and a soft sun: latitude-longitude map, y up, [H, 2 H, 3] float32."""
    theta = (np.arange(height) + 0.5)[:, None] / height * np.pi
    phi = (np.arange(2 * height) + 0.5)[None, :] / height * np.pi
    d = np.stack(np.broadcast_arrays(np.sin(phi) * np.sin(theta), np.cos(theta), -np.cos(phi) * np.sin(theta)), -1)
    y = d[..., 1:2]
    sky = HORIZON + (ZENITH - HORIZON) * np.clip(y, 0, 1) ** 0.5
    smooth = 1 / (1 + np.exp(-40 * y))
    angle = np.arccos(np.clip(d @ (SUN / np.linalg.norm(SUN)), -1, 1))[..., None]
    return (smooth * sky + (1 - smooth) * GROUND + SUN_RADIANCE * np.exp(-0.5 * (angle / SUN_WIDTH) ** 2)).astype(np.float32)
