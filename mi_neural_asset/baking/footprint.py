"""How much memory a bake takes, told before it begins: it does not grow, so what fits at the start fits for hours.

The parts, with constants from `docs/reliability.md` and a third more: paths in bulk, the activations of a batch and their
gradients, and copies of the weights (training, average, gradients, two moments, the last good state of these).  The tables of
the probes are made before the first step, and need other memory then.
"""

from __future__ import annotations

from torch import nn

from ..memory import free_memory, parse_size, text
from ..model.network import MLP
from ..model.probes import AZIMUTHS, BANDS, CHANNELS
from .presets import BakeConfig

FIXED_BYTES = 256 << 20  # compiled kernels, the sampler's lanes, the held-out rows
PATH_BYTES = 1800  # of a path of a bulk: its record and its row, of preview size
RECORD_BYTES = 600  # of a path of a bulk: its record alone
CROSSING_BYTES = 200  # of a path of the tables, read both ways: what they keep of it, ordered and not
TABLE_COPIES = 6  # of the tables as floats
WEIGHT_COPIES = 12
PASSES = 8  # bytes of an activation and its gradient
MOST = 0.9  # share of what is free that a bake may take where nobody gives a bound


def needed(config: BakeConfig, model: nn.Module, bulks: int = 1) -> int:
    """Bytes that a bake takes beside the process itself, with so many bulks of paths at a time."""
    nets = [part for part in model.modules() if isinstance(part, MLP)]
    features = sum(net.hidden[0].in_features + sum(h.out_features for h in net.hidden) + net.outputs for net in nets)
    weights = 4 * WEIGHT_COPIES * sum(parameter.numel() for parameter in model.parameters())
    steps, tables = bulks * config.buffer * PATH_BYTES + config.batch * PASSES * features, 0
    if config.model.probes:
        tables = config.buffer * RECORD_BYTES + config.probe_paths * CROSSING_BYTES
        tables += 4 * TABLE_COPIES * config.model.probes * CHANNELS * BANDS * AZIMUTHS
    return FIXED_BYTES + max(steps, tables) + weights


def check_fits(config: BakeConfig, model: nn.Module, memory: str | int | None, bulks: int = 1) -> int:
    """The bytes needed, if they are within the bound; None or "": a share of what is free, `MOST`.

    Raises:
        ValueError: they are not; the message says the smallest bound that would do.
    """
    given = memory is not None and memory != ""
    bound = parse_size(memory, "bake: memory") if given else int(MOST * free_memory())
    need = needed(config, model, bulks)
    if need > bound:
        why = "" if given else " that is free"
        raise ValueError(
            f"bake: {text(bound)} of memory{why} is too little for a buffer of {config.buffer} paths and batches of {config.batch}: the "
            f"smallest bound is {text(need)}; give that, or take a smaller preset"
        )
    return need
