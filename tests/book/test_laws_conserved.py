"""What an estimator conserves: every law holds, and each has a mutation with which it fails."""

from __future__ import annotations

import pytest
import torch
from law_mutations import Mutation, assert_holds, assert_turned, parameters, row

from book import algebra
from book.statements import STATEMENTS, Law
from book.theory import conserved
from rotvq.quantizers.estimators import Estimator

SOUND_EMA, SOUND_BATCH, SOUND_LOSS = (
    conserved.ema_codes,
    conserved.exact_on_a_batch,
    conserved.Network.reconstruction_loss,
)
NAMES = [name for name, one in STATEMENTS.items() if isinstance(one, Law) and one.chapter == conserved.CHAPTER]


def no_weight(net) -> float:
    return 1.0


def farthest(z, codes):
    return algebra.distances(z, codes).argmax(-1)


def beside(net, z_q, W=None, b_W=None):
    """A decoder that sees z_q not through W z_q + b_W alone."""
    return SOUND_LOSS(net, z_q, W, b_W) + z_q.square().mean()


def without_the_bias(net, member, motion, mu=None):
    """What an estimator reports of a motion of E alone."""
    E, b, codes, *_ = net.weights
    E = E.clone().requires_grad_()
    z = net.h @ E.T + b
    loss = net.reconstruction_loss(conserved.ESTIMATORS[member](z, codes[net.codes_of(z)], centre=mu))
    return conserved.inner(*torch.autograd.grad(loss, E), motion.A @ net.weights[0])


def about_0(z, q, g):
    """The correction g + A z, exact along turns and stretching about 0."""
    moves, errors = conserved.moves_of(z), conserved.moves_of(q - z)
    gram = torch.einsum("inx,jnx->ij", moves, moves)
    asked = torch.einsum("nx,inx->i", g, errors)[:, None]
    return g + torch.einsum("i,inx->nx", torch.linalg.lstsq(gram, asked, driver="gelsd").solution[:, 0], moves)


def further_off(z, q, g):
    """Exact along all motions, and not the nearest to g: with something more that no motion sees."""
    seen = torch.cat([conserved.moves_of(z - z.mean(0)), torch.eye(z.shape[-1])[:, None].expand(-1, len(z), -1)])
    seen, more = seen.double().flatten(1).T, g.flatten()[:, None] ** 2
    more = more - seen @ torch.linalg.lstsq(seen, more, driver="gelsd").solution
    return SOUND_BATCH(z, q, g) + more.view(g.shape)


def off_faces(net, draw):
    """Two assignments of latents that lie anywhere."""
    indices = net.codes_of(net.latents())
    return [indices, (indices + 1) % 7]


