"""What automatic differentiation sends where: to the encoder, to the codebook, to a parameter of G."""

from __future__ import annotations

import torch

from book.algebra import close, gradient_map, identity, largest, nearest, norm, normal, pull_back, vector
from book.ledger.evidence.samples import triples
from book.statements import Finding, evidence
from book.theory.one_equation import stopped
from rotvq.quantizers.estimators import ESTIMATORS
from rotvq.quantizers.learned_gain import LearnedGain
from rotvq.quantizers.methods.second_pass import exact


def _backward(z, q, value):
    """Gradients of sum(g * z_q) to z and q for a rule value(z, q); zeros where nothing flows."""
    z, q, g = z.clone().requires_grad_(), q.clone().requires_grad_(), normal(*z.shape, seed=77)
    grads = torch.autograd.grad((g * value(z, q)).sum(), (z, q), allow_unused=True)
    return g, *(torch.zeros_like(z) if x is None else x for x in grads)


def _general(G):
    return lambda z, q: G.detach() @ z + (q - G @ z).detach()


@evidence
def straight_through():
    """z + sg[q - z] hands g to z unchanged."""
    worst = 0.0
    for z, q, _ in triples(2, 8):
        g, dz, _ = _backward(z, q, lambda z, q: z + (q - z).detach())
        worst = largest(worst, norm(dz - g))
    return Finding.of(worst == 0, largest_difference=worst)


@evidence
def codebook_gets_nothing_from_reconstruction():
    """Under both estimators the reconstruction loss sends no gradient to the codes: q stands inside sg."""
    most = 0.0
    for z, q, _ in triples(2, 8):
        for rule in (lambda z, q: z + (q - z).detach(), _general(gradient_map(z, q)), ESTIMATORS["rotation"]):
            most = largest(most, norm(_backward(z, q, rule)[2]))
    return Finding.of(most == 0, most == 0, largest_gradient_to_a_code=most)


@evidence
def reconstruction_reaches_codebook():
    """Proposition 8.2 wants sum dL_rec/dq for a code; autograd gives 0."""
    f = codebook_gets_nothing_from_reconstruction()
    return Finding.of(not f.claim, f.claim, **f.numbers)


@evidence
def only_the_backward_pass_changes():
    """Value, decoder gradients and code gradients are the same under STE and rotation; only the encoder's differ."""
    x, E, W, codes = normal(64, 4, seed=1), normal(4, 3, seed=2), normal(3, 4, seed=3), normal(6, 3, seed=4)
    E, W, codes = (p.requires_grad_() for p in (E, W, codes))
    results = {}
    for name in ("ste", "rotation"):
        z = x @ E
        q = codes[nearest(z.detach(), codes.detach())]
        z_q = ESTIMATORS[name](z, q)
        loss = (x - z_q @ W).square().sum() + (q - z.detach()).square().sum() + 0.25 * (z - q.detach()).square().sum()
        results[name] = (loss.detach(), *torch.autograd.grad(loss, (W, codes, E)))
    same = [close(u, v) for u, v in zip(*results.values(), strict=True)]
    return Finding.of(
        same == [True, True, True, False],
        same_value=same[0],
        same_decoder_gradient=same[1],
        same_code_gradient=same[2],
        same_encoder_gradient=same[3],
    )


def commitment(z, q, gamma=0.25):
    """gamma |z - q|^2, for codes that are constants."""
    return gamma * (z - q).square().sum()


@evidence
def total_gradient():
    """Under STE the reconstruction part is copied; the commitment term adds 2 gamma (z - q) to it."""
    z, q = vector(1.0, 0.5).requires_grad_(), vector(0.6, 0.2)
    z_q = z + (q - z).detach()
    reconstruction = (z_q - 1).square().sum()
    (grad,) = torch.autograd.grad(reconstruction + commitment(z, q), z, retain_graph=True)
    (of_reconstruction,) = torch.autograd.grad(reconstruction, z)
    g = 2 * (q - 1)
    return Finding.of(
        close(grad, g),
        close(of_reconstruction, g) and close(grad, g + 0.5 * (z.detach() - q)),
        length_of_the_total=norm(grad),
        length_of_the_copied_part=norm(g),
    )


