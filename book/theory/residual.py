r"""Laws of chapter 9: residual quantisers, whose levels quantise what the levels before them left over.

Level i is given x_i, with x_1 = z, takes the code q_i and leaves x_{i+1} = x_i - q_i to the next one; N is the number
of levels, and r_i = |q_i|/|x_i|. The laws draw latents and codes of their own and ask nothing of the pairs (z, q), so
they run on one kind of pair, and for several N.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from functools import cached_property

import torch
from torch import Tensor

from book.algebra import apply, dot, identity, norm, spectral_norm, unit
from book.statements import AtMost, law
from book.theory.balance_law import total
from book.theory.inputs import GENERIC
from book.theory.one_equation import conditioning, definition
from rotvq.quantizers.lookup import nearest
from rotvq.quantizers.residual import WIRINGS, ResidualVectorQuantizer

DEPTHS, CODES = (1, 2, 4), 9  #: numbers of levels, and of codes of a level
DEEPEST = max(DEPTHS)
ENDS = (1, DEEPEST)  #: the numbers of levels for laws of every member, which take long
FEW = (1, 8)  # for laws of every member, which take long
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
        codes: The number of levels, whose codes are then drawn, or the codes of each level.
    """

    def __init__(
        self, wiring: str, member: str, draw: Draw, z: Tensor | tuple[int, int], codes: int | list[Tensor] = DEEPEST
    ):
        self.wiring, self.member = wiring, member
        self.z = (draw(*z) if isinstance(z, tuple) else z).requires_grad_()
        n, d = self.z.shape
        books = [draw(CODES, d) / 2**level for level in range(codes)] if isinstance(codes, int) else codes
        options = {"init": books, "beta": 0.0, "gamma": 1.0, "convention": "image"}
        sizes = [len(book) for book in books]
        self.vq = ResidualVectorQuantizer(d, sizes, len(books), wiring, member, **options).to(self.z.dtype)
        for level, book in zip(self.vq.layers, books):
            level.codebook.weight.data = book.clone()  # it starts in float32, rounded
        self.out = self.vq(self.z, details=True)

    @property
    def name(self) -> str:
        """Which of several it is."""
        return f"{self.wiring}, N = {len(self.out.levels)}"

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
        """What rounding is measured against, (n, 1). At x = 0, where G is I, nothing is magnified."""
        pairs = [*zip(self.given, self.codes), (self.z.detach(), self.out.z_q.detach())]
        zero = [norm(x) == 0 for x, _ in pairs]
        ratios = [torch.where(at_0, 1.0, norm(q) / norm(x)) for at_0, (x, q) in zip(zero, pairs)]
        singular = [torch.where(at_0, 1.0, conditioning(self.member, x, q)) for at_0, (x, q) in zip(zero, pairs)]
        return (1 + torch.stack(ratios)).prod(0) * torch.stack(singular).amax(0)

    def pull_back(self, g: Tensor) -> Tensor:
        """What arrives at the latents when g arrives at z_q."""
        return torch.autograd.grad(self.out.z_q, self.z, g, retain_graph=True)[0]

    def given_pull_back(self, level: int, v: Tensor) -> Tensor:
        """What arrives at the latents when v arrives at what a level is given: C^T v."""
        return torch.autograd.grad(self.out.levels[level].z, self.z, v, retain_graph=True)[0]


#: what flows back is the transpose of
JACOBIANS: dict[str, Callable[[Cascade], Tensor]] = {
    "graph": lambda one: identity(one.z) - one.until[-1],
    "detach": lambda one: sum(one.G),
    "once": lambda one: definition(one.member, one.z.detach(), one.out.z_q.detach()),
}


def cascades(
    member: str, draw: Draw, n: int, d: int, wirings: Iterable[str] = WIRINGS, depths: Iterable[int] = DEPTHS
) -> list[Cascade]:
    """One of each wiring and each number of levels, all on latents of their own."""
    return [Cascade(wiring, member, draw, (n, d), N) for wiring, N in itertools.product(wirings, depths)]


BALANCED = ("graph", "once")  #: the wirings that carry z to z_q where each level carries x_i to q_i


@law(chapter=9, kinds=GENERIC, dims=(1, 8), roundings=0)
def value_of_a_cascade(member, draw, n, d):
    "The value is the sum of the codes, bit for bit, whatever the wiring."
    ones = cascades(member, draw, n, d, depths=ENDS)
    return {one.name: (one.out.z_q, one.vq.decode(one.out.indices)) for one in ones}


@law(chapter=9, kinds=GENERIC, dims=FEW)
def wirings(member, draw, n, d):
    "What flows back is J^T g: J = I - (I - G_N)...(I - G_1) for graph, the sum of the G_i for detach, G for once."
    ones, g = cascades(member, draw, n, d, depths=ENDS), draw(n, d)
    return {one.name: (one.pull_back(g), apply(one.J.mT, g), one.size * norm(g)) for one in ones}


