"""Slopes of a smoothed loss against exact values, least squares over the family, and the runs that use them."""

import json
import math
from dataclasses import replace

import pytest
import torch

from book.systems import runs, slopes, transform
from book.systems.transform import EXPERIMENT, Case, Observer
from rotvq import ESTIMATORS
from rotvq.quantizers.geometry import directions, dot

SMALL = replace(Case(), **transform.SMOKE)


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def noise(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pairs(count: int = 400, d: int = 5, seed: int = 0):
    """z, q and g of many angles and ratios, double precision."""
    z, q, g = (drawn(count, d, seed=seed + 100 * i) for i in range(3))
    return z, q * torch.exp(drawn(count, 1, seed=seed + 7)), g


def around(points: int) -> torch.Tensor:
    """Orthonormal frames of the plane, evenly turned: (points, 2, 2)."""
    angle = (torch.arange(points, dtype=torch.float64) + 0.5) * (math.pi / 2 / points)
    return torch.stack([torch.stack([angle.cos(), angle.sin()], -1), torch.stack([-angle.sin(), angle.cos()], -1)], 1)


# the slopes


def test_frames_are_orthonormal_and_as_likely_one_way_as_the_other():
    frame = slopes.frames(500, 3, 2, noise())
    torch.testing.assert_close(frame @ frame.transpose(1, 2), torch.eye(2).expand(500, 2, 2), atol=1e-5, rtol=0)
    assert frame.mean(0).abs().max() < 0.12  # a standard error is 0.026


@pytest.mark.parametrize("offset, radius", [(0.1, 1.0), (-0.6, 1.0), (0.3, 0.2)])
def test_between_two_codes_the_slope_is_the_formula_of_a_face(offset, radius):
    """The mean over all frames of the plane, against the closed form; 0 where the ball does not reach the face."""
    codes = torch.tensor([[0.3, -0.2], [1.0, 0.5]], dtype=torch.float64)
    normal = (codes[1] - codes[0]) / (codes[1] - codes[0]).norm()
    z, g = codes.mean(0) + offset * normal + 0.4 * normal.flip(0) * torch.tensor([1, -1]), drawn(1, 2)
    frame = around(40_000)
    groups = z.expand(len(frame), 1, 2), g.expand(len(frame), 1, 2)
    found = slopes.slopes(groups[0], codes, groups[1], radius, frame).mean(0)
    q = codes[(codes - z).norm(dim=1).argmin()][None]
    want = slopes.faces(z[None], q, g, codes, radius)
    torch.testing.assert_close(found, want, atol=2e-4, rtol=0)
    assert bool(want.any()) == (radius > abs(offset))


def test_the_slope_is_the_derivative_of_the_mean_over_the_ball():
    """In the plane, among many codes: differences of the mean over a fine grid of the disc."""
    codes, z, g, radius, h = drawn(7, 2, seed=3), torch.tensor([0.1, -0.2]).double(), drawn(1, 2, seed=5), 0.8, 0.05
    side = (torch.arange(1500, dtype=torch.float64) + 0.5) / 750 - 1
    disc = torch.cartesian_prod(side, side)
    disc = radius * disc[disc.square().sum(1) < 1]

    def mean_loss(at: torch.Tensor) -> torch.Tensor:
        return (codes[torch.cdist(at + disc, codes).argmin(1)] @ g[0]).mean()

    axes = h * torch.eye(2).double()
    want = torch.stack([(mean_loss(z + e) - mean_loss(z - e)) / (2 * h) for e in axes])
    frame = around(4000)
    steps = torch.linspace(-h, h, 41, dtype=torch.float64)  # of the slope, the mean over the same step
    found = torch.stack(
        [
            torch.stack(
                [
                    slopes.slopes((z + t * e / h).expand(4000, 1, 2), codes, g.expand(4000, 1, 2), radius, frame).mean(
                        (0, 1)
                    )
                    for t in steps
                ]
            ).mean(0)
            @ e
            / h
            for e in axes
        ]
    )
    torch.testing.assert_close(found, want, atol=0.02 * want.abs().max().item(), rtol=0)
    assert want.abs().min() > 0.01


def test_some_directions_are_right_on_average():
    codes, z, g = drawn(9, 4, seed=1), drawn(1, 6, 4, seed=2), drawn(1, 6, 4, seed=3)
    frame = slopes.frames(20_000, 4, 4, noise()).double()
    many = [one.expand(20_000, -1, -1) for one in (z, g)]
    whole, half = (slopes.slopes(many[0], codes, many[1], 1.0, frame[:, :m]) for m in (4, 2))
    spread = (whole - half).std(0) / 20_000**0.5
    assert ((whole - half).mean(0).abs() < 5 * spread).all() and half.var(0).sum() > 1.2 * whole.var(0).sum()


def test_slopes_of_codes_of_one_length_are_across_z_in_the_limit_of_large_balls_scaled_alike():
    """F(tz; t radius) = F(z; radius) for such codes, so <z, F'> = -radius dF/dradius, and all scales with 1/t."""
    codes = torch.nn.functional.normalize(drawn(12, 3), dim=1)
    z, g, frame = drawn(1, 8, 3, seed=4), drawn(1, 8, 3, seed=5), slopes.frames(1, 3, 3, noise()).double()
    small, large = (slopes.slopes(t * z, codes, g, t * 0.7, frame) for t in (1.0, 50.0))
    assert small.abs().max() > 0.1
    torch.testing.assert_close(large * 50, small, atol=1e-9, rtol=0)


def test_slopes_scale_with_latents_and_codes_together():
    codes, z, g = drawn(12, 3), drawn(1, 8, 3, seed=4), drawn(1, 8, 3, seed=5)
    frame = slopes.frames(1, 3, 3, noise()).double()
    first = slopes.slopes(z, codes, g, 0.7, frame)
    torch.testing.assert_close(slopes.slopes(9 * z, 9 * codes, g, 6.3, frame), first, atol=1e-9, rtol=0)


def test_with_a_linear_decoder_both_ways_agree_and_with_a_curved_one_not():
    codes, z = drawn(9, 4, seed=1), drawn(3, 5, 4, seed=2)
    places, frame = torch.tensor([0, 4, 2]), slopes.frames(3, 4, 4, noise()).double()
    weight = drawn(3, 5, 4, seed=6)
    rows = torch.arange(3)
    for curved in (False, True):

        def loss(z_q, curved=curved):
            value = (weight * z_q).sum((-2, -1))
            return value.sin() if curved else value

        q = codes[torch.cdist(z, codes.expand(3, 9, 4)).argmin(-1)].requires_grad_()
        (g,) = torch.autograd.grad(loss(q).sum(), q)
        found = slopes.decoder_slopes(loss, z, places, codes, 1.0, frame)
        linear = slopes.slopes(z[rows, places][:, None], codes, g[rows, places][:, None], 1.0, frame)[:, 0]
        assert torch.allclose(found, linear, atol=1e-9) != curved


# least squares


def test_named_estimators_are_linear_transforms_that_turn_along_and_need_all_five_columns():
    z, q, g = pairs()
    left = {}
    for count in (5, 4):
        given = slopes.columns(("g", *slopes.PLANE)[:count], z, q, g)
        for name in transform.NAMED:
            # coefficients depend on the lengths and the angle, so each pair has its own, the same for every g
            many = torch.cat([given] + [slopes.columns(("g", *slopes.PLANE)[:count], z, q, g2) for g2 in gs(g)], 2)
            pulled = [ESTIMATORS[name].pull_back(z, q, g2) for g2 in (g, *gs(g))]
            wanted = torch.cat(pulled, 1)[..., None]
            best = torch.linalg.lstsq(many.transpose(1, 2), wanted).solution
            left[name, count] = (many.transpose(1, 2) @ best - wanted).abs().max().item()
    assert max(left[name, 5] for name in transform.NAMED) < 1e-8
    assert left["rotation", 4] > 0.01 and left["ste", 4] < 1e-8


def gs(g: torch.Tensor) -> list[torch.Tensor]:
    """More gradients for the same pairs."""
    return [drawn(*g.shape, seed=1000 + i) for i in range(4)]


MEMBERS = {
    "ste": lambda a, b, r: (1.0 + 0 * r, 0 * r),
    "rotation_only": lambda a, b, r: (0 * r, 1.0 + 0 * r),
    "mixed": lambda a, b, r: (0.3 + 0 * r, 0.7 + 0 * r),
}


@pytest.mark.parametrize("member", MEMBERS)
def test_least_squares_over_the_pair_is_exact_for_its_members(member):
    z, q, g = pairs(3000)
    a, b = (x[0].item() for x in MEMBERS[member](None, None, torch.ones(1)))
    slope = a * g + b * ESTIMATORS["rotation_only"].pull_back(z, q, g)
    fit = slopes.Fit(slopes.FITS["pair"])
    given, bin_of = slopes.columns(fit.names, z, q, g), slopes.bins(z, q)
    fit.observe(given, slope, bin_of)
    assert (fit(given.float(), bin_of) - slope).norm() < 1e-5 * slope.norm()
    seen = bin_of.unique()
    assert torch.allclose(fit.coefficients[seen], torch.tensor([a, b]), atol=1e-4)


def test_each_bin_has_its_own_coefficients_and_an_empty_one_those_of_all():
    z, q, g = pairs(3000)
    bin_of = slopes.bins(z, q)
    own = drawn(slopes.BINS, 2, seed=9)
    given = slopes.columns(slopes.FITS["pair"], z, q, g)
    fit = slopes.Fit(slopes.FITS["pair"], share=0.0)
    fit.observe(given, torch.einsum("nk,nkd->nd", own[bin_of], given), bin_of)
    full = [int(i) for i in bin_of.unique() if (bin_of == i).sum() > 20]
    assert len(full) > 5 and torch.allclose(fit.coefficients[full].double(), own[full], atol=1e-4)
    one, here = slopes.Fit(slopes.FITS["pair"]), bin_of == full[0]
    one.observe(given[here], g[here], bin_of[here])
    assert torch.allclose(one.coefficients, torch.tensor([1.0, 0.0]).expand(slopes.BINS, 2), atol=1e-4)


def test_no_gain_on_a_member_beats_the_pair_nor_the_pair_the_linear_fit_where_they_are_fitted():
    z, q, g = pairs(3000)
    slope, bin_of = drawn(3000, 5, seed=8) + g + 0.5 * ESTIMATORS["rotation"].pull_back(z, q, g), slopes.bins(z, q)
    error = {}
    for name, gain in {"ste": g, "rotation_only": ESTIMATORS["rotation_only"].pull_back(z, q, g)}.items():
        best = (gain * slope).sum() / gain.square().sum()
        error[name] = (best * gain - slope).square().sum().item()
    for name in ("pair", "linear"):
        fit = slopes.Fit(slopes.FITS[name], share=0.0)
        given = slopes.columns(fit.names, z, q, g)
        fit.observe(given, slope, bin_of)
        error[name] = (fit(given.float(), bin_of) - slope).square().sum().item()
    assert error["linear"] < error["pair"] < min(error["ste"], error["rotation_only"])


def test_old_observations_fade():
    z, q, g = pairs(500)
    fit = slopes.Fit(("g",), decay=0.5)
    given, bin_of = slopes.columns(fit.names, z, q, g), slopes.bins(z, q)
    for factor in (0.0, 3.0):
        fit.observe(given, factor * g, bin_of)
    seen = bin_of.unique()
    torch.testing.assert_close(fit.coefficients[seen], torch.full((len(seen), 1), 2.0), atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["pair", "linear", "neighbour", "network", "face"])
def test_what_is_fitted_turns_along(name):
    z, q, g = (x.float() for x in pairs(300))
    codes = torch.cat([q[:40], drawn(8, 5, seed=3).float()])
    z, g, turn = z[:40], g[:40], torch.linalg.qr(drawn(5, 5, seed=2))[0].float()
    q = codes[torch.cdist(z, codes).argmin(1)]

    def answer(turn):
        z_, q_, g_, codes_ = (x @ turn.T for x in (z, q, g, codes))
        face = slopes.faces(z_, q_, g_, codes_, 1.5)
        if name == "face":
            return face
        fit = slopes.Fit(slopes.FITS["linear" if name == "network" else name])
        given, bin_of = slopes.columns(fit.names, z_, q_, g_, face), slopes.bins(z_, q_)
        slope = (1 + q_.norm(dim=1, keepdim=True)) * g_ + dot(z_, g_) * q_
        fit.observe(given, slope, bin_of)
        if name != "network":
            return fit(given, bin_of)
        network = slopes.Network(seed=0)
        network.observe(fit(given, bin_of), z_, q_, g_, slope)
        return network(fit(given, bin_of), z_, q_, g_).detach()

    plain = answer(torch.eye(5))
    assert (answer(turn) - plain @ turn.T).norm() < 2e-3 * plain.norm() and plain.norm() > 0


def test_the_network_learns_what_no_linear_transform_is():
    z, q, g = (x.float() for x in pairs(800))
    a, _, _ = directions(z, q)
    slope = g.norm(dim=1, keepdim=True) * a  # along z, however g stands to it
    fit, network = slopes.Fit(slopes.FITS["linear"]), slopes.Network(seed=0)
    given, bin_of = slopes.columns(fit.names, z, q, g), slopes.bins(z, q)
    fit.observe(given, slope, bin_of)
    linear = fit(given, bin_of)
    with torch.no_grad():
        assert torch.equal(network(linear, z, q, g), linear)
    for _ in range(100):
        network.observe(linear, z, q, g, slope)
    with torch.no_grad():
        errors = [(p - slope).norm().item() for p in (linear, network(linear, z, q, g))]
    assert errors[1] < 0.3 * errors[0]


def test_a_score_knows_the_size_and_the_direction_behind_the_noise():
    truth, p = drawn(4000, 8), drawn(4000, 8) + drawn(4000, 8, seed=1)
    once, again = (truth + 2 * drawn(4000, 8, seed=seed) for seed in (2, 3))
    found = slopes.score(p, once, again)
    assert found.cosine == pytest.approx(0.5**0.5, abs=0.03) and found.size == pytest.approx(2**0.5, abs=0.05)
    assert found.error == pytest.approx(1, abs=0.1)  # |p - truth|^2 / |truth|^2
    assert slopes.score(p, truth, -truth) is None


# the runs


def test_a_transform_has_the_value_of_q_and_gives_the_codes_nothing():
    z, q, g = (x.requires_grad_() for x in pairs(20))
    made = transform.Transform(ESTIMATORS["rotation"].pull_back)(z, q)
    at_z, at_q = torch.autograd.grad(made, (z, q), g, allow_unused=True)
    assert torch.equal(made, q) and at_q is None
    assert torch.equal(at_z, ESTIMATORS["rotation"].pull_back(z, q, g))


def first_step(**fields) -> dict[str, torch.Tensor]:
    observer = Observer.from_case(replace(SMALL, **fields))
    observer.observe()
    weights = torch.cat([p.flatten().clone() for p in observer.run.model.parameters()])
    observer.run.train_step()
    model, (seen, *_) = observer.run.model, observer.latents(2)
    sides = {"decoder": model.decoder, "encoder": model.encoder, "codes": model.quantizer.codebook}
    return {"weights": weights, "seen": seen} | {
        name: torch.cat([p.grad.flatten() for p in part.parameters()]) for name, part in sides.items()
    }


def test_arms_of_one_seed_differ_in_the_gradient_of_the_encoder_alone():
    arms = transform.ARMS | transform.FURTHER
    found = {name: first_step(init="kmeans", **arm) for name, arm in arms.items()}
    ste = found.pop("STE")
    for name, parts in found.items():
        assert all(torch.equal(parts[part], ste[part]) for part in ("weights", "seen")), name
        for part in ("decoder", "codes"):
            torch.testing.assert_close(parts[part], ste[part], rtol=1e-4, atol=1e-6)
        assert (parts["encoder"] - ste["encoder"]).norm() > 0.01 * ste["encoder"].norm(), name


def test_at_the_size_of_g_a_batch_keeps_the_length_of_its_gradient():
    observer = Observer.from_case(replace(SMALL, estimator="pair", scale="ste", init="kmeans"))
    observer.observe()
    z, g = drawn(2, 7, 7, 32).float(), drawn(2, 7, 7, 32, seed=1).float()
    q = observer.codes[torch.cdist(z.flatten(0, 2), observer.codes).argmin(1)].view_as(z)
    pulled = observer.pull_back(z, q, g)
    assert pulled.norm().item() == pytest.approx(g.norm().item(), rel=1e-4) and not torch.allclose(pulled, g)


def test_everything_is_scored_before_it_learns():
    """What the fits know when they are scored is what they knew after the observation before."""
    observer = Observer.from_case(replace(SMALL, init="kmeans"))
    learn, seen = Observer.learn, []
    observer.learn = lambda *rows: (seen.append(len(observer.scores)), learn(observer, *rows))
    observer.observe()
    observer.observe()
    assert seen == [1, 2]
    first, second = observer.scores
    assert first["pair"] == first["ste"] == first["linear"]  # nothing was known
    assert second["pair"] != second["ste"] and second["pair"] != second["linear"]


def test_a_run_is_deterministic_and_fits_a_record():
    one, two, other = (transform.train(replace(SMALL, estimator="linear", seed=seed)) for seed in (0, 0, 1))
    assert one == two and json.loads(json.dumps(one, allow_nan=False)) == one
    assert len(one["sums"]["gram"]) == slopes.BINS and one["test_mse"] != other["test_mse"]


def test_a_fit_over_runs_is_made_from_their_sums():
    z, q, g = pairs(2000)
    slope, bin_of = g + 0.5 * ESTIMATORS["rotation"].pull_back(z, q, g), slopes.bins(z, q)
    fit = slopes.Fit(slopes.FITS["pair"])
    given = slopes.columns(fit.names, z, q, g)
    fit.observe(given, slope, bin_of)
    square = torch.zeros(slopes.BINS).double().index_add_(0, bin_of, slope.square().sum(1))
    sums = {"gram": fit.gram.tolist(), "right": fit.right.tolist(), "square": square.tolist()}
    predicted = fit(given.float(), bin_of)
    want = (predicted * slope).sum() / predicted.norm() / slope.norm()
    found = slopes.cosine_of_fit(slopes.solve(fit.gram, fit.right), sums)
    assert found == pytest.approx(want.item(), rel=1e-5)


def test_the_grid():
    assert runs.find("36") is EXPERIMENT
    confirm = EXPERIMENT.cases("standard", "confirm")
    assert {(case.estimator, case.init) for case in confirm} == {
        (estimator, init) for estimator in ("ste", "rotation", "pair", "linear") for init in ("uniform", "kmeans")
    }
    assert {case.seed for case in confirm} == set(range(100, 110)) and len(confirm) == 80
    assert all((case.scale, case.radius, case.steps) == ("own", 1.0, 1000) for case in confirm)
    assert len(EXPERIMENT.cases()) == 80 + 24 + 36 + 12
    assert len(EXPERIMENT.cases()) * EXPERIMENT.seconds / 3600 < 0.7
