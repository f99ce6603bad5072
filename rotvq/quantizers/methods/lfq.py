"""LFQ: lookup-free quantisation, the signs of a few numbers (Yu et al. 2024)."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from rotvq.quantizers.base import Assigned, Quantizer
from rotvq.quantizers.estimators import straight_through
from rotvq.quantizers.losses import weighted_losses
from rotvq.quantizers.operators import Constants
from rotvq.quantizers.options import refuse_idle, refuse_unknown

SURE = 200.0  # log odds of a digit beyond which exp(-odds) is as good as 0: products with it stay finite


class Corners(Constants):
    """The corners of a cube about 0: a number is ``+radius`` where its digit is 1, else ``-radius``.

    Corner k has the binary digits of k, the lowest first.

    >>> Corners(bits=2, radius=0.5).points(torch.arange(4)).tolist()
    [[-0.5, -0.5], [0.5, -0.5], [-0.5, 0.5], [0.5, 0.5]]
    """

    ready = True

    def __init__(self, bits: int, radius: float):
        super().__init__(place_values=[2**bit for bit in range(bits)])
        self.radius = radius
        origin = torch.zeros((), device=self.place_values.device)  # its dtype is that of the points
        self.register_buffer("origin", origin, persistent=False)

    def points(self, indices: Tensor) -> Tensor:
        """(..., bits) of indices (...)."""
        return self.of_digits(indices.unsqueeze(-1) & self.place_values > 0, self.origin.dtype)

    def of_digits(self, digits: Tensor, dtype: torch.dtype) -> Tensor:
        """The corners that digits (..., bits), bool, stand for."""
        return (2 * digits.to(dtype) - 1) * self.radius

    def indices(self, digits: Tensor) -> Tensor:
        """(...) of digits (..., bits), bool."""
        return (digits * self.place_values).sum(-1)


class LFQ(Quantizer):
    r"""Lookup-free quantisation: a code is the signs of ``log2 K`` numbers, and no codebook is learned or searched.

    .. math:: & q_i = \mathrm{sign}(z_i), \qquad k = \sum_i 2^{i-1} [z_i > 0], \\
              & L = \lambda\,\big(\mathbb E\,H(p(z)) - \mu\,H(\mathbb E\,p(z))\big) + \gamma\,|z - \mathrm{sg}[q]|^2,

    with sign(0) = -1 and p(z) the softmax of ``-|z - e|^2 / T`` over all codes e. Yu et al., "Language Model
    Beats Diffusion: Tokenizer is Key to Visual Generation", ICLR 2024 (arXiv 2310.05737). The gradient passes straight
    through. Where dim is not log2 K, a linear map leads there and another one back.

    p(z) is a product over the digits, so both entropies are exact without its N x K matrix: that of a token is a sum
    over digits, and the mean of p is one product of two matrices of about N x sqrt(K) numbers. Entropies are in nats,
    of all heads together and of this rank's batch.

    Args:
        dim: of a latent.
        codebook_size: K, a power of two from 2 on.
        entropy_temperature: T, positive.
        entropy_weight: lambda.
        diversity: mu.
        group: H(E p) is summed over groups of so many digits, which bounds it from above. None: all, which is exact.
        spherical: latents on the unit sphere and codes of norm 1: see :func:`.bsq`.
        gamma: weight of the commitment loss, which is taken where the signs are.
        options: those of :class:`.Quantizer`.

    Raises:
        ValueError: on a codebook_size that is no power of two, and on numbers out of range.

    >>> z_q, indices, loss = LFQ(dim=3, codebook_size=8)(torch.tensor([[0.3, -2.0, 0.1], [-0.1, 0.0, 5.0]]))
    >>> z_q, indices
    (tensor([[ 1., -1.,  1.],
            [-1., -1.,  1.]]), tensor([5, 4]))
    """

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        *,
        entropy_temperature: float = 0.01,
        entropy_weight: float = 0.1,
        diversity: float = 1.0,
        group: int | None = None,
        spherical: bool = False,
        gamma: float = 0.25,
        **options,
    ):
        bits = max(codebook_size.bit_length() - 1, 1)
        if codebook_size != 2**bits:
            raise ValueError(f"codebook_size is {codebook_size}: it must be a power of two, such as {2**bits}")
        own = {"project_to": None if bits == dim else bits, "normalise": spherical}
        refuse_unknown({name: value for name, value in options.items() if name in own})
        frozen = options.pop("frozen", False)
        refuse_idle("lattice", {"process_group": options.get("process_group"), "shares": False})
        temperature_given = entropy_temperature not in (0.01, 1.0)  # the defaults of LFQ and BSQ
        refuse_idle("lfq", locals())
        super().__init__(dim, codebook_size, gamma=gamma, **own, **options)
        group = bits if group is None else group
        if entropy_temperature <= 0 or group < 1:
            raise ValueError(f"entropy_temperature is {entropy_temperature}, group {group}: both must be positive")
        if entropy_weight < 0 or diversity < 0:
            raise ValueError(f"entropy_weight is {entropy_weight}, diversity {diversity}: neither may be negative")
        self.entropy_temperature, self.entropy_weight, self.diversity = entropy_temperature, entropy_weight, diversity
        self.group = group
        self.codebook = Corners(bits, 1 / math.sqrt(bits) if spherical else 1.0)

    @property
    def codes(self) -> Tensor:
        return self.codebook.points(torch.arange(self.codebook_size, device=self.codebook.origin.device))

    def quantise(self, z: Tensor, mask: Tensor | None) -> Assigned:
        z = z.to(torch.promote_types(z.dtype, torch.float32))
        digits = z > 0
        q = self.codebook.of_digits(digits, z.dtype)
        loss_sum = weighted_losses(z, q, self.beta, self.gamma, mask)
        of_token, of_mean = self.entropies(z, mask)
        entropy_loss = self.entropy_weight * (of_token - self.diversity * of_mean)
        return Assigned(straight_through(z, q), q, self.codebook.indices(digits), loss_sum, entropy_loss)

    def assign(self, z: Tensor, codes: Tensor) -> Tensor:
        return self.codebook.indices(z > 0)

    def entropies(self, z: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """``E H(p(z))`` and ``H(E p(z))`` in nats, at least float32.

        Args:
            z: latents as the signs are taken, (..., log2 K).
            mask: bool, (...), True where a latent counts; one that is not finite never does.
        """
        counted, z = self._counted(z, mask), z.to(torch.promote_types(z.dtype, torch.float32))
        # the two corners along an axis are apart by |z + radius|^2 - |z - radius|^2 = 4 radius z
        log_odds = (4 * self.codebook.radius / self.entropy_temperature * z).clamp(-SURE, SURE)
        share = z.new_ones(z.shape[:-1]).unsqueeze(-1)
        if counted is not None:
            share = counted.unsqueeze(-1).to(z.dtype)
            log_odds = torch.where(counted.unsqueeze(-1), log_odds, 0.0)
        share, log_odds = (share / share.sum().clamp_min(1)).flatten(0, -2), log_odds.flatten(0, -2)
        of_token = (share * digit_entropy(log_odds)).sum()
        of_mean = sum(entropy_of_mean(part, share) for part in log_odds.split(self.group, dim=1))
        return of_token, of_mean


def digit_entropy(log_odds: Tensor) -> Tensor:
    """The entropy of one binary digit, in nats, from the log odds of a 1.

    >>> digit_entropy(torch.tensor([0.0, 1000.0]))
    tensor([0.6931, 0.0000])
    """
    size = log_odds.abs()
    return F.softplus(-size) + size * torch.sigmoid(-size)


def entropy_of_mean(log_odds: Tensor, share: Tensor) -> Tensor:
    """The entropy, in nats, of a mean of distributions over numbers of several independent binary digits.

    Args:
        log_odds: of a 1, (N, digits).
        share: weight of each distribution in the mean, (N, 1).

    >>> entropy_of_mean(torch.tensor([[50.0, 50.0], [-50.0, -50.0]]), torch.full((2, 1), 0.5))    # 11 or 00
    tensor(0.6931)
    """
    half = log_odds.shape[1] // 2
    low, high = (_probabilities(part) for part in (log_odds[:, :half], log_odds[:, half:]))
    with torch.autocast(low.device.type, enabled=False):
        mean = (high * share).t() @ low  # a probability of all digits is one of the low half times one of the high half
    return torch.special.entr(mean.clamp_min(torch.finfo(mean.dtype).tiny)).sum()  # at 0 its slope is infinite


def _probabilities(log_odds: Tensor) -> Tensor:
    """Of every number of the given binary digits, (N, 2**digits), the lowest digit first."""
    product = log_odds.new_ones(log_odds.shape[0], 1)
    for digit in log_odds.unsqueeze(-1).unbind(1):
        product = torch.cat([product * torch.sigmoid(-digit), product * torch.sigmoid(digit)], dim=1)
    return product