@law(chapter=9, kinds=GENERIC)
def times_levels(draw, n, d, t):
    "Under STE all that reaches z in detach at gamma is N times what reaches it in once at gamma/N."
    g, z, found = draw(n, d), draw(n, d), {}
    for N in DEPTHS:
        codes, received = [draw(CODES, d) for _ in range(N)], {}
        for wiring, gamma in (("detach", t), ("once", t / N)):
            z = z.detach().requires_grad_()
            vq = ResidualVectorQuantizer(d, CODES, N, wiring, "ste", init=codes, gamma=gamma, beta=0.0).to(z.dtype)
            out = vq(z)
            (received[wiring],) = torch.autograd.grad((g * out.z_q).sum() + out.loss, z)
        found[f"N = {N}"] = received["detach"], N * received["once"]
    return found


@law(chapter=9, kinds=GENERIC, members=CARRY)
def cascade_carries(member, draw, n, d):
    "If each level carries x_i to q_i, G_i x_i = q_i, graph and once carry z to the sum: <J^T g, z> = <g, z_q>."
    ones, g = cascades(member, draw, n, d, BALANCED), draw(n, d)
    size = [one.size * norm(g) * norm(one.z) for one in ones]
    return {one.name: (dot(one.pull_back(g), one.z), dot(g, one.out.z_q), s) for one, s in zip(ones, size)}


@law(chapter=9, kinds=GENERIC, members=CARRY)
def nothing_left_over(member, draw, n, d):
    """A latent that is a code leaves x_2 = 0. If all later levels have the code 0, z_q = z and J = I.

    If they have not, J = I in graph all the same, and <J^T g, z> misses <g, z_q> by <g, z_q - z>; once still has it.
    """
    z, g, found = draw(n, d), draw(n, d), {}
    later = {"a code 0": torch.zeros(1, d, dtype=z.dtype), "no code 0": draw(1, d)}
    for (name, first), wiring in itertools.product(later.items(), BALANCED):
        books = [z.clone(), *(torch.cat([first, draw(2, d) + 9]) for _ in range(DEEPEST - 1))]
        one = Cascade(wiring, member, draw, z.clone(), books)
        received, z_q, case = one.pull_back(g), one.out.z_q, f"{name}, {wiring}"
        is_spoilt = (name, wiring) == ("no code 0", "graph")
        missing, size = dot(g, z_q - z) if is_spoilt else 0.0, one.size * norm(g)
        found[f"{case}: balance"] = dot(received, z), dot(g, z_q) - missing, size * (norm(z) + norm(z_q))
        if name == "a code 0":
            found[f"{case}: z_q"] = z_q, z, norm(z)
        if name == "a code 0" or wiring == "graph":
            found[f"{case}: J"] = received, g, size
    return found


class Sides:
    """Both sides of the balance law in a small network: z = E h + b, a cascade, a linear map W, and a loss.

    ``encoder`` is <(E, b), dL_rec> and ``decoder`` <W, dL_rec>; ``commitment`` is <(E, b), .> of the commitments, and
    ``g`` the gradient of what the decoder sees. ``fitted`` codes are the means of what their level is given.
    """

    def __init__(
        self, wiring: str, member: str, draw: Draw, n: int, d: int, levels: int = DEEPEST, fitted: bool = False
    ):
        h, V, y = draw(n, d + 2), draw(4, 5), draw(n, 4)
        E, b, W = (draw(*shape).requires_grad_() for shape in ((d, d + 2), (d,), (5, d)))
        z = (h @ E.T + b).detach()
        self.cascade = Cascade(wiring, member, draw, z, centroid_books(z, levels) if fitted else levels)
        z_q = self.cascade.out.z_q
        loss = (torch.tanh(z_q @ W.T) @ V.T - y).square().sum()
        dz, dW, self.g = torch.autograd.grad(loss, [self.cascade.z, W, z_q], retain_graph=True)
        self.encoder = total(E, dz.T @ h) + total(b, dz.sum(0))
        self.decoder = total(W, dW)
        committed = self.cascade.out.loss * len(z)  # the sum over latents
        (dz,) = torch.autograd.grad(committed, self.cascade.z, retain_graph=True)
        self.commitment = total(E, dz.T @ h) + total(b, dz.sum(0))
        self.size = (self.cascade.size * norm(self.g) * (norm(self.cascade.z) + norm(z_q))).sum().detach()


