"""Laws of chapters 1 to 8 that say more than one thing: each has a mutation for each thing it says."""

from __future__ import annotations

import pytest
import torch
from law_mutations import Mutation, assert_holds, assert_turned, parameters, row

from book import algebra
from book.statements import find
from book.theory import balance_law, bias, collapse, convergence, encoder_feels, missing_derivative, rotation
from rotvq.quantizers.estimators import Estimator

SOUND_FACE, SOUND_PUSH, SOUND_VECTORS = missing_derivative.nearest_face, dict(collapse.PUSH), collapse.two_vectors
SOUND_BEYOND, SOUND_PRINTED = missing_derivative.beyond_the_faces, rotation.as_printed
SOUND_LEAST, SOUND_POINT, SOUND_LOSS = collapse.least_error, collapse.fixed_point, balance_law.Network.loss


def second(z, codes):
    """The second nearest code."""
    return algebra.distances(z, codes).argsort(-1)[..., 1]


def face(factor):
    """A wrong distance to the nearest face."""

    def measured(z, codes):
        distance, normal = SOUND_FACE(z, codes)
        return factor * distance, normal

    return measured


class Leaky(Estimator):
    """The member with 1e-6 of STE in it."""

    def pull_back(self, z, q, g, **options):
        return super().pull_back(z, q, g, **options) + 1e-6 * g

    def __call__(self, z, q, **options):
        return super().__call__(z, q, **options) + 1e-6 * (z - z.detach())


LEAKY = Leaky("rotation", radial=False)
WITHOUT_CENTRING = Mutation(balance_law, "batch_normalised", lambda y: y / y.std(0))
ABOVE_ONLY = Mutation(collapse, "two_vectors", lambda push, cells, decay, sign: SOUND_VECTORS(push, cells, decay, 1))
BELOW_ONLY = Mutation(collapse, "two_vectors", lambda push, cells, decay, sign: SOUND_VECTORS(push, cells, decay, -1))

