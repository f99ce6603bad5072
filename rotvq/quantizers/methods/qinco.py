"""QINCo: a network makes the codes of a level out of what the levels before it decoded (Huijben et al. 2024)."""

import torch
from torch import Tensor, nn

from rotvq.quantizers.base import Assigned, Quantizer, linear
from rotvq.quantizers.codebook import Codebook, Start
from rotvq.quantizers.distributed import group_of_call
from rotvq.quantizers.estimators import Estimator, default_estimator
from rotvq.quantizers.estimators import estimator as find_estimator
from rotvq.quantizers.lookup import in_parts, working_memory
from rotvq.quantizers.losses import weighted_losses
from rotvq.quantizers.operators import runs_again


class QINCo(Quantizer):
    r"""A level of a cascade whose codes depend on what has been decoded so far.

    .. math:: q = f(e_k, \hat z), \qquad k = \arg\min_k |x - f(e_k, \hat z)|, \qquad f(e, \hat z) = v_L, \\
              v_0 = e + A e + B \hat z + b, \qquad v_l = v_{l-1} + W_l \max(0, U_l v_{l-1} + u_l) + w_l

    with x what is left over and :math:`\hat z` the sum of the q before, to which it sends no gradient. A, B, b, W and w
    start at zero, so that a cascade starts as one of plain codes e. The two losses teach e and the network, which a
    search evaluates K times a latent. Source: Huijben et al., "Residual Quantization with Implicit Neural Codebooks",
    ICML 2024 (arXiv 2401.14732), section 3.

    A method of :class:`.ResidualVectorQuantizer`, which says what has been decoded; ``decode`` alone gives e. Arguments
    as of :class:`.VectorQuantizer`, without those missing here; ``blocks`` is L, ``width`` that of U.

    >>> from rotvq import ResidualVectorQuantizer
    >>> vq = ResidualVectorQuantizer(dim=8, codebook_size=16, levels=3, method="qinco", blocks=2, width=32)
    >>> vq(torch.randn(5, 8)).indices.shape
    torch.Size([5, 3])
    """

    code_parts = ("codebook", "network")

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        estimator: str | Estimator | None = None,
        *,
        blocks: int = 2,
        width: int = 256,
        init: str | Tensor | Start = "uniform",
        beta: float = 1.0,
        gamma: float = 0.25,
        frozen: bool = False,
        generator: torch.Generator | None = None,
        **options,
    ):
        super().__init__(dim, codebook_size, beta, gamma, **options)
        if self.heads > 1 or self.reduce is not None:
            raise ValueError("heads and project_to are not for QINCo: a token has one code, of its own dimension")
        self.estimator = find_estimator(default_estimator(dim) if estimator is None else estimator)
        self.codebook = Codebook(codebook_size, dim, init, generator=generator, process_group=self.process_group)
        added = [nn.Linear(dim, dim), nn.Linear(dim, dim, bias=False), *(nn.Linear(width, dim) for _ in range(blocks))]
        for parameter in nn.ModuleList(added).parameters():
            nn.init.zeros_(parameter)
        self.network = nn.ModuleList([*added, *(nn.Linear(dim, width) for _ in range(blocks))])
        self.so_far: Tensor | None = None  # what has been decoded, shaped as the input; None: nothing
        self.frozen = frozen

    @property
    def codes(self) -> Tensor:
        if not self.codebook.ready:
            raise RuntimeError(f"init {self.codebook.init!r} awaits latents: train first")
        return self.codebook.codes

    def made_of(self, e: Tensor, so_far: Tensor) -> Tensor:
        """f of e and what has been decoded so far, (..., dim) each."""
        of_code, of_rest, *blocks = self.network
        e, so_far = e.to(torch.promote_types(e.dtype, torch.float32)).contiguous(), so_far.contiguous()
        with torch.autocast(e.device.type, enabled=False):  # a decoder must find the same
            v = e + linear(of_code, e) + linear(of_rest, so_far)
            for down, up in zip(blocks[: len(blocks) // 2], blocks[len(blocks) // 2 :]):
                v = v + linear(down, linear(up, v).relu())
        return v.detach() if self.frozen else v

    def quantise(self, z: Tensor, mask: Tensor | None) -> Assigned:
        if self.training and not self.frozen and not self.codebook.ready and not runs_again():
            latents = z.detach().reshape(-1, self.dim)
            counted = self._counted(latents, None if mask is None else mask.reshape(-1))
            self.codebook.start_once(latents, counted, group_of_call(self.process_group))
        codes = self.codes_in_use
        indices = self.assign(z, codes)
        q = self.made_of(codes[indices], self._as_rows(self.so_far, z))
        return Assigned(self.estimator(z, q), q, indices, weighted_losses(z, q, self.beta, self.gamma, mask))

    def assign(self, z: Tensor, codes: Tensor) -> Tensor:
        return self._nearest(z, codes, 1).squeeze(-1)

    def nearest_codes(self, x: Tensor, k: int) -> Tensor:
        """Indices of the k nearest codes of each token, the nearest first, (..., k), for x as a call takes it."""
        return self._nearest(self._rows(x.detach()), self.codes_in_use, k)

    def decode_after(self, indices: Tensor, so_far: Tensor | None) -> Tensor:
        """What indices stand for once ``so_far`` has been decoded, both shaped as in a call; 0 for -1."""
        e = self._rows(self.decode(indices))
        q = torch.where(indices.unsqueeze(-1) >= 0, self.made_of(e, self._as_rows(so_far, e)), 0.0)
        return q.movedim(-1, 1).contiguous() if self.channel_first else q

    def _as_rows(self, so_far: Tensor | None, like: Tensor) -> Tensor:
        return torch.zeros_like(like) if so_far is None else self._rows(so_far)

    @torch.no_grad()
    def _nearest(self, z: Tensor, codes: Tensor, k: int) -> Tensor:
        """(..., k), a few latents at a time: each has a table of codes of its own."""
        rows, so_far = (x.reshape(-1, self.dim) for x in (z, self._as_rows(self.so_far, z)))
        width = self.network[-1].out_features
        size = max(1, working_memory(z.device) // (4 * len(codes) * (3 * self.dim + width)))
        found = []
        for some, before in zip(in_parts(rows, size), in_parts(so_far, size)):
            distances = (some.unsqueeze(1) - self.made_of(codes, before.unsqueeze(1))).square().sum(-1)
            found.append(distances.topk(k, largest=False).indices)
        return torch.cat(found).reshape(*z.shape[:-1], k)