@law(chapter=9, kinds=GENERIC, dims=FEW)
def balance_of_a_cascade(member, draw, n, d):
    "The balance law of a cascade: <(E, b), dL> - <W, dL> = E<g, J z - z_q>."
    sides = {}
    for wiring, N in itertools.product(WIRINGS, ENDS):
        net = Sides(wiring, member, draw, n, d, N)
        gap = apply(net.cascade.J, net.cascade.z) - net.cascade.out.z_q
        sides[net.cascade.name] = net.encoder - net.decoder, total(net.g, gap), net.size
    return sides


@law(chapter=9, kinds=GENERIC, members=CARRY)
def cascade_balanced(member, draw, n, d):
    "Where each level carries x_i to q_i, graph and once are balanced: <(E, b), dL> = <W, dL>."
    nets = [Sides(wiring, member, draw, n, d, N) for wiring, N in itertools.product(BALANCED, DEPTHS)]
    return {net.cascade.name: (net.encoder, net.decoder, net.size) for net in nets}


def worst_gradient(one: Cascade) -> Tensor:
    """What the cascade leaves over, x_{N+1}: the gradient that J^T - I changes most, (n, d)."""
    return one.given[-1]


@law(chapter=9, kinds=GENERIC)
def distance_of_a_cascade(draw, n, d):
    """Under the rotation |J - I| = |z - z_q|/|z| for graph and for once: the relative error of the whole cascade.

    A gradient along what is left over changes by just this; of moves, the one along z.
    """
    sides = {}
    for one in cascades("rotation", draw, n, d, BALANCED):
        error, far = norm(one.given[-1]) / norm(one.z), jacobian_of(one) - identity(one.z)
        sides[one.name] = spectral_norm(far), error, one.size
        sides[f"{one.name}, gradient"] = norm(apply(far.mT, unit(worst_gradient(one)))), error, one.size
        sides[f"{one.name}, move"] = norm(apply(far, unit(one.z))), error, one.size
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
    for one in cascades("rotation", draw, n, d):
        r, g = torch.stack(one.ratios), blind(one, draw(n, d))
        numbers = {"graph": 1 - (1 - r).prod(0), "detach": r.sum(0), "once": norm(one.out.z_q) / norm(one.z)}
        sides[one.name] = one.pull_back(g.to(one.z.dtype)), numbers[one.wiring] * g, one.size * norm(g)
    return sides


@law(chapter=9, kinds=GENERIC, dims=ROOMY)
def graph_is_nearer(draw, n, d):
    """If q_1 to q_N and x_{N+1} are pairwise orthogonal, graph moves a blind g by no more than once does.

    Then 0 <= prod(1 - r_i) <= 1 - |z_q|/|z|, equal for N = 1.
    """
    found = {}
    for N in DEPTHS:
        *axes, g = torch.linalg.qr(draw(n, d, N + 2).double()).Q.unbind(-1)
        parts = [draw(n, 1).double().exp() * axis for axis in axes]  # q_1 to q_N, and what is left over
        given, moved = [sum(parts[i:]) for i in range(N)], g
        for x, q in zip(given, parts):
            moved = moved - apply(definition("rotation", x, q), moved)
        once = definition("rotation", given[0], sum(parts[:-1]))
        graph, other = dot(moved, g), dot(g - apply(once, g), g)
        found[f"N = {N}"] = AtMost(graph, other, 1.0)
        found[f"N = {N}, from 0"] = AtMost(torch.zeros(()), graph, 1.0)
        found[f"N = {N}, a number"] = (moved, graph * g, 1.0)
        if N == 1:
            found["equal"] = (graph, other, 1.0)
    return found


@law(chapter=9, kinds=GENERIC, dims=FEW)
def commitments(member, draw, n, d):
    "Of level i's commitment |x_i - sg q_i|^2 z receives 2 C^T x_{i+1}; C = (I - G_{i-1})...(I - G_1) for graph, or I."
    sides = {}
    for wiring in WIRINGS:
        one = Cascade(wiring, member, draw, (n, d))
        for i, left in enumerate(one.given[1:]):
            C = one.until[i] if wiring == "graph" else identity(one.z)
            size = one.size * (1 + norm(left))
            sides[f"{wiring} {i + 1}"] = commitment_gradient(one, i), 2 * apply(C.mT, left), size
    return sides


def commitment_gradient(one: Cascade, level: int) -> Tensor:
    """What z receives from the commitment of a level, summed over the latents."""
    loss = one.out.levels[level].loss * len(one.z)
    return torch.autograd.grad(loss, one.z, retain_graph=True)[0]


@law(chapter=9, kinds=GENERIC, roundings=0)
def deep_commitments_are_lost(draw, n, d):
    "Under graph and STE the commitments of all levels but the first never reach the latents."
    one = Cascade("graph", "ste", draw, (n, d))
    return {f"level {i + 1}": (commitment_gradient(one, i), torch.zeros(n, d)) for i in range(1, DEEPEST)}


