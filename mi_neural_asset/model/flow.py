"""The distribution p(u_i, w_i | x_o, w_o): four conditional splines in a row (paper, Sec. 3.2 and Fig. 6).

Step j draws s_j from a spline whose raw numbers come from a network of (x_o, w_o, s_1 .. s_{j-1}); each colour channel has
a spline of its own.  s_2 and s_4 are periodic.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .. import splines
from .config import ModelConfig
from .coordinates import Exit
from .encoding import Grid
from .network import MLP
from .summed import Loss, summed

PERIODIC = (False, True, False, True)


class Flow(nn.Module):
    """The four networks and the grids of s.

    `site` below is what a step's network reads about (x_o, w_o), columns of its input whose widths add up to site_inputs[j]
    (`mi_neural_asset.model.transport.Transport`); inputs are such columns, [N, ...] each.
    """

    def __init__(self, config: ModelConfig, site_inputs: list[int], exit_inputs: int) -> None:
        super().__init__()
        f = config.features
        self.knots = config.knots
        self.s1_grid = Grid("line", config.line, f)  # for step 2
        self.exit_grid = Grid("cubemap", config.cubemap, 2 * f)  # (s1, s2) as a direction, for steps 3 and 4
        self.s3_grid = Grid("line", config.line, f)  # for step 4
        extra = (0, f, f + exit_inputs, 2 * f + exit_inputs)
        self.steps = nn.ModuleList(
            MLP(site_inputs[j] + extra[j], config.width, config.depth, splines.raw_size(config.knots, PERIODIC[j]))
            for j in range(4)
        )

    def inputs_1(self, site: list[Tensor]) -> list[Tensor]:
        """Input of step 1."""
        return site

    def inputs_2(self, site: list[Tensor], s1: Tensor) -> list[Tensor]:
        """Input of step 2, s1: [N]."""
        return [*site, self.s1_grid(s1)]

    def exit_features(self, exit_: Exit) -> tuple[Tensor, Tensor]:
        """What steps 3 and 4 read from the grid of (s1, s2): [N, F] each."""
        return self.exit_grid(exit_.axis).chunk(2, -1)

    def inputs_3(self, site: list[Tensor], exit_: Exit, features: Tensor) -> list[Tensor]:
        """Input of step 3; features: what its network reads from the grid of (s1, s2)."""
        return [*site, features, exit_.extra]

    def inputs_4(self, site: list[Tensor], exit_: Exit, features: Tensor, s3: Tensor) -> list[Tensor]:
        """Input of step 4, s3: [N]; features as in step 3."""
        return [*site, features, exit_.extra, self.s3_grid(s3)]

    def raw(self, j: int, inputs: list[Tensor]) -> Tensor:
        """Raw numbers of step j (0 to 3), [N, 3, raw_size]."""
        return self.steps[j](torch.cat(inputs, -1))

    def log_density(self, j: int, s: Tensor, raw: Tensor) -> Tensor:
        """log p(s) of step j (0 to 3) from its network's raw numbers: s [...], raw [..., raw_size] -> [...]."""
        return splines.log_density(s, raw, self.knots, PERIODIC[j])

    def sample(self, j: int, z: Tensor, raw: Tensor, channel: Tensor) -> Tensor:
        """s of step j (0 to 3) in one channel of each row: z [N], raw [N, C, raw_size], channel [N] -> [N]."""
        return splines.sample(z, raw, self.knots, PERIODIC[j], channel)

    def log_likelihood(self, inputs: Sequence[list[Tensor]], s: Tensor, weight: Tensor) -> Tensor:
        """sum over rows and channels of weight [N, 3] times log p(s), s [N, 4], from the four steps' inputs."""

        def loss(j: int) -> Loss:
            def of_slice(raw: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
                value = s[rows, j, None].expand(-1, raw.shape[1])
                total, at = splines.log_likelihood(value.flatten(), raw.flatten(0, 1), weight[rows].flatten(), self.knots, PERIODIC[j])
                return total, at.view_as(raw)

            return of_slice

        return sum(summed(self.steps[j], inputs[j], loss(j), len(s)) for j in range(4))