MUTATIONS = {
    missing_derivative.locally_constant: [
        Mutation(missing_derivative, "nearest_face", face(0.0)),  # a margin of nothing
        Mutation(missing_derivative, "nearest_face", face(0.9)),
        Mutation(missing_derivative, "nearest_face", face(100.0)),
        Mutation(missing_derivative, "nearest", second),
    ],
    missing_derivative.dithered: [
        Mutation(missing_derivative, "nearest", second),
        Mutation(missing_derivative, "straight_through", lambda z, q: 2 * z + (q - 2 * z).detach()),
        Mutation(missing_derivative, "straight_through", lambda z, q: z),  # no quantiser
    ],
    missing_derivative.half_spaces: [
        Mutation(missing_derivative, "nearest", second),
        Mutation(missing_derivative, "beyond_the_faces", lambda z, codes: -SOUND_BEYOND(z, codes)),  # turned
        Mutation(missing_derivative, "beyond_the_faces", lambda z, codes: SOUND_BEYOND(z, algebra.unit(codes))),
    ],
    rotation.article_form: [
        Mutation(rotation, "as_printed", algebra.rotation),
        Mutation(rotation, "as_printed", lambda a, b: SOUND_PRINTED(a, b) + 1e-9 * algebra.outer(a, b)),
    ],
    rotation.smallest: [
        Mutation(rotation, "fixing", lambda a, turn: algebra.mirror(a)),  # a map that does not fix a
        Mutation(rotation, "frobenius_norm", lambda matrix: 0.9 * algebra.frobenius_norm(matrix)),
        Mutation(rotation, "spectral_norm", lambda matrix: 0.9 * algebra.spectral_norm(matrix)),
    ],
    rotation.mirror_is_nearer: [
        Mutation(rotation, "spectral_norm", algebra.frobenius_norm),
        Mutation(rotation, "reflection", algebra.rotation),
    ],
    encoder_feels.sine_bound: [
        Mutation(encoder_feels, "sine_limit", lambda z, q: algebra.norm(q - z) / (algebra.norm(z) + algebra.norm(q))),
        Mutation(encoder_feels, "sine_limit", lambda z, q: algebra.norm(q - z) / algebra.norm(z)),  # not attained
    ],
    encoder_feels.breaks_opposite_the_code: [row("rotation", "scale_only"), row("rotation", "reflection")],
    balance_law.balance: [
        row("rotation", Leaky("rotation")),
        Mutation(balance_law.Network, "loss", lambda net, W, z_q: SOUND_LOSS(net, W, z_q) + z_q.square().sum()),
    ],
    balance_law.endings: [
        Mutation(balance_law, "along_itself", lambda p, dp: balance_law.total(p[0], dp[0])),  # the bias left out
        Mutation(balance_law, "ENDINGS", {"exponential": lambda x, E, b: balance_law.dense(x, E, b).exp()}),
    ],
    balance_law.scaling_derivative: [row("rotation", "rotation_only"), row("ste", "rotation")],
    balance_law.scaling_symmetry: [
        Mutation(balance_law, "nearest", lambda z, codes: (z.double() @ codes.double().mT).argmax(-1) * (z[0, 0] > 1)),
        Mutation(balance_law, "pull_back", lambda name, z, q, g: q.double() * g),
    ],
    balance_law.one_step: [
        Mutation(balance_law, "jacobian", lambda member, z, q: algebra.jacobian("ste", z, q)),
        row("rotation", Leaky("rotation")),
    ],
    balance_law.shared_weights: [row("radial_free", "rotation"), row("radial_free", "zero"), row("radial_free", LEAKY)],
    balance_law.normalised_decoder: [
        WITHOUT_CENTRING,
        Mutation(balance_law, "layer_normalised", balance_law.batch_normalised),
        row("rotation", "rotation_only"),
    ],
    balance_law.centroids: [
        Mutation(balance_law, "cell_means", lambda z, k: z[k]),  # a code at one latent of its cell
    ],
    balance_law.normalised_latents: [Mutation(torch.Tensor, "norm", lambda self, **options: 1 + self.square().sum())],
    collapse.model_is_closed: [
        Mutation(collapse, "PUSH", SOUND_PUSH | {"rotation": SOUND_PUSH["ste"]}),
        Mutation(collapse, "nearest", second),
    ],
    collapse.stationary_state: [
        Mutation(collapse, "threshold", lambda A, rho, decay: 0.7 * rho * A / decay / (1 - rho)),
        Mutation(collapse, "threshold", lambda A, rho, decay: 1.1 * rho * A / decay / (1 - rho)),
    ],
    collapse.comparison: [
        ABOVE_ONLY,
        BELOW_ONLY,
        Mutation(collapse, "threshold", lambda A, rho, decay: 0.7 * rho * A / decay / (1 - rho)),
        Mutation(collapse, "threshold", lambda A, rho, decay: 1.3 * rho * A / decay / (1 - rho)),
    ],
    collapse.continuity_is_needed: [
        Mutation(collapse, "jumping", lambda height: SOUND_PUSH["zero"]),  # continuous, and A(1) = 0 as well
    ],
    collapse.stable: [
        Mutation(collapse, "PUSH", SOUND_PUSH | {"rotation": lambda k, u: (k.rho * u**-20.0, k.rho * u**-20.0)}),
    ],
    collapse.loss_descent: [
        Mutation(collapse, "PUSH", SOUND_PUSH | {"rotation": SOUND_PUSH["ste"]}),
        Mutation(collapse, "fixed_point", lambda *args: 1.1 * SOUND_POINT(*args)),
        Mutation(collapse, "settled", lambda start, rho, gamma, decay_W: start),
        Mutation(collapse, "threshold", lambda A, rho, decay: 0.7 * rho * A / decay / (1 - rho)),
    ],
    collapse.no_way_back: [Mutation(collapse, "PUSH", SOUND_PUSH | {"rotation": SOUND_PUSH["scale_only"]})],
    bias.average_over_a_cell: [
        Mutation(bias, "mean_bias_of_ste", lambda loss, start, spacing: torch.tensor(0.0)),
    ],
    bias.inward_bias: [
        row("rotation", "rotation_only"),
        row("rotation", "scale_only"),
        Mutation(bias, "errors_around", lambda draw, d, length: length * torch.eye(d).double()),  # not mirrored
    ],
    bias.radial_bias: [row("rotation", "ste"), row("ste", "rotation"), row("rotation", "scale_only")],
    bias.two_codes: [row("ste", "constant"), Mutation(bias, "nearest", second)],
    convergence.biased_descent: [
        Mutation(convergence, "longest_step", lambda h_max: 1.1 / h_max),
        Mutation(convergence, "longest_step", lambda h_max: 3 / h_max),
    ],
    collapse.share_of_normal_data: [
        Mutation(collapse, "falls_with", lambda codes, d: codes ** (-1 / d)),
        Mutation(collapse, "falls_with", lambda codes, d: 1.01 * codes ** (-2 / d)),
        Mutation(collapse, "of_normal", collapse.of_uniform),  # data that are not normal
    ],
    collapse.error_of_k_codes: [
        Mutation(collapse, "falls_with", lambda codes, d: codes ** (-1 / d)),
        Mutation(collapse, "least_error", lambda codes, d, density: SOUND_LEAST(codes, d, 0.9 * density)),
    ],
    convergence.relative_floor: [
        row("rotation", Estimator("identity", (4.0, 4.0))),  # steps longer than 1/h_max
        row("rotation", "zero"),  # a path that stands still
    ],
}


@pytest.mark.parametrize("name", [law.__name__ for law in MUTATIONS if find(law.__name__).chapter < 5])
def test_law(name):
    """test_laws_training.py tries those of later chapters."""
    assert_holds(name)


@pytest.mark.parametrize("name, mutation", parameters(MUTATIONS))
def test_a_mutation_turns_it(name, mutation, monkeypatch):
    assert_turned(name, mutation, monkeypatch)
