r"""A scale that can be learned: fit it to the loss as it is, not through the estimator.

Inside ``sg[G]`` a parameter gets no gradient: the loss does not depend on G, only the gradient does. What does depend
on G is how well the gradient tells what the loss does. Smooth the loss, :math:`F(z) = E_u L(Q(z + \sigma u))` with
:math:`u \sim N(0, I)`. Along u its slope is :math:`s = (L(Q(z + \sigma u)) - L(Q(z - \sigma u))) / 2\sigma`, without
bias: :math:`E[s\,u] = \nabla F(z)`. The estimator with gain a predicts :math:`a \langle p, u\rangle`, p its pull-back.
The best prediction, that of :math:`\min_a E (s - a \langle p, u\rangle)^2`, has
:math:`a = E\langle \nabla F, p\rangle / E|p|^2`. Both means are estimated by running sums.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from rotvq.quantizers.operators import WideState


class LearnedGain(WideState):
    """A gain, one for all codes, from running sums of slopes and predictions; 1 until the first :meth:`observe`.

    ``sigma`` is the smoothing, positive, in units of the latents; ``decay`` that of the running sums, in (0, 1], where
    1 sums everything; ``limit`` the largest gain, of which the least is 0.

    >>> gain = LearnedGain(sigma=0.1)
    >>> gain.observe(lambda z: 3 * z.sum((-1, -2)), torch.zeros(4, 2), torch.ones(4, 2), torch.randn(8, 4, 2))
    >>> round(gain().item(), 4)                                                 # a linear loss of slope 3
    3.0
    """

    def __init__(self, sigma: float, decay: float = 0.99, limit: float = 10.0):
        super().__init__()
        if not sigma > 0 or not 0 < decay <= 1:
            raise ValueError(f"sigma is {sigma}, decay {decay}: needed are sigma > 0 and 0 < decay <= 1")
        self.sigma, self.decay, self.limit = sigma, decay, limit
        self.register_buffer("seen", torch.zeros(2, dtype=torch.float64))  # sums of s <p, u> and of <p, u>^2

    @torch.no_grad()
    def observe(self, loss: Callable[[Tensor], Tensor], z: Tensor, pull: Tensor, directions: Tensor) -> None:
        """Take in one batch: two evaluations of the loss a direction.

        ``loss`` takes latents (m, ...) to losses (m,), through the quantiser in evaluation mode. ``pull`` is p, the
        pull-back of that loss with gain 1 at latents z, both (...); ``directions`` are u, standard normal, (m, ...).
        """
        step = self.sigma * directions
        slope = (loss(z + step) - loss(z - step)) / (2 * self.sigma)
        predicted = (pull * directions).flatten(1).sum(1)
        finite = slope.isfinite() & predicted.isfinite()
        slope, predicted = (torch.where(finite, x, 0.0) for x in (slope, predicted))
        new = torch.stack([(slope * predicted).sum(), predicted.square().sum()]).to(self.seen)
        self.seen.mul_(self.decay).add_(new)

    def forward(self) -> Tensor:
        """The gain, a 0-d tensor; give it to ``VectorQuantizer(gain=...)`` as ``vq.gain.fill_(gain())``."""
        product, square = self.seen
        return torch.where(square > 0, product / square.clamp_min(1e-300), 1.0).clamp(0, self.limit).float()
