/* The solvable model: stationary points, thresholds, decay laws and the integrator. */
"use strict";
const test = require("node:test"), assert = require("node:assert");
const C = require("../../book/assets/figures/collapse.js"), { spaced, random } = require("../../book/assets/figures/chart.js");

const uniform = random(99991), KINDS = ["ste", "rotation"];
const between = (a, b) => a * (b / a) ** uniform();
const draw = () => ({ gamma: between(0.1, 20), decay: between(0.05, 2), r0: between(0.01, 2), beta: between(0.02, 5), rho: 0.3 + 0.65 * uniform() });
const close = (x, y, tol) => assert.ok(Math.abs(x - y) <= tol * Math.abs(y), `${x} is not ${y}`);

test("at the stationary point nothing moves, and there is one exactly below the threshold", () => {
  for (let i = 0; i < 200; i++) for (const kind of KINDS) {
    const p = draw(), x = C.equilibrium(kind, p);
    assert.strictEqual(x !== null, p.gamma < C.threshold(kind, p));
    if (x) C.rates(kind, p, x).forEach((v) => assert.ok(Math.abs(v) < 1e-9 * (1 + p.gamma + 1 / x[0]), `${v}`));
  }
});

test("the thresholds are rho^2/(decay (1-rho)) and, for STE, 1/rho times that", () => {
  const p = { decay: 0.5, rho: 2 / Math.PI };
  close(C.threshold("rotation", p), 4 / Math.PI ** 2 / (0.5 * (1 - 2 / Math.PI)), 1e-12);
  close(C.threshold("ste", p) * p.rho, C.threshold("rotation", p), 1e-12);
});

test("neither beta nor r0 decides: 10 % below the threshold it settles, 10 % above it decays", () => {
  const times = spaced([0.01, 1e5], 600);
  for (const kind of KINDS) for (const beta of [0.05, 1, 5]) for (const r0 of [0.02, 0.5, 2]) {
    const p = { decay: 0.5, rho: 2 / Math.PI, beta, r0 }, gamma = C.threshold(kind, p);
    const below = { ...p, gamma: 0.9 * gamma }, path = C.solve(kind, below, times);
    C.equilibrium(kind, below).forEach((v, i) => close(path.at(-1)[i], v, 1e-3));
    const above = C.solve(kind, { ...p, gamma: 1.1 * gamma }, times, 1e-6);
    assert.ok(Math.max(...above.at(-1)) < 1e-6);
  }
});

test("a small codebook and a slow one: z dips far below the value at which it settles", () => {
  for (const gamma of [1, 2]) {
    const p = { gamma, decay: 0.5, r0: 0.02, beta: 0.05, rho: 2 / Math.PI }, path = C.solve("rotation", p, spaced([0.01, 1e5], 400));
    const low = [0, 1, 2].map((i) => Math.min(...path.map((x) => x[i])));
    assert.ok(low[0] < 0.5 * C.equilibrium("rotation", p)[0], `${low[0]}`);
    close(path.at(-1)[0], C.equilibrium("rotation", p)[0], 1e-3);
  }
});

test("without decoder decay the rotation lets s fall like (8 gamma (1-rho) T)^(-1/4) and STE does not", () => {
  const p = { gamma: 0.5, decay: 0, r0: 1, beta: 1, rho: 2 / Math.PI }, times = spaced([0.01, 1e7], 800);
  close(C.solve("rotation", p, times).at(-1)[0], (8 * p.gamma * (1 - p.rho) * 1e7) ** -0.25, 0.01);      // leading term only
  const [s, t, w] = C.solve("ste", p, times).at(-1);
  close(s, p.gamma ** -0.5, 1e-3);
  close(t, p.gamma ** -0.5, 1e-3);
  close(w, p.gamma ** 0.5, 1e-3);
});

/* classical Runge-Kutta in s, t, w themselves, with steps far below 1 / the largest rate */
function rk4(kind, p, end, n) {
  const f = (x) => C.rates(kind, p, x), go = (x, h, k) => x.map((v, i) => v + h * k[i]);
  let x = [1, p.r0, 1];
  for (let i = 0, h = end / n; i < n; i++) {
    const a = f(x), b = f(go(x, h / 2, a)), c = f(go(x, h / 2, b)), d = f(go(x, h, c));
    x = x.map((v, j) => v + (h / 6) * (a[j] + 2 * b[j] + 2 * c[j] + d[j]));
  }
  return x;
}

test("200 points are enough: within half a per cent of Runge-Kutta", () => {
  for (let i = 0; i < 20; i++) for (const kind of KINDS) {
    const p = draw(), path = C.solve(kind, p, spaced(C.T, 200)), at = [80, 110];                       // t = 1.02 and 5.8
    for (const k of at) rk4(kind, p, spaced(C.T, 200)[k], 20000).forEach((v, j) => close(path[k][j], v, 5e-3));
  }
});
