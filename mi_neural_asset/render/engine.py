"""Who evaluates the networks: torch, in chunks that stay in the cache and bound the memory.

The renderer speaks to an engine in Dr.Jit arrays of compacted lanes and gets Dr.Jit arrays back; tensors stay inside.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import mitsuba as mi
import torch
from torch import Tensor

from ..allocator import keep_memory_mapped
from ..interop import to_float, to_torch, to_vector
from ..model.coordinates import Exit
from ..threads import torch_at_work

CHUNK = 16384  # lanes evaluated at once


@dataclass
class Event:
    """Tensors of one batch of neural scattering events, [N, ...]; the renderer treats it as opaque."""

    x_o: Tensor
    n: Tensor
    sites: list[Tensor]
    albedo: Tensor  # [N, 3]
    channel: Tensor  # [N] the channel that is drawn from
    exit: Exit
    choice: Tensor  # [N, 3] probability of each channel in the density of u_i
    density: Tensor  # [N] q(u): of the direction from x_o to u_i, per solid angle
    factor: Tensor  # [N, 3] alpha_c p_c(u) / q(u): what the draw of u_i has cost
    mixture: Tensor  # [N, 3] weights r_k of the channels in the density of w_i at this u_i


def each(function: Callable[[Tensor], Tensor], value):  # noqa: ANN001, ANN201
    """`function` of every tensor in lists, tuples and dataclasses, which keep their form."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, list | tuple):
        return type(value)(each(function, entry) for entry in value)
    return type(value)(*(each(function, getattr(value, field.name)) for field in fields(value)))


