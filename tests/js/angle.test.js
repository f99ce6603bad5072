/* The law of the angle phi between R^T g and g, against rotations of random gradients. */
"use strict";
const test = require("node:test"), assert = require("node:assert");
const A = require("../../book/assets/figures/angle.js"), R = require("../../book/assets/figures/plane.js");

const uniform = R.random(4242), DEG = 180 / Math.PI;
const normal = () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());
const vector = (d) => Array.from({ length: d }, normal);
/* z and q of random directions with theta degrees between them */
function pair(d, theta) {
  const a = R.unit(vector(d)), v = vector(d), u = R.unit(R.add(v, a, -R.dot(a, v)));
  return [a, R.add(R.mul(Math.cos(theta / DEG), a), u, Math.sin(theta / DEG))];
}

test("sin(phi/2) = sin(theta/2) |Pg|/|g| for each gradient", () => {
  for (const d of [2, 3, 16, 64]) for (const theta of [10, 60, 120, 175]) {
    const [z, q] = pair(d, theta), g = vector(d), u = R.unit(R.add(q, z, -R.dot(z, q)));
    const kappa = (R.dot(g, z) ** 2 + R.dot(g, u) ** 2) / R.dot(g, g);
    const phi = DEG * R.angle(R.pull("rotation_only", z, q, g), g);
    assert.ok(Math.abs(phi - A.turned(theta, kappa)) < 1e-6, `${phi}`);
  }
});

test("quantiles and the mean cosine, against 4000 random gradients", () => {
  const n = 4000;
  for (const d of [3, 4, 16, 64]) for (const theta of [40, 130]) {
    const phi = Array.from({ length: n }, () => { const [z, q] = pair(d, theta), g = vector(d); return DEG * R.angle(R.pull("rotation", z, q, g), g); });
    for (const p of [0.1, 0.5, 0.9]) {
      const share = phi.filter((v) => v < A.quantile(p, theta, d)).length / n;
      assert.ok(Math.abs(share - p) < 5 * Math.sqrt((p * (1 - p)) / n), `d ${d}: ${share} of the angles below quantile ${p}`);     // five standard errors
    }
    const c = phi.map((v) => Math.cos(v / DEG)), mean = c.reduce((a, b) => a + b) / n, sd = Math.sqrt(c.reduce((a, b) => a + (b - mean) ** 2, 0) / n);
    assert.ok(Math.abs(mean - A.meanCos(theta, d)) < (5 * sd) / Math.sqrt(n), `d ${d}: mean cosine ${mean}`);
  }
});

test("the distribution function inverts the quantile, and the shares sum to 1", () => {
  for (const d of [2, 3, 16, 1024]) for (const theta of [1, 60, 180]) {
    if (d > 2) for (const p of [0.1, 0.5, 0.9]) assert.ok(Math.abs(A.below(A.quantile(p, theta, d), theta, d) - p) < 1e-9);
    const shares = A.shares(theta, d);
    assert.ok(shares.every((v) => v >= 0) && Math.abs(shares.reduce((a, b) => a + b) - 1) < 1e-9, `${shares}`);
  }
});

test("in 64 dimensions half of all gradients turn by less than 15 % of theta, whatever theta", () => {
  for (let theta = 1; theta <= 180; theta++) assert.ok(A.quantile(0.5, theta, 64) < 0.15 * theta);
});

test("in the plane the whole turn survives", () => {
  assert.strictEqual(A.below(59.9, 60, 2), 0);
  for (const p of [0.1, 0.9]) assert.ok(Math.abs(A.quantile(p, 60, 2) - 60) < 1e-9);
  assert.ok(Math.abs(A.meanCos(60, 2) - 0.5) < 1e-12);
});
