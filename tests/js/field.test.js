/* The field -G^T g inside a cell, against complex numbers, and its flow. */
"use strict";
const test = require("node:test"), assert = require("node:assert");
const F = require("../../book/assets/figures/field.js"), { norm, add, nearest } = require("../../book/assets/figures/plane.js");

const close = (x, y, tol = 1e-12) => assert.ok(Math.abs(x - y) <= tol * (1 + Math.abs(y)), `${x} is not ${y}`);
const state = (more) => ({ ...F.START, ...more });
const POINTS = [[1.1, 0.7], [2.3, -0.3], [-0.8, 1.9], [-1.2, -1.4]];

test("in the plane the rotation's field is -g conj(q/z)", () => {
  const s = state();
  for (const z of POINTS) {
    const q = s.codes[nearest(z, s.codes)], n = z[0] ** 2 + z[1] ** 2;
    const c = [(q[0] * z[0] + q[1] * z[1]) / n, -(q[1] * z[0] - q[0] * z[1]) / n];                  // conj(q/z)
    const v = F.velocity(s, z);
    close(v[0], -(s.g[0] * c[0] - s.g[1] * c[1]));
    close(v[1], -(s.g[0] * c[1] + s.g[1] * c[0]));
  }
});

test("which is a source or sink of strength -<g, q> and a vortex, both at the origin", () => {
  const s = state();
  for (const z of POINTS) for (const t of [0.9, 1.05]) {
    const x = [t * z[0], t * z[1]], q = s.codes[nearest(x, s.codes)], v = F.velocity(s, x);
    close(v[0] * x[0] + v[1] * x[1], -(s.g[0] * q[0] + s.g[1] * q[1]));
    close(v[1] * x[0] - v[0] * x[1], s.g[0] * q[1] - s.g[1] * q[0]);
  }
});

test("for a fixed gradient the rotation's field has no divergence and no curl inside a cell; r g has a divergence", () => {
  const h = 1e-5, part = (s, z, i, j) => {
    const e = [0, 0];
    e[j] = h;
    return (F.velocity(s, add(z, e))[i] - F.velocity(s, add(z, e, -1))[i]) / (2 * h);
  };
  for (const z of POINTS) {
    const s = state();
    close(part(s, z, 0, 0) + part(s, z, 1, 1), 0, 1e-8);                 // central differences: error of order h^2
    close(part(s, z, 1, 0) - part(s, z, 0, 1), 0, 1e-8);
  }
  const s = state({ estimator: "scale_only" });
  assert.ok(Math.abs(part(s, POINTS[0], 0, 0) + part(s, POINTS[0], 1, 1)) > 0.1);
});

test("straight-through moves every point alike, and to y under the quadratic loss of its code", () => {
  for (const z of POINTS) {
    F.velocity(state({ estimator: "ste" }), z).forEach((v, i) => close(v, -F.START.g[i]));
    const s = state({ estimator: "ste", loss: "quadratic" }), q = s.codes[nearest(z, s.codes)];
    F.velocity(s, z).forEach((v, i) => close(v, s.y[i] - q[i]));
  }
});

test("no speed above 8, also at the origin", () => {
  for (const z of [[1e-9, 0], [0, 0], [1e-3, -1e-3]]) assert.ok(norm(F.velocity(state(), z)) <= 8 + 1e-9);
});

test("the midpoint step has order 2", () => {
  const run = (dt, n) => { let z = [1.6, 0.8]; while (n--) z = F.flow(state({ dt }), z); return z; };
  const exact = run(1e-4, 2000), gap = [0.04, 0.02].map((dt) => norm(add(run(dt, 0.2 / dt), exact, -1)));
  assert.ok(gap[0] / gap[1] > 3.3 && gap[0] / gap[1] < 4.7, `halving the step divides the error by ${gap[0] / gap[1]}`);
});
