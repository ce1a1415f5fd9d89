"""Muon: steps of convolutions whose directions all have the same length (Jordan et al. 2024)."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.optim import Optimizer

MOMENTUM = 0.95  # Jordan et al. 2024
# their polynomial: singular values soon lie within 0.7 to 1.2
ITERATION = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5
# root mean square of an AdamW step; with it one learning rate suits both (Liu et al. 2025)
RMS = 0.2
ADAM_DECAYS, ADAM_EPS = (0.9, 0.999), 1e-8  # as AdamW in PyTorch has them


class Muon(Optimizer):
    """Move kernels of convolutions by orthogonalised momentum, all other weights as AdamW does.

    The momentum of a kernel is a matrix, ``(out, in * voxels)``. Most of its directions are rare
    in the data, and short; Muon takes steps as long in them as in the common ones.

    Parameters
    ----------
    parameters
        Parameters of a network. Kernels of more than one voxel count as convolutions.
    lr
        Learning rate, scaled to the size of the steps of AdamW.
    weight_decay
        Weight decay of all parameters, as that of AdamW.

    Source: Jordan et al. 2024, Muon; Liu et al. 2025, Muon is scalable for LLM training.
    """

    def __init__(self, parameters: Iterable[Tensor], lr: float, weight_decay: float = 0.0) -> None:
        super().__init__(parameters, {'lr': lr, 'weight_decay': weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Take one step along the gradients, which are there: there is no ``closure``."""
        assert closure is None
        for group in self.param_groups:
            for parameter in group['params']:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                move = _move_of_kernel if is_kernel(parameter) else _move_of_adam
                parameter.mul_(1 - group['lr'] * group['weight_decay'])
                parameter.sub_(group['lr'] * move(parameter.grad, state))


def is_kernel(parameter: Tensor) -> bool:
    """Whether a parameter is the kernel of a convolution of more than one voxel."""
    return parameter.ndim > 2 and parameter[0, 0].numel() > 1


def _move_of_kernel(gradient: Tensor, state: dict[str, Tensor]) -> Tensor:
    """Orthogonalise the (Nesterov) momentum of a kernel."""
    if not state:
        state['momentum'] = torch.zeros_like(gradient)
    momentum = state['momentum'].lerp_(gradient, 1 - MOMENTUM)
    matrix = gradient.lerp(momentum, MOMENTUM).flatten(1)
    scale = RMS * max(matrix.shape) ** 0.5
    return scale * orthogonalised(matrix).view(gradient.shape)


def orthogonalised(matrix: Tensor) -> Tensor:
    """Bring all singular values of a matrix near 1, by steps of a Newton-Schulz iteration."""
    if matrix.shape[0] > matrix.shape[1]:
        return orthogonalised(matrix.T).T
    a, b, c = ITERATION
    x = matrix / matrix.norm().clamp(min=1e-12)
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x


def _move_of_adam(gradient: Tensor, state: dict[str, Tensor]) -> Tensor:
    """Divide the average gradient by its root mean square (Kingma & Ba 2015)."""
    if not state:
        state['step'] = torch.zeros(())
        state['exp_avg'], state['exp_avg_sq'] = (torch.zeros_like(gradient) for _ in range(2))
    state['step'] += 1
    first, second = ADAM_DECAYS
    mean = state['exp_avg'].lerp_(gradient, 1 - first)
    square = state['exp_avg_sq'].lerp_(gradient.square(), 1 - second)
    step = float(state['step'])
    root = (square / (1 - second**step)).sqrt_().add_(ADAM_EPS)
    return mean / (1 - first**step) / root
