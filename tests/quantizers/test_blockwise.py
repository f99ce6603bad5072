"""Rows in parts are the rows: the same result, parts only where they help."""

import pytest
import torch

from rotvq import VectorQuantizer
from rotvq.quantizers.blockwise import BLOCK, blocks, map_rows

ROWS = 3 * BLOCK // 16 + 5


def test_parts_are_the_rows_in_order_and_only_without_a_graph():
    x, y = torch.randn(5, ROWS, 16), torch.randn(5, ROWS, 1)
    with torch.no_grad():
        parts = list(blocks(x, y, None))
        assert max(part.numel() for part, _, _ in parts) <= BLOCK and all(none is None for _, _, none in parts)
        assert torch.equal(torch.cat([part for part, _, _ in parts]), x.flatten(0, 1))
        assert torch.equal(map_rows(torch.mul, x, y), x * y)
        assert torch.equal(map_rows(torch.mul, x.movedim(0, 1), y.movedim(0, 1)), (x * y).movedim(0, 1))
        assert map_rows(torch.mul, x.half(), y).dtype == torch.half
    assert len(list(blocks(x, y))) == 1


@pytest.mark.parametrize("rows", [5, 3 * BLOCK // 16 + 5])
def test_several_gradients_at_once(rows):
    """Of the loss alone, and of z_q with it: also where the rows are taken in parts."""
    torch.manual_seed(0)
    vq, z = VectorQuantizer(16, 8), torch.randn(rows, 16, requires_grad=True)
    z_q, _, loss = vq(z)
    of, factors, towards = (z, vq.codebook.weight), torch.tensor([1.0, -2.0, 0.5]), torch.randn(3, rows, 16)
    for outputs, batch in (((loss,), (factors,)), ((z_q, loss), (towards, factors))):
        many = torch.autograd.grad(outputs, of, batch, is_grads_batched=True, retain_graph=True)
        for i, one in enumerate(zip(*batch)):
            want = torch.autograd.grad(outputs, of, one, retain_graph=True)
            torch.testing.assert_close([x[i] for x in many], list(want))


def test_losses_of_many_latents_are_their_definition():
    torch.manual_seed(0)
    vq, z = VectorQuantizer(16, 8, beta=0.7, gamma=0.3), torch.randn(ROWS, 16, requires_grad=True)
    _, indices, loss = vq(z)
    q = vq.codes[indices]
    want = 0.7 * (q - z.detach()).square().mean() + 0.3 * (z - q.detach()).square().mean()
    torch.testing.assert_close(loss, want)
    of = (z, vq.codebook.weight)
    torch.testing.assert_close(torch.autograd.grad(loss, of), torch.autograd.grad(want, of))
