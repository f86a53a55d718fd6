"""The transport model F = alpha * p (paper, Eq. 4): albedo network, flow, grids of (x_o, w_o), proxy, coordinates.

Everything is in normalised space.  Methods follow the order in which a renderer needs them: `sites` once for a hit, then
`albedo`, `sample_exit` or `exit_at` (u_i), and for a given u_i `sample_direction` or `direction_density`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from .config import ModelConfig
from .coordinates import Exit, coordinates, turn
from .encoding import Grid
from .flow import Flow
from .network import MLP
from .probes import ProbeTables
from .proxy import Proxy

ALBEDO_OFFSET = 0.5  # the albedo network starts near softplus(0.5) = 0.97


class Transport(nn.Module):
    """alpha and p of one asset.

    Args:
        config: sizes and choices.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.proxy = Proxy(config.proxy, config.proxy_margin)
        self.coordinates = coordinates(config.coordinates, self.proxy)
        f = config.features
        self.position_grid = Grid("triplane", config.triplane, 5 * f)  # columns: steps 1 to 4, albedo
        self.direction_grid = Grid("cubemap", config.cubemap, 5 * f)
        self.probes = ProbeTables(config.probes) if config.probes else None
        inputs = self.site_inputs()
        inputs[1] += self.probes.ring_inputs if self.probes else 0
        for j in (2, 3):
            inputs[j] += (self.coordinates.departure_inputs if self.probes else 0) + self.coordinates.view_inputs
        self.flow = Flow(config, inputs[:4], self.coordinates.exit_inputs)
        self.albedo_net = MLP(inputs[4], config.albedo_width, config.albedo_depth, 1)

    def site_inputs(self) -> list[int]:
        """How many numbers about (x_o, w_o) each network reads, steps 1 to 4 and albedo."""
        known = 2 * self.config.features + self.coordinates.site_inputs + (self.probes.band_inputs if self.probes else 0)
        return [known + len(range(2 * self.config.occlusion)[self._heard(j)]) for j in range(5)]

    @property
    def spline_networks(self) -> nn.ModuleList:
        """The networks of the four steps."""
        return self.flow.steps

    @torch.no_grad()
    def start(self, mean: Tensor) -> None:
        """Let the albedo network begin at a mean throughput, [3].

        On its way down from far above, an albedo of few live paths can overshoot to where its softplus has no gradient left.
        """
        value = mean.clamp(1e-4, 10.0)
        self.albedo_net.last.bias.copy_(value.expm1().log() - ALBEDO_OFFSET)

    def _heard(self, j: int) -> slice:
        """Which columns of the occlusion network j reads: for w_i at a given u_i a few are enough."""
        return slice(0, self.config.occlusion * (1 if j in (2, 3) else 2))

    def sites(self, x_o: Tensor, w_o: Tensor, n: Tensor, occlusion: Tensor | None = None) -> list[Tensor]:
        """What the networks read about (x_o, w_o), [N, ...] each: columns of the two grids, those for each network side by side;
        numbers for all networks; distances; x_o's place among the probes, [N, 6] or [N, 0]; w_o.

        Args:
            x_o: points, [N, 3], normalised space.
            w_o: unit directions away from the asset, [N, 3].
            n: unit normals at x_o, [N, 3].
            occlusion: what `Occlusion` says about x_o, [N, config.surroundings]; may be left out where that is 0.
        """
        positions = self.position_grid(x_o)
        directions = self.direction_grid(w_o)
        plain = self.coordinates.site(n, w_o)
        if occlusion is None:
            occlusion = plain.new_empty(plain.shape[0], 0)
        distances, place = occlusion.tensor_split([2 * self.config.occlusion], -1)
        plain = torch.cat([plain, self.probes.of_bands(place)], -1) if self.probes else plain
        return [positions, directions, plain, distances, place, w_o]

    def known(self, sites: list[Tensor]) -> list[list[Tensor]]:
        """Columns that each network reads about the site, steps 1 to 4 and albedo; and, last, x_o's place and w_o."""
        positions, directions, plain, distances, place, w_o = sites
        own = zip(*(grid.split(self.config.features, -1) for grid in (positions, directions)), strict=True)
        return [*([*columns, plain, distances[:, self._heard(j)]] for j, columns in enumerate(own)), [place, w_o]]

    def inputs_1(self, known: list[list[Tensor]]) -> list[Tensor]:
        """Columns of the input of step 1."""
        return self.flow.inputs_1(known[0])

    def inputs_2(self, known: list[list[Tensor]], s1: Tensor) -> list[Tensor]:
        """Columns of the input of step 2: beside the site, what the probes see at the height of s1."""
        ring = [self.probes.of_ring(known[5][0], s1)] if self.probes else []
        return self.flow.inputs_2([*known[1], *ring], s1)

    def exit_features(self, known: list[list[Tensor]], exit_: Exit, n: Tensor) -> list[Tensor]:
        """What steps 3 and 4 read about an exit: columns for each of them from the grid of (s1, s2), then, for both, how w_i departs
        there from d, and w_o as seen from there.
        """
        features, (place, w_o) = [*self.flow.exit_features(exit_)], known[5]
        if self.probes:
            s1, s2 = (exit_.d[:, 2] + 1) / 2, turn(exit_.d[:, 1], exit_.d[:, 0])
            features.append(self.coordinates.departure(*self.probes.of_departure(place, s1, s2), exit_, n))
        return [*features, self.coordinates.view(w_o, exit_, n)]

    def inputs_3(self, known: list[list[Tensor]], exit_: Exit, features: list[Tensor]) -> list[Tensor]:
        """Columns of the input of step 3."""
        return self.flow.inputs_3([*known[2], *features[2:]], exit_, features[0])

    def inputs_4(self, known: list[list[Tensor]], exit_: Exit, features: list[Tensor], s3: Tensor) -> list[Tensor]:
        """Columns of the input of step 4."""
        return self.flow.inputs_4([*known[3], *features[2:]], exit_, features[1], s3)

    def log_likelihood(self, known: list[list[Tensor]], s: Tensor, exit_: Exit, n: Tensor, weight: Tensor) -> Tensor:
        """sum of weight [K, 3] times log p(s) over channels and the first K rows (training): s [K, 4], n [K, 3]."""
        known = [[column[: len(s)] for column in columns] for columns in known]
        features = self.exit_features(known, exit_, n)
        return self.flow.log_likelihood(
            [self.inputs_1(known), self.inputs_2(known, s[:, 0]), self.inputs_3(known, exit_, features),
             self.inputs_4(known, exit_, features, s[:, 2])], s, weight,
        )  # fmt: skip

    def albedo(self, sites: list[Tensor]) -> Tensor:
        """alpha, [N, 3], non-negative."""
        return self.albedo_of(self.known(sites))

    def albedo_of(self, known: list[list[Tensor]]) -> Tensor:
        """The same from the networks' columns."""
        return functional.softplus(self.albedo_net(torch.cat(known[4], -1))[..., 0] + ALBEDO_OFFSET)

    def square(self, x_o: Tensor, n: Tensor, u: Tensor, w: Tensor) -> tuple[Tensor, Exit]:
        """Incident rays as points of the unit cube: (s [N, 4], the exit that networks 3 and 4 read)."""
        s1, s2 = self.coordinates.exit_to_square(u, x_o, n)
        exit_ = self.coordinates.exit(s1, s2, x_o, n)
        s3, s4 = self.coordinates.direction_to_square(w, exit_, n)
        return torch.stack([s1, s2, s3, s4], -1), exit_

    def _draw(self, j: int, inputs: list[Tensor], z: Tensor, channel: Tensor) -> tuple[Tensor, Tensor]:
        """s_j of the chosen channel and the density of all channels there: s [N], log p [N, 3]."""
        raw = self.flow.raw(j, inputs)
        s = self.flow.sample(j, z, raw, channel)
        return s, self._log_density(j, s, raw)

    def _density(self, j: int, inputs: list[Tensor], s: Tensor) -> Tensor:
        """log p(s_j) of all channels, [N, 3]."""
        return self._log_density(j, s, self.flow.raw(j, inputs))

    def _log_density(self, j: int, s: Tensor, raw: Tensor) -> Tensor:
        return self.flow.log_density(j, s[:, None].expand(-1, raw.shape[1]), raw)

    def sample_exit(
        self, sites: list[Tensor], x_o: Tensor, n: Tensor, channel: Tensor, z: Tensor
    ) -> tuple[Exit, Tensor]:
        """Draw u_i from the distribution of one channel.

        Args:
            channel: which channel to draw from, [N], 0 to 2.
            z: uniform numbers, [N, 2].

        Returns:
            the exit, and log p(s1, s2) of all channels, [N, 3].
        """
        known = self.known(sites)
        s1, log_p1 = self._draw(0, self.inputs_1(known), z[:, 0], channel)
        s2, log_p2 = self._draw(1, self.inputs_2(known, s1), z[:, 1], channel)
        return self.coordinates.exit(s1, s2, x_o, n), log_p1 + log_p2

    def exit_at(self, sites: list[Tensor], x_o: Tensor, n: Tensor, u: Tensor) -> tuple[Exit, Tensor]:
        """A given u_i, [N, 3] on the proxy: the exit, and log p(s1, s2) of all channels, [N, 3]."""
        known = self.known(sites)
        s1, s2 = self.coordinates.exit_to_square(u, x_o, n)
        log_p1 = self._density(0, self.inputs_1(known), s1)
        log_p2 = self._density(1, self.inputs_2(known, s1), s2)
        return self.coordinates.exit(s1, s2, x_o, n), log_p1 + log_p2

    def log_exit_solid_angle(self, exit_: Exit, x_o: Tensor) -> Tensor:
        """log of the factor from p(s1, s2) to the density of the direction from x_o to u_i, in solid angle: [N]."""
        return self.coordinates.log_exit_solid_angle(exit_, x_o)

    def sample_direction(
        self, sites: list[Tensor], exit_: Exit, n: Tensor, channel: Tensor, z: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Draw w_i at a given exit from the distribution of one channel, z [N, 2].

        Returns:
            w_i [N, 3] and log p(w_i | u_i) of all channels in solid angle, [N, 3].
        """
        known = self.known(sites)
        features = self.exit_features(known, exit_, n)
        s3, log_p3 = self._draw(2, self.inputs_3(known, exit_, features), z[:, 0], channel)
        s4, log_p4 = self._draw(3, self.inputs_4(known, exit_, features, s3), z[:, 1], channel)
        jacobian = self.coordinates.log_direction_density(s3)[:, None]
        return self.coordinates.direction(s3, s4, exit_, n), log_p3 + log_p4 + jacobian

    def direction_density(self, sites: list[Tensor], exit_: Exit, n: Tensor, w: Tensor) -> Tensor:
        """log p(w_i | u_i) of all channels in solid angle, [N, 3]."""
        known = self.known(sites)
        features = self.exit_features(known, exit_, n)
        s3, s4 = self.coordinates.direction_to_square(w, exit_, n)
        log_p3 = self._density(2, self.inputs_3(known, exit_, features), s3)
        log_p4 = self._density(3, self.inputs_4(known, exit_, features, s3), s4)
        return log_p3 + log_p4 + self.coordinates.log_direction_density(s3)[:, None]

    def log_density(
        self, x_o: Tensor, w_o: Tensor, n: Tensor, u: Tensor, w: Tensor, occlusion: Tensor | None = None
    ) -> Tensor:
        """log p(u_i, w_i | x_o, w_o) of all channels, area of the (normalised) proxy times solid angle: [N, 3]."""
        sites = self.sites(x_o, w_o, n, occlusion)
        exit_, log_p = self.exit_at(sites, x_o, n, u)
        area = self.coordinates.log_exit_density(exit_, x_o)[:, None]
        return log_p + area + self.direction_density(sites, exit_, n, w)
