"""Laws of chapter 46: the rotation about another centre."""

from __future__ import annotations

import torch

from book.algebra import dot, identity, jacobian, norm, pull_back, spectral_norm, unit
from book.statements import law
from book.theory.rotation import FROM_TWO


@law(chapter=46, kinds=("generic",), tolerance=1e-8)
def centred(z, q, g, mu, draw):
    "About a centre mu: <G^T g, z - mu> = <g, q - mu> and |G - I|_2 = |q - z|/|z - mu|; a shift of all changes nothing."
    pulled, shift = pull_back("rotation", z, q, g, centre=mu), draw(z.shape[-1])
    moved = pull_back("rotation", z + shift, q + shift, g, centre=mu + shift)
    gap = spectral_norm(jacobian("rotation", z, q, centre=mu) - identity(z))
    return {
        "product": (dot(pulled, z - mu), dot(g, q - mu), norm(g) * norm(q - mu)),
        "shift": (pulled, moved),
        "distance": (gap, norm(q - z) / norm(z - mu)),
    }


@law(chapter=46, dims=FROM_TWO, kinds=("generic",))
def bisecting_centre(z, q, g, draw):
    "About a centre as far from z as from q the gradient keeps its length."
    e, away = unit(q - z), draw(*z.shape).double()
    z, q, g = z.double(), q.double(), g.double()
    mu = (z + q) / 2 + away - dot(away, e) * e
    each = [pull_back("rotation", z[i], q[i], g[i], centre=mu[i]) for i in range(len(z))]
    return norm(torch.stack(each)), norm(g), norm(g) * (1 + (norm(z) + norm(q)) / norm(z - mu))