@evidence
def loss_gradients():
    """Codebook term to q only, commitment term to z only, with the weights beta and gamma."""
    z, q, beta, gamma = normal(8, 3, seed=1), normal(8, 3, seed=2), 0.7, 0.3
    z, q = z.requires_grad_(), q.requires_grad_()
    loss = beta * (q - z.detach()).square().sum() + gamma * (z - q.detach()).square().sum()
    dz, dq = torch.autograd.grad(loss, (z, q))
    e = (q - z).detach()
    return Finding.of(close(dz, -2 * gamma * e) and close(dq, 2 * beta * e), beta=beta, gamma=gamma)


def some_map(h):
    """A matrix that is neither symmetric nor orthogonal."""
    return normal(len(h), len(h), seed=5) + torch.outer(h, h)


@evidence
def general_estimator(which):
    """z_q = sg[G] z + sg[q - G z]: value q, Jacobian G, gradient G^T g for any G."""
    value = gradient = authors = jacobian = 0.0
    for z, q, h in triples(2, 8):
        G = some_map(h)
        g, dz, _ = _backward(z, q, _general(G))
        value = largest(value, norm(_general(G)(z, q) - q))
        gradient = largest(gradient, norm(dz - G.T @ g) / norm(G.T @ g))
        J = torch.autograd.functional.jacobian(lambda z, q=q, G=G: _general(G)(z, q), z)
        jacobian = largest(jacobian, (J - G).abs().max())
        authors = largest(authors, norm(G @ dz - g) / norm(g))
    claim, fix = {
        "value": (value < 1e-10, None),
        "gradient": (gradient < 1e-12, None),
        "jacobian": (jacobian == 0, None),
        "order of the sides": (authors < 1e-10, gradient < 1e-12),
    }[which]
    return Finding.of(claim, fix, error_of_value=value, error_of_GTg=gradient, error_of_g_equals_G_dz=authors)


@evidence
def authors_equation():
    """dL/dz_q = G dL/dz would give (1/r) R^T g to the encoder; autograd gives r R^T g: they differ by r^2."""
    z, q, g = vector(1.0, 0.5), vector(2.0, 2.0), vector(0.3, -1)
    G = gradient_map(z, q)
    autograd, authors = G.T @ g, torch.linalg.solve(G, g)
    r2 = float((norm(q) / norm(z)) ** 2)
    return Finding.of(
        close(autograd, authors), close(autograd, r2 * authors), r_squared=r2, ratio=norm(autograd) / norm(authors)
    )


@evidence
def chain_rule():
    """With column gradients the chain rule carries the transpose: dL/dz = (dq/dz)^T dL/dq."""
    A, z, g = normal(3, 3, seed=1), normal(3, seed=2).requires_grad_(), normal(3, seed=3)
    (dz,) = torch.autograd.grad((g * torch.tanh(A @ z)).sum(), z)
    J = torch.autograd.functional.jacobian(lambda z: torch.tanh(A @ z), z.detach())
    return Finding.of(close(dz, J @ g), close(dz, J.T @ g), error_without_transpose=norm(dz - J @ g))


@evidence
def encoder_gradient(name):
    """The encoder's gradient is (g G + 2 gamma (z - q)) J in rows, J = dz/dtheta; as printed G is transposed."""
    A, theta, q, g = normal(3, 3, seed=1), normal(3, seed=2).requires_grad_(), normal(3, seed=3), normal(3, seed=4)
    z = torch.tanh(A @ theta)
    loss = (g * ESTIMATORS[name](z, q)).sum() + 0.5 * (z - q).square().sum()
    (grad,) = torch.autograd.grad(loss, theta)
    J = torch.autograd.functional.jacobian(lambda t: torch.tanh(A @ t), theta.detach())
    map_ = gradient_map(z.detach(), q) if name == "rotation" else torch.eye(3, dtype=g.dtype)
    printed, right = (norm((g @ M + (z - q).detach()) @ J - grad) for M in (map_.T, map_))
    return Finding.of(
        printed < 1e-12,
        None if name == "ste" else right < 1e-12,
        error_with_G_transposed=printed,
        error_with_G=right,
    )


