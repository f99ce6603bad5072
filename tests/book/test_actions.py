"""Actions that are codes: the exact gradient is that of the value, estimators are what they claim; bandit, control."""

import math
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import torch

from book.systems import actions, bandit, control, pendulum
from book.systems.bandit import ARMS, FAMILY, Case, Plays, Problem
from rotvq import ESTIMATORS

SMALL = replace(Case(), **bandit.EXPERIMENT.smoke)


def noise(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=noise(seed), dtype=torch.float64)


def expected(z: torch.Tensor, values: torch.Tensor, codes: torch.Tensor, sigma: float) -> torch.Tensor:
    """The value that the nearest code of z + noise expects, from the share of a fine lattice that each cell holds."""
    steps = torch.linspace(-6, 6, 1201, dtype=torch.float64)
    weights = (-steps.square() / 2).exp()
    weights = weights / weights.sum()
    lattice = torch.cartesian_prod(steps, steps)
    indices = actions.play(z + sigma * lattice, codes)
    return (values[indices] * torch.outer(weights, weights).flatten()).sum()


def test_gradient_through_the_faces_is_the_slope_of_the_expected_value():
    codes, values, z, sigma = normal(9, 2), normal(1, 9, seed=1), normal(1, 2, seed=2) / 2, 0.5
    found = actions.face_gradient(z, values, actions.faces(codes), sigma)[0]
    step = 0.06  # a whole number of lattice steps of 0.01 sigma, so that both sides see the same lattice
    for axis in torch.eye(2, dtype=torch.float64):
        up, down = (expected(z[0] + sign * step * axis, values[0], codes, sigma) for sign in (1, -1))
        assert ((up - down) / (2 * step) - found @ axis).abs() < 0.01 * found.norm()


