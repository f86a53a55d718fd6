"""Integrator `nap_path`: path tracing with neural assets.

| property | type | default | meaning |
|---|---|---|---|
| max_depth | integer | -1 | longest path (-1: no limit); 1 shows lights alone, 2 adds one scattering event; an asset counts as one |
| rr_depth | integer | 5 | depth at which Russian roulette starts; where few paths of a pass are left, half as many go on |
| hide_emitters | boolean | false | hide emitters that are seen straight, also behind null surfaces and volumes |
| mis | boolean | true | combine emitter sampling with path sampling; false leaves all but delta lights to path sampling |
| exit_mis | boolean | true | look for lights from where the path met the asset as well (see below); needs `mis` |
| split | boolean | true | where the camera sees an asset, follow the direct ray and those of several exits, instead of choosing one ray |
| exits | number | what pays | how many exits that are, 1 to 64; below 1: one at this share of the hits (see below) |
| techniques | string | "" | for tests: some of `path,light,lobe`, in place of what `mis` and `exit_mis` say |
| channels | string | balance | `balance`: weights refer to the mean over colour channels; `hero`: to one channel (the paper's rule) |
| aovs | string | "" | extra film channels, in the syntax of Mitsuba's `aov` integrator: `"dd.y:depth,nn:sh_normal"`; see below |
| strict | boolean | false | something inside an asset's convex hull is an error, not a warning (see below) |
| memory | string or integer | "" | bound on what a render takes: `"4GB"`, `"512MiB"` or bytes; `""`: half of what is free (see below) |
| device | string | cpu | torch device that evaluates the networks |
| engine | string | auto | who evaluates them: `torch`, `drjit` or `auto` (see below) |
| precision | string | single | `half`: networks that draw and weigh directions in bfloat16 (CPU) or float16 (GPU), see below |

How light that leaves an asset is found: `path` follows the sampled ray until it hits a light, `light` samples a light from
the exit point, `lobe` samples a light from the point that was hit and an exit near the straight line to it.  They are
weighted by the balance heuristic:

| light | path | light | lobe |
|---|---|---|---|
| area (rectangle, disk, sphere, mesh; textured or not) | yes | yes | yes |
| environment map, sun and sky | yes | yes | yes |
| constant | yes | yes | no: nothing to gain |
| point, spot, projector, directional | cannot be hit | yes | yes |

The `exits` of one hit share what the networks make of it, and the random numbers of all exits of a pixel fill their squares evenly;
so do those of light and next rays at other surfaces.  The sensor's sampler gives the camera's rays alone; in place of Mitsuba's
`independent` one, which is that of sensors that name none, they have numbers that are even over their pixel.  More exits and fewer
samples per pixel are quicker where light within the asset is what is noisy; edges, textures and depth of field want samples, and where
light that the asset reflects directly is noisier than what is within, an exit at a few of the hits does.  Where nobody says how many,
some 12,000 camera rays are traced beforehand, and it is the number from 1/8 to 8 with the least variance x work of the whole picture (a
quarter of a second; the same seed gives the same number, which is `exits` of the integrator's `statistics`).  Pictures of fewer than
2^18 camera rays are not asked: they have 4 if light goes into one of the scene's assets (glass, wax, clouds), 1 if all are fibres or
opaque.

What is within an asset's convex hull is not part of its paths: a shape, a light, the camera or another asset there makes its
light wrong.  That is looked for when a scene is first rendered, and told with names and places; what only touches the hull is
outside.  `aovs="bad:neural_invalid"` adds a channel `bad`: the share of a pixel's rays that meet such an asset, or something
within its hull.

`memory` holds for torch and Dr.Jit together, beside what the process has before it renders; passes, and bands of rows where a whole
picture does not fit, are made to keep it.  Without it, passes hold 2^20 paths at most, exits counted, so that a seed gives
the same picture wherever these fit.

`engine="torch"` works on any device.  `drjit` has the CPU's matrices multiplied by torch and all else done by Dr.Jit kernels: about
twice as fast, for transport models in coordinates around x_o.  `auto` takes it wherever it can evaluate the model.

`precision="half"` renders 1.1 to 1.2 times as fast on a CPU with AVX-512 BF16 (measured on the seal of the demo), and changes the
picture by 0.0 to 0.5 % of its mean (RMS); where it gains nothing a warning says so.

None is differentiable.  Surfaces that are not neural assets are treated as Mitsuba's `path` treats them; participating media
around the assets are ignored, as by `path`.
"""

from __future__ import annotations

import mitsuba as mi


def register(variant: str) -> None:
    """Register the integrator for the active variant."""
    import importlib

    common = importlib.import_module("mitsuba.python.ad.integrators.common")
    from mi_neural_asset.render.options import PathOptions
    from mi_neural_asset.render.passes import Passes
    from mi_neural_asset.render.path import render_into

    class NapPath(common.ADIntegrator):
        """Path tracer for scenes with neural assets; see the table of this module."""

        def __init__(self, props: mi.Properties) -> None:
            max_depth = props.get("max_depth", -1)
            super().__init__(props)
            self.max_depth = max_depth
            self.options = PathOptions.from_properties(props, max_depth, self.rr_depth)
            self.aovs, self.memory = props.get("aovs", ""), props.get("memory", "")
            self.device = props.get("device", "cpu")
            self.progress = None  # called with (samples done, samples in all) after each pass
            self.statistics = None  # of the last render

        def render(self, scene, sensor=0, seed=0, spp=0, develop=True, evaluate=True):  # noqa: ANN001, ANN201, ANN202
            if isinstance(sensor, int):
                sensor = scene.sensors()[sensor]
            passes = Passes(sensor, spp, self.memory, self.aovs, self.progress)
            self.statistics = render_into(passes, scene, self.options, self.device, seed)
            return sensor.film().develop() if develop else mi.TensorXf()

        def aov_names(self) -> list[str]:
            return []

        def to_string(self) -> str:
            return f"NapPath[{self.options}, aovs = {self.aovs!r}, memory = {self.memory!r}, device = {self.device!r}]"

    mi.register_integrator("nap_path", NapPath)
