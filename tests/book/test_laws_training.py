"""The laws of training dynamics, and the solvable model against the network that it models."""

import numpy as np
import pytest
import torch

from book.all_statements import all_statements
from book.statements import Law
from book.theory import collapse, conserved, drift, guarantees
from book.theory.inputs import draw_inputs
from rotvq.quantizers.lookup import nearest

#: chapters whose laws have a file of tests of their own, such as test_laws_drift.py, and are tried there
ELSEWHERE = (conserved.CHAPTER, drift.CHAPTER, guarantees.CHAPTER)
EVERY = {name: one for name, one in all_statements().items() if isinstance(one, Law)}
LAWS = {name: one for name, one in EVERY.items() if one.chapter >= 5 and one.chapter not in ELSEWHERE}
NAMES = sorted(LAWS)
DATA = {"line": collapse.line(), "circle": collapse.circle()}


@pytest.mark.parametrize("name", NAMES)
def test_law(name):
    for dtype in LAWS[name].dtypes:
        LAWS[name].require(dtype=dtype)
    LAWS[name].require(seeds=[1])


def test_every_chapter_has_laws():
    assert {one.chapter for one in LAWS.values()} >= {5, 6, 7, 8}


def test_ste_breaks_the_balance():
    """The law can fail: the two sides differ by E<g, z - q>, which is not 0 for STE."""
    from book.theory.balance_law import Network

    draw = draw_inputs(8, 16, torch.float64, "generic", 0)["draw"]
    net = Network("ste", draw, 16, 8)
    assert abs(net.encoder - net.decoder) > 1e-3 * net.size


def cells(where):
    x, codes = DATA[where]
    return collapse.Cells.of(x, codes[nearest(x, codes)])


@pytest.mark.parametrize("where", DATA)
def test_data_have_the_symmetry(where):
    x, codes = DATA[where]
    index = nearest(x, codes)
    means = torch.stack([x[index == k].mean(0) for k in range(len(codes))])
    torch.testing.assert_close(x.T @ x / len(x), torch.eye(x.shape[1], dtype=x.dtype), atol=1e-14, rtol=0)
    torch.testing.assert_close(means, codes, atol=1e-14, rtol=0)  # some tens of roundings


def test_cells_of_the_normal_law():
    """rho = 2/pi on the line, (pi/4) sinc(pi/K)^2 and rho_R = sinc(pi/K) on the circle; midpoints err by 1/n log n."""
    x, codes = collapse.line(20_000)
    assert collapse.Cells.of(x, codes[nearest(x, codes)]).rho == pytest.approx(2 / np.pi, abs=1e-4)
    x, codes = collapse.circle(6, n=4000, angles=64)
    found = collapse.Cells.of(x, codes[nearest(x, codes)])
    assert found.rho == pytest.approx(np.pi / 4 * np.sinc(1 / 6) ** 2, abs=1e-3)
    assert found.rho_R == pytest.approx(np.sinc(1 / 6), abs=1e-3)


@pytest.mark.parametrize("where", DATA)
@pytest.mark.parametrize("name", ["ste", "rotation", "rotation_only"])
def test_network_reaches_the_fixed_point(where, name):
    """Gradient descent has the fixed points of the flow; what is left is how far 150 steps get, under 1e-5."""
    x, codes = DATA[where]
    k = cells(where)
    gamma = 0.5 * collapse.threshold(collapse.push(name, x, codes[nearest(x, codes)])[0], k.rho, 0.5)
    trained = collapse.descend(name, x, codes, (0.8, 0.3, 0.8), 150, 0.2, gamma=gamma, decay_W=0.5)
    np.testing.assert_allclose(trained[:, -1], collapse.fixed_point(name, k, gamma, 0.5), atol=1e-5)


def test_network_follows_the_flow():
    """Euler's method errs by its step 0.01 times half the second derivative over the time, some 3e-2 at most."""
    x, codes = DATA["line"]
    trained = collapse.descend("rotation", x, codes, (1, 0.3, 1), 100, 0.01, gamma=1.0, decay_W=0.5)
    flow = collapse.flow("rotation", (1, 0.3, 1), [0.5, 1.0], cells("line"), gamma=1.0, decay_W=0.5)
    np.testing.assert_allclose(trained[:, [50, 100]], flow, atol=3e-2)


@pytest.mark.parametrize("name", ["ste", "rotation", "scale_only"])
@pytest.mark.parametrize("factor, ends", [(1.1, 0), (0.9, 1)])
def test_threshold(name, factor, ends):
    k = collapse.Cells(0.6, 0.8, 0.7, 0.65)
    gamma = factor * collapse.threshold(collapse.PUSH[name](k, 1.0)[0], k.rho, 0.5)
    for beta, r0 in [(0.1, 1.0), (10.0, 0.05)]:
        last = collapse.flow(name, (1, r0, 1), [2000.0], k, gamma=gamma, decay_W=0.5, beta=beta)[:, -1]
        assert (last[0] > 1e-3) == bool(ends)


def test_rate_without_decay():
    """s ~ (8 gamma (1 - rho) T)^(-1/4); the correction is of the order s^2, here 1e-3."""
    k = collapse.Cells(0.6, 0.8, 0.7, 0.65)
    s = collapse.flow("rotation", (1, 1, 1), [1e6], k, gamma=1.0)[0, -1]
    assert s * (8 * 0.4 * 1e6) ** 0.25 == pytest.approx(1, abs=1e-3)


def test_flow_says_where_the_model_ends():
    """wt = 10 pushes s through 0 at once: the states after that are nan."""
    k = collapse.Cells(0.6, 0.8, 0.7, 0.65)
    assert np.isnan(collapse.flow("rotation", (0.1, 1, 10), [0.5, 1.0], k, gamma=1.0)[:, -1]).all()