@law(chapter=9, kinds=GENERIC)
def deep_commitments_arrive(draw, n, d):
    """Under graph and the rotation |C| = |x_i|/|z| and C z = x_i, C the derivative by z of what level i is given.

    So along z a commitment pushes as if x_i were the latent.
    """
    one, sides = Cascade("graph", "rotation", draw, (n, d)), {}
    axes = torch.eye(d, dtype=one.z.dtype)
    for i in range(DEEPEST):
        x, left, push = one.given[i], one.given[i + 1], commitment_gradient(one, i)
        size = one.size * (norm(one.z) + norm(left)) ** 2
        C = torch.stack([one.given_pull_back(i, axis.expand_as(one.z)) for axis in axes], -2).double()
        sides[f"norm {i + 1}"] = spectral_norm(C), norm(x) / norm(one.z), one.size
        sides[f"C z {i + 1}"] = apply(C, one.z), x, one.size * norm(one.z)
        sides[f"along z {i + 1}"] = dot(push, one.z), 2 * dot(x, left), size
    return sides


def centroid_books(z: Tensor, levels: int) -> list[Tensor]:
    """Two codes (2, d) a level by k-means, run until no latent changes its code: each is the mean of its cell.

    They start at the means of either half of the latents, so that no cell is likely to have one latent alone.
    """
    books, left = [], z
    for _ in range(levels):
        codes = torch.stack([half.mean(0) for half in left.chunk(2)])
        index, before = nearest(left, codes), None
        while before is None or not torch.equal(index, before):
            sums = torch.zeros_like(codes).index_add(0, index, left)
            counts = torch.bincount(index, minlength=len(codes)).unsqueeze(-1)
            codes = torch.where(counts > 0, sums / counts.clamp_min(1), codes)
            before, index = index, nearest(left, codes)
        books.append(codes)
        left = left - codes[index]
    return books


@law(chapter=9, kinds=GENERIC, members=(*CARRY, "ste"), tolerance=1e-11)
def who_pays_in_a_cascade(member, draw, n, d, t):
    """Half of |(E, b)|^2 - |W|^2 changes in graph at -2 gamma sum E|x_{i+1}|^2 where each level carries x_i to q_i.

    Under STE the rate is E<g, z_q - z> - 2 gamma E|x_2|^2. Codes are the means of what their level is given.
    """
    found, n = {}, max(n, 40)
    for N in DEPTHS:
        net = Sides("graph", member, draw, n, d, N, fitted=True)
        errors = [total(left, left) for left in net.cascade.given[1:]]
        stated = -2 * t * (errors[0] if member == "ste" else sum(errors))
        if member == "ste":
            stated = stated + total(net.g, net.cascade.out.z_q - net.cascade.z)
        size = net.size + total(net.cascade.z, net.cascade.z)
        found[f"N = {N}"] = net.decoder - net.encoder - t * net.commitment, stated, size
    return found


@law(chapter=9, kinds=GENERIC, dims=(3, 8, 64), members=("ste", "rotation"))
def projected_levels(member, draw, n, d):
    """Where level i maps latents by P and codes back by O, its G_i is O G P, and under STE O P: then graph is not STE.

    What level i is given has the derivative (I - G_{i-1})...(I - G_1) in graph, so the commitments of deep levels
    arrive under STE, too.
    """
    sides, g = {}, draw(n, d)
    for wiring in ("graph", "detach"):
        codes = [draw(CODES, 2) / 2**level for level in range(DEEPEST)]
        vq = ResidualVectorQuantizer(d, CODES, DEEPEST, wiring, member, init=codes, project_to=2).to(g.dtype)
        z = draw(n, d).requires_grad_()
        out = vq(z, details=True)
        G = [
            level.expand.weight.double() @ definition(member, x.z.detach(), x.q.detach()) @ level.reduce.weight.double()
            for level, x in zip(vq.layers, out.levels)
        ]
        left, v = identity(z), draw(n, 2)
        ratios = [1 + norm(x.q) / norm(x.z) * conditioning(member, x.z.detach(), x.q) for x in out.levels]
        size = torch.stack(ratios).prod(0).detach()
        for i, one in enumerate(G):
            (to_level,) = torch.autograd.grad(out.levels[i].z, z, v, retain_graph=True)
            P = vq.layers[i].reduce.weight.double()
            C = left if wiring == "graph" else identity(z)
            sides[f"{wiring}, given to level {i + 1}"] = to_level, apply((P @ C).mT, v).detach(), size * norm(v)
            left = (identity(z) - one) @ left
        J = {"graph": identity(z) - left, "detach": sum(G)}[wiring].detach()
        (received,) = torch.autograd.grad(out.z_q, z, g)
        sides[wiring] = received, apply(J.mT, g), size * norm(g)
    return sides
