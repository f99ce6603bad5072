r"""The two losses of vector quantisation, and the one autograd function that forms them.

In :math:`L = \beta\,|q - \mathrm{sg}[z]|^2 + \gamma\,|z - \mathrm{sg}[q]|^2` beta weighs the codebook loss and gamma
the commitment loss (the paper and most code call the latter beta): van den Oord et al. 2017 (arXiv 1711.00937), eq. 3.
Both terms have one value, so it is computed once.
"""

import torch
from torch import Tensor

from rotvq.quantizers.blockwise import blocks, is_one_block
from rotvq.quantizers.operators import with_known_signature


def weighted_losses(z: Tensor, q: Tensor, beta: float, gamma: float, mask: Tensor | None = None) -> Tensor:
    """``beta |q - sg z|^2 + gamma |z - sg q|^2``, the sum over the tokens that count: a scalar, at least float32."""
    return step(z, q, None, None, mask, None, None, None, None, beta, gamma)[1]


def step(z, q, codes, indices, mask, centre, mix, gain, estimator, beta, gamma):
    """:class:`Step`, of weights that may change between the calls of compiled code."""
    # There a weight that changes is a symbol, and torch 2.13 fails to hand one symbol to two inner graphs, as of two
    # calls with one codebook. It does not fail with products.
    return Step.apply(z, q, codes, indices, mask, centre, mix, gain, estimator, 1.0 * beta, 1.0 * gamma)


class Step(torch.autograd.Function):
    r"""z_q by an estimator and :func:`weighted_losses`, with all that flows back through both:

    .. math:: \frac{\partial L}{\partial z_i} = G_i^\top g_i + 2 \gamma c\,(z_i - q_i), \qquad
              \frac{\partial L}{\partial e_k} = 2 \beta c \sum_{i : k_i = k} (q_i - z_i),

    where g arrives at z_q, c at the sum of the losses, and ``q = codes[indices]``. Formed apart, they would need a copy
    of the latents each. Without an estimator there is no z_q; without codes the second gradient goes to q.
    """

    generate_vmap_rule = True

    @staticmethod
    @with_known_signature
    def forward(z, q, codes, indices, mask, centre, mix, gain, estimator, beta, gamma):
        z_q = None if estimator is None else q.clone()
        return z_q, (beta + gamma) * sum_of_squares(z, q, mask)

    @staticmethod
    def setup_context(ctx, inputs, output):
        z, q, codes, *others, ctx.estimator, ctx.beta, ctx.gamma = inputs
        ctx.codes_shape = None if codes is None else codes.shape
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(z, q, *others)

    @staticmethod
    def backward(ctx, g, c):
        z, q, indices, mask, centre, mix, gain = ctx.saved_tensors
        to_z = to_q = to_codes = None
        z = z if ctx.codes_shape is None else z.contiguous()
        if g is not None:
            to_z = _pulled_back(ctx.estimator, z, q, g, mask, centre, mix, gain).to(z.dtype)
        if c is not None:
            z_weight, q_weight = 2 * ctx.gamma * c, -2 * ctx.beta * c
            if ctx.codes_shape is None:
                difference = masked_difference(z, q, mask)
                to_z, to_q = (difference * z_weight).to(z.dtype), (difference * q_weight).to(q.dtype)
            else:
                to_z = c.new_zeros(z.shape, dtype=z.dtype) if to_z is None else to_z
                if ctx.needs_input_grad[2]:
                    to_codes = c.new_zeros(ctx.codes_shape, dtype=q.dtype)
                losses = indices, z, q, mask, z_weight, q_weight
                if is_one_block(z):
                    to_z, to_codes = _add_loss_gradients(to_z, to_codes, *losses)
                else:
                    _add_loss_gradients_in_place(to_z, to_codes, *losses)
        return to_z, to_q, to_codes, *[None] * 8


def _pulled_back(estimator, z, q, g, mask, centre, mix, gain):
    """``estimator.pull_back``; tokens that the mask leaves out, which get no g, count in no mean over the call."""
    if mask is None or not estimator.takes_whole_calls:
        return estimator.pull_back(z, q, g, centre=centre, mix=mix, gain=gain)
    gain = None if gain is None else gain[mask]
    kept = estimator.pull_back(z[mask], q[mask], g[mask], centre=centre, mix=mix, gain=gain)
    return torch.zeros_like(g).masked_scatter(mask.unsqueeze(-1), kept)


def _add_loss_gradients(to_z, to_codes, indices, z, q, mask, z_weight, q_weight):
    """``to_z`` and ``to_codes`` with the gradients of the losses added; differentiable."""
    difference = masked_difference(z, q, mask)
    to_z = to_z + (difference * z_weight).to(z.dtype)
    if to_codes is not None:
        to_each = (difference * q_weight).to(q.dtype).reshape(-1, q.shape[-1])
        to_codes = to_codes.index_add(0, indices.reshape(-1), to_each)
    return to_z, to_codes


def _add_loss_gradients_in_place(to_z, to_codes, indices, z, q, mask, z_weight, q_weight):
    """The same in the memory of ``to_z`` and ``to_codes``: no intermediate has the size of the latents."""
    for to_z_rows, index_rows, *rows in blocks(to_z, indices, z, q, mask):
        difference = masked_difference(*rows)
        to_z_rows.add_((difference * z_weight).to(z.dtype))
        if to_codes is not None:
            to_codes.index_add_(0, index_rows, (difference * q_weight).to(q.dtype))


def masked_difference(z: Tensor, q: Tensor, mask: Tensor | None = None) -> Tensor:
    """``z - q``, (..., dim); 0 where ``mask`` (...) is False."""
    return z - q if mask is None else torch.where(mask.unsqueeze(-1), z - q, 0.0)


def sum_of_squares(z: Tensor, q: Tensor, mask: Tensor | None = None) -> Tensor:
    """The sum of the squares of :func:`masked_difference`, a scalar, at least float32."""
    wide = torch.promote_types(torch.promote_types(z.dtype, q.dtype), torch.float32)
    rows = blocks(z, q, mask)
    sums = [torch.linalg.vector_norm(masked_difference(*block), dtype=wide).square() for block in rows]
    return sum(sums[1:], sums[0])
