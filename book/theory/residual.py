r"""Laws of chapter 9: residual quantisers, whose levels quantise what the levels before them left over.

Level i is given x_i, with x_1 = z, takes the code q_i and leaves x_{i+1} = x_i - q_i to the next one; N is the number
of levels, and r_i = |q_i|/|x_i|. The laws draw latents and codes of their own and ask nothing of the pairs (z, q), so
they run on one kind of pair.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from book.algebra import apply, dot, identity, norm, spectral_norm, unit
from book.statements import AtMost, law
from book.theory.balance_law import total
from book.theory.inputs import GENERIC
from book.theory.one_equation import conditioning, definition
from rotvq.quantizers.residual import WIRINGS, ResidualVectorQuantizer

LEVELS, CODES = 3, 9
PLANE_ON = (2, 3, 8, 64)  # dimensions in which a latent and a code are hardly ever opposite
FEW = (2, 8)  # for laws of every member, which take long
ROOMY = (8, 64)  # dimensions with directions orthogonal to a latent and all its codes
CARRY = ("rotation", "reflection")  # members with G z = q
Draw = Callable[..., Tensor]


class Cascade:
    """A residual quantiser of random codes, called on random latents.

    Args:
        wiring: A key of ``WIRINGS``.
        member: The estimator, of each level or of the sum.
        draw: Gives normal numbers of a shape.
        z: The latents, (n, d), or their number and dimension.
    """

    def __init__(self, wiring: str, member: str, draw: Draw, z: Tensor | tuple[int, int]):
        self.wiring, self.member = wiring, member
        self.z = (draw(*z) if isinstance(z, tuple) else z).requires_grad_()
        n, d = self.z.shape
        codes = [draw(CODES, d) / 2**level for level in range(LEVELS)]
        options = {"init": codes, "beta": 0.0, "gamma": 1.0, "convention": "image"}
        self.vq = ResidualVectorQuantizer(d, CODES, LEVELS, wiring, member, **options).to(self.z.dtype)
        self.out = self.vq(self.z, details=True)

    @property
    def given(self) -> list[Tensor]:
        """x_1 to x_N, what each level is given, and x_{N+1}, what the last one leaves over."""
        return [*(level.z.detach() for level in self.out.levels), (self.z - self.out.z_q).detach()]

    @property
    def codes(self) -> list[Tensor]:
        """q_1 to q_N."""
        return [level.q.detach() for level in self.out.levels]

    @property
    def ratios(self) -> list[Tensor]:
        """r_1 to r_N, each (n, 1)."""
        return [norm(q) / norm(x) for x, q in zip(self.given, self.codes)]

    @cached_property
    def G(self) -> list[Tensor]:
        """The G of each level by its definition, each (n, d, d)."""
        return [definition(self.member, x, q) for x, q in zip(self.given, self.codes)]

    @property
    def J(self) -> Tensor:
        """What the wiring is said to make of the levels: the matrix of which the transpose flows back, (n, d, d)."""
        return JACOBIANS[self.wiring](self)

    @property
    def until(self) -> list[Tensor]:
        """The product of I - G_j over the levels j before i, for each level i and for the end."""
        products = [identity(self.z).expand(*self.z.shape, -1)]
        for G in self.G:
            products.append((identity(self.z) - G) @ products[-1])
        return products

    @property
    def size(self) -> Tensor:
        """What rounding is measured against, (n, 1)."""
        pairs = [*zip(self.given, self.codes), (self.z.detach(), self.out.z_q.detach())]
        amplified = torch.stack([1 + norm(q) / norm(x) for x, q in pairs]).prod(0)
        singular = [amplified * conditioning(self.member, x, q) for x, q in pairs]
        return torch.stack(singular).amax(0)

    def pull_back(self, g: Tensor) -> Tensor:
        """What arrives at the latents when g arrives at z_q."""
        return torch.autograd.grad(self.out.z_q, self.z, g, retain_graph=True)[0]


#: what flows back is the transpose of
JACOBIANS: dict[str, Callable[[Cascade], Tensor]] = {
    "graph": lambda one: identity(one.z) - one.until[-1],
    "detach": lambda one: sum(one.G),
    "once": lambda one: definition(one.member, one.z.detach(), one.out.z_q.detach()),
}


@law(chapter=9, kinds=GENERIC, dims=(1, 8), roundings=0)
def value_of_a_cascade(member, draw, n, d):
    "The value is the sum of the codes, bit for bit, whatever the wiring."
    ones = {wiring: Cascade(wiring, member, draw, (n, d)) for wiring in WIRINGS}
    return {wiring: (one.out.z_q, one.vq.decode(one.out.indices)) for wiring, one in ones.items()}


@law(chapter=9, kinds=GENERIC, dims=FEW)
def wirings(member, draw, n, d):
    "What flows back is J^T g: J = I - (I - G_N)...(I - G_1) for graph, the sum of the G_i for detach, G for once."
    ones, g = [Cascade(wiring, member, draw, (n, d)) for wiring in WIRINGS], draw(n, d)
    return {one.wiring: (one.pull_back(g), apply(one.J.mT, g), one.size * norm(g)) for one in ones}


@law(chapter=9, kinds=GENERIC, dims=PLANE_ON)
def times_levels(draw, n, d, t):
    "Under STE all that reaches z in detach at gamma is N times what reaches it in once at gamma/N."
    g, z, codes = draw(n, d), draw(n, d), [draw(CODES, d) for _ in range(LEVELS)]
    received = {}
    for wiring, gamma in (("detach", t), ("once", t / LEVELS)):
        z = z.detach().requires_grad_()
        vq = ResidualVectorQuantizer(d, CODES, LEVELS, wiring, "ste", init=codes, gamma=gamma, beta=0.0).to(z.dtype)
        out = vq(z)
        (received[wiring],) = torch.autograd.grad((g * out.z_q).sum() + out.loss, z)
    return received["detach"], LEVELS * received["once"]


@law(chapter=9, kinds=GENERIC, dims=PLANE_ON, members=CARRY)
def cascade_carries(member, draw, n, d):
    "If each level carries x_i to q_i, G_i x_i = q_i, graph and once carry z to the sum: <J^T g, z> = <g, z_q>."
    ones, g = [Cascade(wiring, member, draw, (n, d)) for wiring in ("graph", "once")], draw(n, d)
    size = [one.size * norm(g) * norm(one.z) for one in ones]
    return {one.wiring: (dot(one.pull_back(g), one.z), dot(g, one.out.z_q), s) for one, s in zip(ones, size)}


class Sides:
    """Both sides of the balance law in a small network: z = E h + b, a cascade, a linear map W, and a loss.

    ``encoder`` is <(E, b), dL> and ``decoder`` <W, dL>; ``g`` is the gradient of what the decoder sees.
    """

    def __init__(self, wiring: str, member: str, draw: Draw, n: int, d: int):
        h, V, y = draw(n, d + 2), draw(4, 5), draw(n, 4)
        E, b, W = (draw(*shape).requires_grad_() for shape in ((d, d + 2), (d,), (5, d)))
        self.cascade = Cascade(wiring, member, draw, (h @ E.T + b).detach())
        z_q = self.cascade.out.z_q
        loss = (torch.tanh(z_q @ W.T) @ V.T - y).square().sum()
        dz, dW, self.g = torch.autograd.grad(loss, [self.cascade.z, W, z_q], retain_graph=True)
        self.encoder = total(E, dz.T @ h) + total(b, dz.sum(0))
        self.decoder = total(W, dW)
        self.size = (self.cascade.size * norm(self.g) * (norm(self.cascade.z) + norm(z_q))).sum().detach()


@law(chapter=9, kinds=GENERIC, dims=FEW)
def balance_of_a_cascade(member, draw, n, d):
    "The balance law of a cascade: <(E, b), dL> - <W, dL> = E<g, J z - z_q>."
    sides = {}
    for wiring in WIRINGS:
        net = Sides(wiring, member, draw, n, d)
        gap = apply(net.cascade.J, net.cascade.z) - net.cascade.out.z_q
        sides[wiring] = net.encoder - net.decoder, total(net.g, gap), net.size
    return sides


@law(chapter=9, kinds=GENERIC, dims=PLANE_ON, members=CARRY)
def cascade_balanced(member, draw, n, d):
    "Where each level carries x_i to q_i, graph and once are balanced: <(E, b), dL> = <W, dL>."
    nets = {wiring: Sides(wiring, member, draw, n, d) for wiring in ("graph", "once")}
    return {wiring: (net.encoder, net.decoder, net.size) for wiring, net in nets.items()}


def worst_gradient(one: Cascade) -> Tensor:
    """What the cascade leaves over, x_{N+1}: the gradient that J^T - I changes most, (n, d)."""
    return one.given[-1]


@law(chapter=9, kinds=GENERIC, dims=PLANE_ON)
def distance_of_a_cascade(draw, n, d):
    """Under the rotation |J - I| = |z - z_q|/|z| for graph and for once: the relative error of the whole cascade.

    A gradient along what is left over changes by just this; of moves, the one along z.
    """
    sides = {}
    for wiring in ("graph", "once"):
        one = Cascade(wiring, "rotation", draw, (n, d))
        error, far = norm(one.given[-1]) / norm(one.z), jacobian_of(one) - identity(one.z)
        sides[wiring] = spectral_norm(far), error, one.size
        sides[f"{wiring}, gradient"] = norm(apply(far.mT, unit(worst_gradient(one)))), error, one.size
        sides[f"{wiring}, move"] = norm(apply(far, unit(one.z))), error, one.size
    return sides


def jacobian_of(one: Cascade) -> Tensor:
    """J as the package computes it: row i is J^T e_i, (n, d, d)."""
    axes = torch.eye(one.z.shape[-1], dtype=one.z.dtype)
    return torch.stack([one.pull_back(axis.expand_as(one.z)) for axis in axes], -2).double()


def blind(one: Cascade, g: Tensor) -> Tensor:
    """The part of g that is orthogonal to the latent and to all codes that it took."""
    known = torch.stack([one.z.detach(), *one.codes], -1).double()
    basis = torch.linalg.qr(known).Q
    for _ in range(2):  # a second time: the first leaves a rounding error
        g = g.double() - apply(basis, apply(basis.mT, g))
    return g


@law(chapter=9, kinds=GENERIC, dims=ROOMY)
def blind_directions(draw, n, d):
    "To a g orthogonal to z and its codes J is a number: 1 - prod(1 - r_i), the sum of the r_i, and |z_q|/|z|."
    sides = {}
    for wiring in WIRINGS:
        one = Cascade(wiring, "rotation", draw, (n, d))
        r, g = torch.stack(one.ratios), blind(one, draw(n, d))
        numbers = {"graph": 1 - (1 - r).prod(0), "detach": r.sum(0), "once": norm(one.out.z_q) / norm(one.z)}
        sides[wiring] = one.pull_back(g.to(one.z.dtype)), numbers[wiring] * g, one.size * norm(g)
    return sides


@law(chapter=9, kinds=GENERIC, dims=ROOMY)
def graph_is_nearer(draw, n, d):
    "If q_1 to q_N and x_{N+1} are pairwise orthogonal, graph moves a blind g by no more than once does."
    *axes, g = torch.linalg.qr(draw(n, d, LEVELS + 2).double()).Q.unbind(-1)
    parts = [draw(n, 1).double() * axis for axis in axes]  # q_1 to q_N, and what is left over
    given = [sum(parts[i:]) for i in range(LEVELS)]
    moved = g
    for x, q in zip(given, parts):
        moved = moved - apply(definition("rotation", x, q), moved)
    once = definition("rotation", given[0], sum(parts[:-1]))
    return AtMost(norm(moved), norm(g - apply(once, g)), 1.0)


@law(chapter=9, kinds=GENERIC, dims=FEW)
def commitments(member, draw, n, d):
    "Of level i's commitment |x_i - sg q_i|^2 z receives 2 C^T x_{i+1}; C = (I - G_{i-1})...(I - G_1) for graph, or I."
    sides = {}
    for wiring in WIRINGS:
        one = Cascade(wiring, member, draw, (n, d))
        for i, left in enumerate(one.given[1:]):
            C = one.until[i] if wiring == "graph" else identity(one.z)
            sides[f"{wiring} {i + 1}"] = commitment_gradient(one, i), 2 * apply(C.mT, left), one.size
    return sides


def commitment_gradient(one: Cascade, level: int) -> Tensor:
    """What z receives from the commitment of a level, summed over the latents."""
    loss = one.out.levels[level].loss * len(one.z)
    return torch.autograd.grad(loss, one.z, retain_graph=True)[0]


@law(chapter=9, kinds=GENERIC, dims=PLANE_ON, roundings=0)
def deep_commitments_are_lost(draw, n, d):
    "Under graph and STE the commitments of all levels but the first never reach the latents."
    one = Cascade("graph", "ste", draw, (n, d))
    return {f"level {i + 1}": (commitment_gradient(one, i), torch.zeros(n, d)) for i in range(1, LEVELS)}


@law(chapter=9, kinds=GENERIC, dims=PLANE_ON)
def deep_commitments_arrive(draw, n, d):
    "Under graph and the rotation |C| = |x_i|/|z| and C z = x_i: along z a commitment pushes as if x_i were the latent."
    one, sides = Cascade("graph", "rotation", draw, (n, d)), {}
    for i in range(LEVELS):
        x, left, push = one.given[i], one.given[i + 1], commitment_gradient(one, i)
        size = one.size * (norm(one.z) + norm(left)) ** 2
        sides[f"norm {i + 1}"] = spectral_norm(one.until[i]), norm(x) / norm(one.z), one.size
        sides[f"along z {i + 1}"] = dot(push, one.z), 2 * dot(x, left), size
    return sides


@law(chapter=9, kinds=GENERIC, dims=(3, 8, 64), members=("ste", "rotation"))
def projected_levels(member, draw, n, d):
    "Where level i maps latents by P and codes back by O, its G_i is O G P, and under STE O P: then graph is not STE."
    sides, g = {}, draw(n, d)
    for wiring in ("graph", "detach"):
        codes = [draw(CODES, 2) / 2**level for level in range(LEVELS)]
        vq = ResidualVectorQuantizer(d, CODES, LEVELS, wiring, member, init=codes, project_to=2).to(g.dtype)
        z = draw(n, d).requires_grad_()
        out = vq(z, details=True)
        G = [
            level.expand.weight.double() @ definition(member, x.z.detach(), x.q.detach()) @ level.reduce.weight.double()
            for level, x in zip(vq.layers, out.levels)
        ]
        left = identity(z)
        for one in G:
            left = (identity(z) - one) @ left
        J = {"graph": identity(z) - left, "detach": sum(G)}[wiring].detach()
        (received,) = torch.autograd.grad(out.z_q, z, g)
        ratios = [1 + norm(x.q) / norm(x.z) * conditioning(member, x.z.detach(), x.q) for x in out.levels]
        sides[wiring] = received, apply(J.mT, g), torch.stack(ratios).prod(0).detach() * norm(g)
    return sides