@evidence
def detach_needed():
    """Without sg on G, G(z) z = q identically: the encoder gets 0 and the code gets all of g."""
    z, q, g = normal(3, 6, seed=8).unbind()
    z, q = z.requires_grad_(), q.requires_grad_()
    dz, dq = torch.autograd.grad((g * (gradient_map(z, q) @ z)).sum(), (z, q))
    return Finding.of(norm(dz) < 1e-12 and close(dq, g), gradient_to_z=norm(dz), gradient_to_q_minus_g=norm(dq - g))


@evidence
def value_without_gradient():
    """z_q = q is G z, with G^T g attached by hand; alone it leaves the encoder without a gradient."""
    z, q = normal(2, 6, seed=8).unbind()
    _, alone, _ = _backward(z, q, lambda z, q: q + 0 * z.detach())
    g, attached, _ = _backward(z, q, ESTIMATORS["rotation"])
    value, G = ESTIMATORS["rotation"](z, q), gradient_map(z, q)
    return Finding.of(
        close(value, q) and close(G @ z, q) and close(attached, G.T @ g),
        error_of_Gz=norm(G @ z - q),
        gradient_to_z_when_attached=norm(attached),
        gradient_to_z_of_q_alone=norm(alone),
    )


@evidence
def parameter_in_sg():
    """A parameter inside sg[G] has gradient exactly 0. The loss after the step has one, and a gain can be fitted."""
    z, q, g = normal(3, 6, seed=3).unbind()
    z = z.requires_grad_()
    t = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    G = t * gradient_map(z.detach(), q) + (1 - t) * torch.eye(6)
    grad = torch.autograd.grad(
        (g * (stopped(G) @ z + (q - G @ z).detach())).sum(), (z, t), allow_unused=True, retain_graph=True
    )[1]
    after = (z.detach() - 0.1 * G.T @ g - q).square().sum()
    outer = torch.autograd.grad(after, t)[0]
    gain = LearnedGain(sigma=0.1)
    gain.observe(lambda z: 3 * z.sum((-1, -2)), torch.zeros(4, 2), torch.ones(4, 2), normal(8, 4, 2).float())
    return Finding.of(
        grad is not None and grad != 0,
        grad is None and outer != 0 and abs(gain() - 3) < 1e-3,
        gradient_of_the_parameter=0.0 if grad is None else grad,
        gradient_of_the_loss_after_the_step=outer,
        gain_fitted_where_3_is_best=gain(),
    )


@evidence
def any_direction():
    """sg[G] z + sg[q - G z] is STE at G = I, hands on nothing at 0 and alpha g at alpha I.

    G = g u^T / |g|^2 turns g into any chosen u, and any M gives M^T g.
    """
    z, q, u = normal(3, 5, seed=2).unbind()
    eye, M = identity(z), some_map(normal(5, seed=3))
    g, ste, _ = _backward(z, q, ESTIMATORS["ste"])
    wanted = [(eye, ste), (0 * eye, 0 * g), (2.5 * eye, 2.5 * g), (M, M.T @ g), (torch.outer(g, u) / (g @ g), u)]
    errors = [norm(_backward(z, q, _general(G))[1] - x) for G, x in wanted]
    return Finding.of(largest(*errors) < 1e-12, largest_error=largest(*errors))


@evidence
def ste_cost():
    """STE's pull-back moves d numbers: its Jacobian has rank d."""
    ranks = {
        d: int(
            torch.linalg.matrix_rank(
                torch.autograd.functional.jacobian(
                    lambda g, d=d: pull_back("ste", normal(d, seed=1), normal(d, seed=2), g), normal(d, seed=3)
                )
            )
        )
        for d in (4, 64)
    }
    return Finding.of(
        ranks[4] == ranks[64], ranks == {4: 4, 64: 64}, numbers_moved_d_4=ranks[4], numbers_moved_d_64=ranks[64]
    )