def test_two_codes_have_the_gradient_of_a_normal_distribution_function():
    codes = torch.tensor([[-1.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    z = torch.tensor([[0.3, 5.0]], dtype=torch.float64, requires_grad=True)
    value = 2 * torch.special.ndtr(z[0, 0] / 0.4)
    (want,) = torch.autograd.grad(value, z)
    found = actions.face_gradient(z.detach(), torch.tensor([[0.0, 2.0]]), actions.faces(codes), 0.4)
    assert torch.allclose(found, want, atol=1e-12)


def test_faces_of_a_lattice():
    codes = torch.cartesian_prod(torch.arange(3.0), torch.arange(3.0))
    found = actions.faces(codes)
    apart = (codes[found.codes[:, 0]] - codes[found.codes[:, 1]]).norm(dim=-1)
    assert len(apart) == 12 and (apart == 1).all()  # those that only share a corner have no face
    lengths = found.high - found.low
    assert lengths.isinf().sum() == 8 and (lengths[~lengths.isinf()] == 1).all()


def test_a_code_that_is_shut_in_changes_nothing_far_away_and_equal_values_nothing_at_all():
    codes = normal(12, 2)
    found, z = actions.faces(codes), normal(5, 2, seed=3)
    assert actions.face_gradient(z, torch.ones(5, 12), found, 0.3).abs().max() < 1e-12
    far = torch.full((5, 2), 100.0, dtype=torch.float64)
    assert actions.face_gradient(far, normal(5, 12, seed=4), found, 0.3).norm() < 1e-6


def test_gradient_of_the_softmax_is_that_of_autograd():
    codes, values = normal(7, 3), normal(4, 7, seed=1)
    z = normal(4, 3, seed=2).requires_grad_()
    share = (-torch.cdist(z, codes).square() / (2 * 0.4**2)).softmax(-1)
    (want,) = torch.autograd.grad((share * values).sum(), z)
    assert torch.allclose(actions.softmax_gradient(z.detach(), values, codes, 0.4), want, atol=1e-10)


def test_gumbel_straight_through_is_a_matrix():
    codes, g, drawn = normal(7, 3), normal(4, 3, seed=1), normal(4, 7, seed=5)
    z = normal(4, 3, seed=2).requires_grad_()
    y = ((actions.logits(z, codes, 0.4) + drawn) / 0.7).softmax(-1)
    (want,) = torch.autograd.grad(((y @ codes) * g).sum(), z)
    found = actions.gumbel_estimate(y.detach(), codes, g, 0.4, 0.7)
    assert torch.allclose(found, want, atol=1e-10)


@pytest.mark.parametrize("ripple", [0.0, 0.3])
def test_slope_is_that_of_the_value(ripple):
    problem = Problem(replace(SMALL, ripple=ripple, dim=3))
    e = torch.randn(8, 5, 3, generator=noise(1)).requires_grad_()
    (want,) = torch.autograd.grad(problem.value(e).sum(), e)
    assert torch.allclose(problem.slope(e.detach()), want, atol=1e-4)
    alone = torch.stack([problem.value(e)[:, i] for i in range(5)], 1)
    assert torch.allclose(problem.value(e), alone)


def start(case: Case) -> tuple[Problem, torch.Tensor]:
    problem = Problem(case)
    return problem, bandit.policy(case)(problem.contexts).detach()


def test_score_estimate_has_no_bias_and_the_family_has_one():
    case = Case(contexts=16, ripple=0.1, draws=8192)
    problem, z = start(case)
    exact = bandit.truth(problem, z, noise())[0]
    plays = Plays(problem, z, case.draws, noise(1))
    apart = {}
    for name in ("reinforce", *FAMILY):
        drawn = plays.estimate(name, baseline=plays.values.mean(1))
        error = (drawn.var(1) / case.draws).sqrt()
        apart[name] = ((drawn.mean(1) - exact) / error).square().mean().sqrt().item()
    assert apart.pop("reinforce") < 1.5  # 32 numbers that are each about 1
    assert min(apart.values()) > 5


def test_turning_changes_no_second_moment():
    problem, z = start(Case(contexts=8, ripple=0.1))
    plays = Plays(problem, z, 64, noise())
    squares = {name: plays.estimate(name).square().sum(-1) for name in FAMILY}
    assert torch.allclose(squares["rotation_only"], squares["ste"], rtol=1e-4)
    assert torch.allclose(squares["rotation"], squares["scale_only"], rtol=1e-3)
    assert not torch.allclose(squares["rotation"], squares["ste"], rtol=0.1)


def test_an_estimator_gets_the_slope_at_its_code():
    problem, z = start(SMALL)
    plays = Plays(problem, z, 3, noise())
    for i, j in ((0, 0), (5, 2)):
        k = plays.indices[i, j]
        assert torch.equal(plays.slopes()[i, j], problem.slopes[i, k]) and plays.values[i, j] == problem.values[i, k]
        want = ESTIMATORS["rotation"].pull_back(plays.y[i, j], problem.codes[k], problem.slopes[i, k])
        assert torch.allclose(plays.estimate("rotation")[i, j], want)
        assert (plays.y[i, j] - problem.codes).norm(dim=-1).argmin() == k


def test_plays_come_in_pairs_where_asked():
    problem, z = start(SMALL)
    plays = Plays(problem, z, 10, noise(), antithetic=True)
    assert torch.allclose(plays.y.mean(1), z, atol=1e-6)


def test_truth_by_draws_is_the_formula(monkeypatch):
    case = Case(contexts=4, ripple=0.1, draws=4096)
    problem, z = start(case)
    exact = bandit.truth(problem, z, noise())[0]
    monkeypatch.setattr(problem, "case", replace(case, dim=2))
    halves = [
        Plays(problem, z, 65536, noise(seed), antithetic=True).estimate("reinforce", baseline=problem.values.mean(1))
        for seed in (1, 2)
    ]
    for half in halves:
        error = (half.var(1) / half.shape[1]).sqrt()
        assert ((half.mean(1) - exact).abs() < 5 * error).all()


def test_products_of_halves_have_no_bias():
    true, draws = torch.ones(2, 3), []
    for seed in range(400):
        means = [true + torch.randn(2, 3, generator=noise(2 * seed + half)) for half in (0, 1)]
        draws.append(bandit.product(*means))
    assert torch.stack(draws).mean() == pytest.approx(6, abs=0.8)  # |mean|^2 of one half is 12 in the mean
    same = bandit.compare([true, true], [true, true])
    assert same == {"cosine": pytest.approx(1), "gain": pytest.approx(1), "bias": 0}
    assert bandit.compare([-2 * true] * 2, [true] * 2) == pytest.approx({"cosine": -1, "gain": -2, "bias": 3})


def test_regret_is_none_of_the_best_and_one_at_random():
    problem = Problem(replace(SMALL, contexts=500, codes=16))
    assert problem.regret(problem.values.argmax(1)) == 0
    taken = torch.randint(16, (500,), generator=noise())
    assert problem.regret(taken) == pytest.approx(1, abs=0.1)


def test_moving_the_origin_moves_the_problem_alone():
    case = replace(SMALL, ripple=0.1)
    near, far = Problem(case), Problem(replace(case, shift=5.0))
    assert torch.allclose(near.values, far.values, atol=1e-3) and (far.codes.mean(0) - near.codes.mean(0)).norm() > 4.9
    z = [bandit.policy(case)(near.contexts) - p.centre for case, p in ((case, near), (far.case, far))]
    assert torch.allclose(*z, atol=1e-5)
    exact = [bandit.truth(p, x + p.centre, noise())[0] for p, x in zip((near, far), z)]
    assert torch.allclose(*exact, atol=1e-3)


@pytest.mark.parametrize("name", ARMS)
def test_the_same_case_is_the_same_run_and_a_seed_another(name):
    case = replace(SMALL, **ARMS[name])
    assert bandit.train(case) == bandit.train(case)
    assert bandit.train(case)["curve"] != bandit.train(replace(case, seed=1))["curve"]


def test_paired_arms_stand_at_one_point_before_the_first_step():
    first = [bandit.train(replace(SMALL, **ARMS[name]))["stops"][0] for name in ARMS]
    assert all(stop == first[0] for stop in first)


def test_a_critic_learns_the_values_from_plays():
    problem = Problem(replace(SMALL, ripple=0.0))
    critic, plays = bandit.Critic(SMALL), noise(3)
    for _ in range(300):
        q = torch.randint(8, (8,), generator=plays)
        critic.learn(problem.contexts, problem.codes[q], problem.values.gather(1, q[:, None])[:, 0])
    x, q = problem.contexts.repeat_interleave(8, 0), problem.codes.repeat(8, 1)
    with torch.no_grad():
        left = critic.net(torch.cat([x, q], 1))[:, 0] - problem.values.flatten()
    assert left.var() < 0.2 * problem.values.var()
    assert critic.slope(x, q).shape == q.shape


def test_learning_finds_better_codes():
    case = Case(steps=150, draws=8, rate=1e-2)
    for name in ("exact", "STE", "REINFORCE"):
        assert bandit.train(replace(case, **ARMS[name]))["regret"] < 0.3, name


# control

TINY = replace(control.Task(), **control.EXPERIMENT.smoke)


def test_thrusts_and_a_step_of_the_model():
    codes = control.thrusts(off=True)
    lengths = codes.norm(dim=-1)
    assert torch.allclose(lengths, torch.tensor([1.0] * 8 + [0.25] * 8 + [0.0]))
    assert len(codes.unique(dim=0)) == 17 == 1 + len(control.thrusts())
    zero, ahead = torch.zeros(1, 2), torch.tensor([[1.0, 0.0]])
    (p, v, _), cost = control.move((zero, zero, ahead), ahead)
    assert torch.allclose(v, torch.tensor([[0.3, 0.0]])) and torch.allclose(p, torch.tensor([[0.03, 0.0]]))
    assert cost.item() == pytest.approx(0.1 * (0.97**2 + 0.05 * 0.09 + 0.05))
    (p, v, _), _ = control.move((torch.tensor([[0.5, 0.2]]), torch.tensor([[1.0, 2.0]]), ahead), zero)
    assert v[0].tolist() == pytest.approx([0.9 + 0.1 * math.sin(0.6), 1.8 - 0.1 * math.sin(1.5)])
    assert p[0].tolist() == pytest.approx([0.5 + 0.1 * v[0, 0].item(), 0.2 + 0.1 * v[0, 1].item()])


def test_thrusts_are_codes_but_for_the_continuous_ones():
    z = 2 * torch.randn(50, 2, generator=noise())
    for name, fields in control.ARMS.items():
        thruster = control.Thruster(replace(TINY, **fields))
        trained, tested = thruster.trained(z, noise(1))[0], thruster.tested(z)
        near = [torch.cdist(e, thruster.codes).amin(1).max().item() for e in (trained, tested)]
        assert (near[0] < 1e-6) == (name not in ("continuous", "snapped")), name
        assert (near[1] < 1e-6) == (name != "continuous"), name
        assert max(e.norm(dim=-1).max() for e in (trained, tested)) < 1 + 1e-5


def test_no_thrust_passes_no_gradient_by_the_rotation():
    """Its code has the length 0, so r is 0; the straight-through estimator does not care."""
    z = torch.full((4, 2), 0.01)
    for name, passes in (("ste", True), ("rotation_only", True), ("rotation", False), ("scale_only", False)):
        y = z.clone().requires_grad_()
        thruster = control.Thruster(replace(TINY, estimator=name, off=True, noise=1e-3))
        e, _ = thruster.trained(y, noise())
        assert not e.any()
        e.sum().backward()
        assert bool(y.grad.any()) is passes, name


def test_reinforce_has_the_gradient_of_the_cost(monkeypatch):
    """With a constant for a policy, against the slope of the mean cost over the same draws."""
    case = replace(TINY, batch=20_000, horizon=6, noise=0.3)

    def begin(count, _):
        return torch.zeros(count, 2), torch.zeros(count, 2), torch.tensor([[1.0, 0.0]] * count)

    monkeypatch.setitem(control.WORLDS, "wind", control.WORLDS["wind"]._replace(begin=begin))

    class Constant(torch.nn.Module):
        def __init__(self, x: float):
            super().__init__()
            self.x = torch.nn.Parameter(torch.tensor([x, 0.1]))

        def forward(self, seen):
            return self.x.expand(len(seen), 2)

    def cost(x: float) -> float:
        return control.loss(Constant(x), control.Thruster(case), noise(5)).item()

    net = Constant(0.5)
    control.loss(net, control.Thruster(replace(case, estimator="reinforce")), noise(6)).backward()
    assert net.x.grad[0].item() == pytest.approx((cost(0.55) - cost(0.45)) / 0.1, rel=0.1)


@pytest.mark.parametrize("name", control.ARMS)
def test_a_control_case_is_the_same_run_again(name):
    case = replace(TINY, **control.ARMS[name])
    found = control.train(case)
    assert found == control.train(case) and math.isfinite(found["cost"])
    assert found["curve"] != control.train(replace(case, seed=1))["curve"]


def test_control_learns_through_the_model():
    case = control.Task(steps=30, tested=64, horizon=20, episode=20)
    assert control.train(case)["cost"] < 0.5 * control.random_cost(case)


# the pendulum, against gymnasium's own


@pytest.fixture
def own():
    """gymnasium's Pendulum-v1 without its wrappers."""
    env = gymnasium.make("Pendulum-v1").unwrapped
    yield env
    env.close()


def spread(count: int = 2000) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Angles of several turns, speeds up to the largest, and torques up to twice the largest."""
    return tuple(scale * normal(count, seed=seed).clamp(-2, 2) / 2 for seed, scale in ((0, 10), (1, 8), (2, 4)))


def test_a_step_of_the_pendulum_is_gymnasiums(own):
    angles, speeds, torques = spread()
    (angle, speed), cost = pendulum.swing((angles, speeds), torques)
    assert (torques.abs() > 2).any() and (speed.abs() == 8).any() and (angles.abs() > math.pi).any()
    for i in range(len(angles)):
        own.state = np.array([angles[i], speeds[i]])
        seen, reward, *_ = own.step(torques[i : i + 1].numpy())
        assert own.state == pytest.approx([angle[i].item(), speed[i].item()], abs=1e-12)
        assert reward == pytest.approx(-cost[i].item(), abs=1e-12)
        ours = pendulum.seen((angle[i : i + 1], speed[i : i + 1]))[0] * torch.tensor([1, 1, 8])
        assert seen == pytest.approx(ours.numpy(), abs=1e-6)


def test_an_episode_of_the_pendulum_is_gymnasiums():
    """A whole episode in float32 by codes, with the costs added up, and as many steps as a test episode has."""
    case, env = control.SWING, gymnasium.make("Pendulum-v1")
    state, total, ended, steps = (torch.tensor([3.0]), torch.tensor([0.5])), 0.0, False, 0
    env.reset()
    env.unwrapped.state = np.array([3.0, 0.5])
    played = pendulum.arc()[torch.randint(pendulum.CODES, (case.episode,), generator=noise())]
    returned = 0.0
    while not ended:
        state, cost = pendulum.move(state, played[steps : steps + 1])
        _, reward, _, ended, _ = env.step(2 * played[steps, 1:].numpy())
        total, returned, steps = total + cost.item(), returned + reward, steps + 1
    env.close()
    assert steps == case.episode and returned == pytest.approx(-total, rel=1e-4)


def test_episodes_of_the_pendulum_begin_as_gymnasiums(own):
    """The same uniform distributions: deciles of 4,000 draws, held to 0.08 of half the range."""
    theirs = []
    for seed in range(4000):
        own.reset(seed=seed)
        theirs.append(own.state)
    ours = torch.stack(pendulum.begin(4000, noise()), -1)
    levels, half = np.linspace(0, 1, 11), np.array([math.pi, 1.0])
    apart = np.quantile(np.array(theirs), levels, axis=0) - np.quantile(ours.numpy(), levels, axis=0)
    assert (np.abs(apart) / half).max() < 0.08


def test_a_slope_passes_through_the_pendulum():
    angles, speeds, torques = spread(20)
    inside = (torques.abs() < 1.9) & (speeds.abs() < 7)
    given = [x[inside].clone().requires_grad_() for x in (angles, speeds, torques)]

    def step(angle, speed, torque):
        state, cost = pendulum.swing((angle, speed), torque)
        return *state, cost

    assert torch.autograd.gradcheck(step, given)


def test_codes_of_the_pendulum():
    line, arc = pendulum.line(), pendulum.arc()
    assert line[:, 0].diff().numpy() == pytest.approx(2 / 15) and len(line) == len(arc) == 16
    assert torch.allclose(arc.norm(dim=-1), torch.ones(16)) and (arc[:, 0] > -1e-6).all()
    for codes in (line, arc):
        assert codes[:, -1].aminmax() == pytest.approx((-1, 1))


def test_on_the_line_there_is_nothing_to_turn():
    """Code and point have one sign, so R is 1: the rotation is r I, and R is the straight-through estimator."""
    found = {}
    for name in ("ste", "rotation", "rotation_only", "scale_only"):
        y = torch.linspace(-2, 2, 101)[:, None].requires_grad_()
        thruster = control.Thruster(control.Task("pendulum", name, noise=0.0))
        thruster.trained(y, noise())[0].sum().backward()
        found[name] = y.grad
    assert torch.allclose(found["rotation"], found["scale_only"])
    assert torch.allclose(found["rotation_only"], found["ste"])
    assert not torch.allclose(found["rotation"], found["ste"])


@pytest.mark.parametrize("task", [name for name in control.WORLDS if name != "wind"])
@pytest.mark.parametrize("name", ["STE", "REINFORCE", "continuous"])
def test_a_case_of_the_pendulum_is_the_same_run_again(task, name):
    case = replace(TINY, task=task, clip=1.0, **control.ARMS[name])
    found = control.train(case)
    assert found == control.train(case) and math.isfinite(found["cost"])