def leaves(value) -> list[Tensor]:  # noqa: ANN001
    """Those tensors, one after the other."""
    found: list[Tensor] = []

    def note(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    each(note, value)
    return found


def _rows(value, rows: Tensor):  # noqa: ANN001, ANN202
    return each(lambda tensor: tensor.index_select(0, rows), value)  # several times as fast as tensor[rows]


def _joined(parts: list):  # noqa: ANN202
    """The counterpart of `_rows`: parts of one tensor, Exit, list or Event put together."""
    if len(parts) == 1:
        return parts[0]
    if isinstance(parts[0], Tensor):
        return torch.cat(parts)
    if isinstance(parts[0], list):
        return [_joined(list(column)) for column in zip(*parts, strict=True)]
    kind = type(parts[0])
    return kind(*(_joined([getattr(part, field.name) for part in parts]) for field in fields(kind)))


class Networks:
    """A model on its device, ready to be evaluated."""

    def __init__(self, model: torch.nn.Module, device: str = "cpu") -> None:
        self.device = torch.device(device)
        if self.device.type == "cpu":
            keep_memory_mapped()
        self.model = model.to(self.device).eval()


class Engine(Networks):
    """Evaluates one transport model.

    Args:
        model: a `Transport` (or any module with its sampling methods).
        device: torch device.
    """

    most = CHUNK  # lanes at once

    def _run(self, function: Callable, rows: int, *arguments: Any, **settings: Any):  # noqa: ANN202
        """function(*arguments, **settings); the arguments' tensors are of `rows` lanes, or of several for each of them."""
        return function(*arguments, **settings)

    @torch_at_work()
    @torch.no_grad()
    def begin(
        self, x_o: mi.Point3f, w_o: mi.Vector3f, n: mi.Vector3f, occlusion: Tensor, u_channel: mi.Float, u_exit: mi.Point2f, hero: bool
    ) -> Event:
        """Albedo and u_i for lanes that hit the asset; occlusion [N, K] is what `Occlusion` says about x_o.

        With `hero`, a channel is chosen uniformly and weights refer to its density alone (the paper's rule); otherwise it
        is chosen in proportion to the albedo and weights refer to the mean over channels (balance heuristic).

        Uniform numbers of M times as many lanes as there are hits draw M exits of each hit: lanes M k to M k + M - 1 of the event
        are those of hit k.
        """
        inputs = [v if isinstance(v, Tensor) else to_torch(v, self.device) for v in (x_o, w_o, n, occlusion)]
        numbers = [to_torch(v, self.device) for v in (u_channel, u_exit)]
        count = inputs[0].shape[0]
        copies = numbers[0].shape[0] // count
        hits, parts = max(self.most // copies, 1), []
        for k in range(0, count, hits):
            drawn = [v[k * copies : (k + hits) * copies] for v in numbers]
            own = [v[k : k + hits] for v in inputs]
            parts.append(self._run(self._begin, own[0].shape[0], *own, *drawn, hero=hero))
        return _joined(parts)

    def _begin(self, x_o: Tensor, w_o: Tensor, n: Tensor, occlusion: Tensor, z_channel: Tensor, z: Tensor, hero: bool) -> Event:
        sites = self.model.sites(x_o, w_o, n, occlusion)
        albedo = self.model.albedo(sites)
        copies = z.shape[0] // x_o.shape[0]
        if copies > 1:
            x_o, n, albedo, *sites = (value.repeat_interleave(copies, 0) for value in (x_o, n, albedo, *sites))
        choice = torch.full_like(albedo, 1 / 3) if hero else (albedo + 1e-8) / (albedo + 1e-8).sum(-1, keepdim=True)
        edges = choice.cumsum(-1)
        channel = (z_channel[:, None] >= edges[:, :2]).sum(-1)
        exit_, log_p = self.model.sample_exit(sites, x_o, n, channel, z)
        if hero:
            choice = torch.nn.functional.one_hot(channel, 3).to(albedo.dtype)
        p, density, mixture = self._exit_density(choice, log_p, exit_, x_o)
        return Event(x_o, n, sites, albedo, channel, exit_, choice, density, albedo * p / density[:, None], mixture)

    def _exit_density(self, choice: Tensor, log_p: Tensor, exit_: Exit, x_o: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Per solid angle at x_o: p of each channel [N, 3] and q [N]; and the weights of the channels at this u_i."""
        p = (log_p + self.model.log_exit_solid_angle(exit_, x_o)[:, None]).exp()
        density = (choice * p).sum(-1)
        return p, density, choice * p / density[:, None]

    def exit_point(self, event: Event) -> mi.Point3f:
        """u_i, normalised."""
        return to_vector(event.exit.u, mi.Point3f)

    def albedo(self, event: Event) -> mi.Color3f:
        """alpha."""
        return to_vector(event.albedo, mi.Color3f)

    @torch_at_work()
    @torch.no_grad()
    def evaluate(self, event: Event, lanes: mi.UInt32, w: mi.Vector3f) -> tuple[mi.Color3f, mi.Float]:
        """For some lanes, directions w (asset frame): alpha p(u) p(w | u) / q(u) and the density q(w | u)."""
        value, density = self._in_chunks(event, lanes, w, self._evaluate)
        return to_vector(value, mi.Color3f), to_float(density)

    @torch_at_work()
    @torch.no_grad()
    def evaluate_ray(
        self, event: Event, lanes: mi.UInt32, u: mi.Point3f, w: mi.Vector3f, bar: mi.Float, z: mi.Float
    ) -> tuple[mi.Color3f, mi.Float, mi.Float]:
        """For some lanes, incident rays that were found without the networks, u and w in the asset's frame.

        Returns alpha p(u) p(w | u) and the densities q(u) and q(w | u), all of u per solid angle at x_o.  The first has passed Russian
        roulette: a ray whose alpha p(u), mean of the channels, is below `bar` counts with the probability that is its share of that, and
        then in proportion more; otherwise nothing.  The last is not told of those that count nothing.

        Args:
            event, lanes, u, w: see above.
            bar: 0 or less: the ray counts as it is.
            z: uniform numbers.
        """
        values = torch.cat([*(to_torch(v, self.device) for v in (u, w)), *(to_torch(v, self.device)[:, None] for v in (bar, z))], -1)
        value, of_u, of_w = self._in_chunks(event, lanes, values, self._evaluate_ray)
        return to_vector(value, mi.Color3f), to_float(of_u), to_float(of_w)

    def exit_density(self, event: Event) -> mi.Float:
        """q(u) of the exits that were drawn, per solid angle at x_o."""
        return to_float(event.density)

    @torch_at_work()
    @torch.no_grad()
    def draw(self, event: Event, lanes: mi.UInt32, z: mi.Point2f) -> tuple[mi.Vector3f, mi.Color3f, mi.Float]:
        """For some lanes: w_i (asset frame), weight alpha p / q and the density q(w_i | u_i), from uniform z."""
        w, weight, density = self._in_chunks(event, lanes, z, self._draw)
        return to_vector(w), to_vector(weight, mi.Color3f), to_float(density)

    def _in_chunks(self, event: Event, lanes: mi.UInt32, values, function) -> tuple:  # noqa: ANN001
        index = to_torch(lanes, self.device)
        values = values if isinstance(values, Tensor) else to_torch(values, self.device)
        parts = []
        for k in range(0, index.shape[0], self.most):
            rows = index[k : k + self.most]
            parts.append(self._run(function, rows.shape[0], _rows(event, rows), values[k : k + self.most]))
        return tuple(torch.cat(column) for column in zip(*parts, strict=True))

    def _evaluate(self, batch: Event, w: Tensor) -> tuple[Tensor, Tensor]:
        p = self.model.direction_density(batch.sites, batch.exit, batch.n, w).exp()
        return batch.factor * p, (batch.mixture * p).sum(-1)

    def _evaluate_ray(self, batch: Event, ray: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        u, w, bar, z = ray[:, :3], ray[:, 3:6], ray[:, 6], ray[:, 7]
        exit_, log_p = self.model.exit_at(batch.sites, batch.x_o, batch.n, u)
        p_u, density, mixture = self._exit_density(batch.choice, log_p, exit_, batch.x_o)
        p_w = self.model.direction_density(batch.sites, exit_, batch.n, w).exp()
        value = batch.albedo * p_u
        chance = torch.where(bar > 0, (value.mean(-1) / bar).clamp_max(1), torch.ones_like(bar))
        weight = torch.where(z < chance, 1 / chance, torch.zeros_like(chance))
        return value * weight[:, None] * p_w, density, (mixture * p_w).sum(-1)

    def _draw(self, batch: Event, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        w, log_p = self.model.sample_direction(batch.sites, batch.exit, batch.n, batch.channel, z)
        p = log_p.exp()
        density = (batch.mixture * p).sum(-1)
        return w, batch.factor * p / density[:, None], density
