"""Muon (K. Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks"), all matrices side by side.

The momentum of a matrix is replaced by the nearest orthogonal matrix, by and large: five steps of a Newton-Schulz iteration, with the
constants of its authors, bring all singular values to between 0.7 and 1.2.  `torch.optim.Muon` does the same matrix by matrix in
bfloat16; a model has a score of small ones, so that most of its time there goes into calls.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor

MOMENTUM = 0.95
COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of X, X X^T X and (X X^T)^2 X
STEPS = 5
SMALLEST = 1e-7  # norms below count as this


def orthogonal(stack: Tensor) -> Tensor:
    """Matrices [n, r, c] with their singular values brought near one; all-zero columns stay zero."""
    a, b, c = COEFFICIENTS
    x = stack / stack.flatten(1).norm(dim=1).clamp_min(SMALLEST)[:, None, None]
    for _ in range(STEPS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x


class Muon(torch.optim.Optimizer):
    """Steps along orthogonalised Nesterov momenta, longer by sqrt(rows / columns) for tall matrices.

    Args:
        matrices: parameters [r, c].
        lr: learning rate; a number on the parameters' device where steps are recorded.

    Raises:
        ValueError: a parameter is no matrix.
    """

    def __init__(self, matrices: Sequence[Tensor], lr: float | Tensor) -> None:
        matrices = list(matrices)
        if bad := [list(p.shape) for p in matrices if p.ndim != 2]:
            raise ValueError(f"Muon: expected matrices, got a parameter {bad[0]}")
        super().__init__(matrices, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # noqa: ARG002
        """One step."""
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if not parameters:
                continue
            gradients = [p.grad for p in parameters]
            for p in parameters:
                if "momentum_buffer" not in self.state[p]:
                    self.state[p]["momentum_buffer"] = torch.zeros_like(p)
            momenta = [self.state[p]["momentum_buffer"] for p in parameters]
            torch._foreach_lerp_(momenta, gradients, 1 - MOMENTUM)
            self._move(parameters, torch._foreach_lerp(gradients, momenta, MOMENTUM), group["lr"])

    @staticmethod
    def _move(parameters: list[Tensor], updates: list[Tensor], rate: float | Tensor) -> None:
        """Matrices with as many rows go together: the narrow ones, and the wide ones, filled up with columns of zeros."""
        batches: dict[tuple[int, bool], list[int]] = defaultdict(list)
        for k, p in enumerate(parameters):
            batches[p.shape[0], p.shape[1] > p.shape[0]].append(k)
        for (rows, _), members in batches.items():
            columns = max(parameters[k].shape[1] for k in members)
            stack = updates[members[0]].new_zeros(len(members), rows, columns)
            views = [stack[i, :, : parameters[k].shape[1]] for i, k in enumerate(members)]
            torch._foreach_copy_(views, [updates[k] for k in members])
            directions = orthogonal(stack)
            for i, k in enumerate(members):
                wide = parameters[k].shape[1]
                longer = max(1.0, rows / wide) ** 0.5
                if isinstance(rate, Tensor):
                    parameters[k].addcmul_(directions[i, :, :wide], rate, value=-longer)
                else:
                    parameters[k].add_(directions[i, :, :wide], alpha=-rate * longer)