MUTATIONS = {
    conserved.similarities_keep_assignments: [
        Mutation(conserved, "antisymmetric", lambda draw, d: 2 * draw(d, d).double()),  # the turn becomes a shear
    ],
    conserved.only_similarities_do: [
        Mutation(conserved, "nearest", farthest),
        Mutation(conserved.Motion, "carry", lambda self, x, time: x + time * self.v),  # a shift, which is a similarity
        Mutation(conserved, "antisymmetric", lambda draw, d: draw(d, d).double()),
    ],
    conserved.true_derivative: [
        Mutation(conserved.Motion, "carry", lambda self, x, time: x),  # nothing moves
        Mutation(conserved.Motion, "at", lambda self, x: algebra.apply(self.A, x) + self.v),  # about 0, not the centre
    ],
    conserved.reported_error: [
        Mutation(conserved, "reported_derivative", without_the_bias),
        Mutation(conserved, "jacobian", lambda member, z, q, centre: algebra.jacobian("ste", z, q)),
        Mutation(conserved, "jacobian", lambda member, z, q, centre: algebra.jacobian(member, z, q)),  # about 0
    ],
    conserved.exact_for_translations: [
        row("ste", "constant"),
        row("ste", "rotation"),
        Mutation(conserved, "reported_derivative", without_the_bias),
    ],
    conserved.exact_for_dilations: [
        row("rotation", "ste"),
        row("rotation", "rotation_only"),
        row("reflection", Estimator("reflection", mix=0.999)),
    ],
    conserved.exact_for_turns_of_the_plane: [row("rotation", "reflection"), row("rotation", "ste")],
    conserved.error_along_turns: [
        Mutation(conserved, "projector", lambda z, q: torch.zeros(())),
        row("ste", "rotation"),
        row("rotation", "ste"),
    ],
    conserved.inexact_from_three_dimensions_on: [row("rotation", "ste"), row("rotation", "rotation_only")],
    conserved.trade_off: [
        row("rotation", "reflection"),
        Mutation(conserved, "spectral_norm", lambda matrix: 0.5 * algebra.spectral_norm(matrix)),
    ],
    conserved.least_change: [
        row("rotation", "reflection"),
        Mutation(conserved, "spectral_norm", lambda matrix: 0.5 * algebra.spectral_norm(matrix)),
    ],
    conserved.a_batch_can: [
        Mutation(conserved, "exact_on_a_batch", lambda z, q, g: g),
        Mutation(conserved, "exact_on_a_batch", about_0),
        Mutation(conserved, "exact_on_a_batch", further_off),
        Mutation(conserved, "FEWEST", -2),
        row("rotation", "rotation_only"),
    ],
    conserved.matrix_law: [Mutation(conserved, "code_weight", no_weight)],
    conserved.scale_law: [row("rotation", "scale_only"), Mutation(conserved, "code_weight", lambda net: 0.0)],
    conserved.momentum_law: [
        Mutation(conserved, "code_weight", no_weight),
        Mutation(conserved.Network, "reconstruction_loss", beside),
    ],
    conserved.turning_law: [row("rotation", "reflection"), row("rotation", "ste")],
    conserved.centre_drops_out: [row("rotation", "ste")],
    conserved.balance_about_a_centre: [
        row("rotation", "ste"),
        row("reflection", "no_gain"),
        Mutation(conserved.Network, "reconstruction_loss", beside),
    ],
    conserved.error_is_paid_for: [row("rotation", "ste"), Mutation(conserved, "code_weight", lambda net: 0.0)],
    conserved.momentum_in_training: [
        Mutation(conserved, "momentum", lambda net: net.beta * net.weights[1] + net.weights[2].sum(0)),
    ],
    conserved.ema_law: [
        Mutation(conserved, "ema_codes", lambda codes, running, shares, sums, decay: codes),
        Mutation(
            conserved,
            "ema_codes",
            lambda codes, running, shares, sums, decay: SOUND_EMA(codes, running, shares, sums, 0.7),
        ),
        row("rotation", "rotation_only"),
    ],
    conserved.frozen_adam: [Mutation(conserved, "code_weight", no_weight)],
    conserved.faces_change_nothing: [
        row("rotation", "scale_only"),
        Mutation(conserved, "on_a_face", off_faces),
        Mutation(conserved.Network, "reconstruction_loss", beside),
        Mutation(conserved, "code_weight", no_weight),
    ],
}


@pytest.mark.parametrize("name", NAMES)
def test_law(name):
    assert_holds(name)


def test_every_law_has_a_mutation():
    assert [law.__name__ for law in MUTATIONS] == NAMES


@pytest.mark.parametrize("name, mutation", parameters(MUTATIONS))
def test_a_mutation_turns_it(name, mutation, monkeypatch):
    assert_turned(name, mutation, monkeypatch)


def test_a_stationary_point_pays_with_decay():
    """gamma E|z - q|^2 = decay_W |W|^2 - decay_E |(E, b)|^2 - (gamma/beta) decay_C |C|^2 where the network is at rest.

    The fixed point of the line's model is one: two codes, E and W numbers.
    """
    from book.theory import collapse

    x, codes = collapse.line()
    index = algebra.nearest(x, codes)
    cells, gamma, decay = collapse.Cells.of(x, codes[index]), 0.3, 0.5
    s, t, w = collapse.fixed_point("rotation", cells, gamma, decay)
    error = (s * x - t * codes[index]).square().sum(-1).mean()
    assert gamma * error == pytest.approx(decay * w**2, rel=1e-12)


@pytest.mark.parametrize("name", ["rotation", "ste"])
def test_both_laws_in_the_networks_of_the_book(name):
    from rotvq import VectorQuantizer
    from rotvq.training.models import VQVAE

    torch.manual_seed(0)
    vq = VectorQuantizer(8, 16, name, beta=0.7, gamma=0.3, generator=torch.Generator().manual_seed(0))
    rates = conserved.rates_in(VQVAE(1, vq).double(), torch.randn(4, 1, 28, 28, dtype=torch.float64))
    for left, right in rates.values():
        torch.testing.assert_close(left, right, rtol=1e-9, atol=1e-15)  # sums of some thousand numbers