def ste_as_printed(z, q):
    """The value of e - (q - e)."""
    return z - (q - z)


@evidence
def printed_ste():
    """e - (q - e) has the value 2 e - q; e + sg[q - e] has the value q and hands g on."""
    z, q = normal(2, 4, seed=1)
    g, received, _ = _backward(z, q, ESTIMATORS["ste"])
    return Finding.of(
        close(ste_as_printed(z, q), q),
        close(ESTIMATORS["ste"](z, q), q) and close(received, g),
        error_as_printed=norm(ste_as_printed(z, q) - q),
    )


@evidence
def product_rule():
    """Inside a cell the full derivative of f(e) e exists and is 0, so f'(e) e = -f(e)."""
    z, q = normal(2, 4, seed=5)
    J = torch.autograd.functional.jacobian(lambda z: gradient_map(z, q) @ z, z)
    return Finding.of(
        not J.isfinite().all(),
        J.abs().max() < 1e-12,
        largest_entry_of_the_full_derivative=J.abs().max(),
        size_of_f=torch.linalg.matrix_norm(gradient_map(z, q)),
    )


def second_pass(z, objective):
    """What the double pass hands to z: of the loss with quantiser nothing, of the small loss without it all."""
    z = z.clone().requires_grad_()
    return torch.autograd.grad(exact(z, torch.zeros_like(z), objective), z)[0]


@evidence
def trained_as_an_autoencoder():
    """By the double pass an encoder receives the gradient of the loss without quantiser, that of an autoencoder."""
    x, E, W = normal(20, 5, seed=1), normal(5, 3, seed=2), normal(3, 5, seed=3)

    def loss(z):
        return (x - torch.tanh(z @ W)).square().sum()

    z = (x @ E).requires_grad_()
    (autoencoder,) = torch.autograd.grad(loss(z), z)
    gap = norm(second_pass(z.detach(), loss) - autoencoder).max() / norm(autoencoder).max()
    return Finding.of(gap < 1e-6, gap < 1e-6, largest_relative_gap=gap)


def curvature(loss, q):
    """The Hessian of a loss at q."""
    return torch.autograd.functional.hessian(loss, q)


@evidence
def hessian_step():
    """grad L(e) - (g + H (e - q)) falls as |e - q|^2, for a smooth loss that is not quadratic."""
    q, h = normal(2, 4, seed=6)

    def loss(x):
        return torch.logsumexp(2 * x, 0) + x.pow(4).sum()

    def slope(x):
        return torch.autograd.functional.jacobian(loss, x)

    H = curvature(loss, q)
    rests = [float(norm(slope(q + t * h) - slope(q) - t * H @ h)) for t in (1e-2, 1e-3)]
    return Finding.of(abs(rests[0] / rests[1] / 100 - 1) < 0.1, remainder_at_0_01=rests[0], remainder_at_0_001=rests[1])


def inverse_square(z, q):
    """The factor 1/(8 |q - e|^2) of A.9.2."""
    return 1 / (8 * norm(q - z).square())


@evidence
def inverse_square_scale():
    """With the factor 1/(8 |q - e|^2) the value is q and the gradient finite, wherever e is not q.

    Near q it makes the gradient as long as one likes.
    """
    z, g = vector(1.0, 0), vector(0, 1.0)
    near, nearer = (vector(1.0, h) for h in (0.1, 0.001))
    pulled = [norm(ESTIMATORS["rotation_only"].pull_back(z, q, g, gain=inverse_square(z, q))) for q in (near, nearer)]
    values = [norm(ESTIMATORS["rotation_only"](z, q) - q) for q in (near, nearer)]
    expected = [float(inverse_square(z, q)) for q in (near, nearer)]
    gap = largest(*(abs(length / gain - 1) for length, gain in zip(pulled, expected, strict=True)))
    return Finding.of(
        largest(*values) == 0 and gap < 1e-12,
        gain_at_distance_0_1=pulled[0],
        gain_at_distance_0_001=pulled[1],
    )
