/* The estimators' pull-backs against explicit matrices, and Voronoi cells against the nearest code. */
"use strict";
const test = require("node:test"), assert = require("node:assert");
const R = require("../../book/assets/figures/plane.js");
const { dot, norm, add, mul, unit, pull, PULL, random } = R;

const uniform = random(12345);
const vector = (d) => Array.from({ length: d }, () => 2 * uniform() - 1);
const close = (x, y, tol = 1e-12) => assert.ok(Math.abs(x - y) <= tol * (1 + Math.abs(y)), `${x} is not ${y}`);
const same = (x, y, tol) => x.forEach((v, i) => close(v, y[i], tol));

/* T^T g from the textbook matrix; every matrix here is d x d and formed entry by entry */
const eye = (d) => Array.from({ length: d }, (_, i) => Array.from({ length: d }, (_, j) => +(i === j)));
const plus = (M, s, u, v) => M.map((row, i) => row.map((x, j) => x + s * u[i] * v[j]));
const transposed = (M, g) => M[0].map((_, j) => dot(M.map((row) => row[j]), g));
function reference(name, z, q, g) {
  const a = unit(z), b = unit(q), r = norm(q) / norm(z), d = z.length, s = add(a, b), u = add(a, b, -1);
  const rotation = plus(plus(eye(d), 2, b, a), -1 / (1 + dot(a, b)), s, s), mirror = plus(eye(d), -2 / dot(u, u), u, u);
  const P = plus(eye(d), -1, a, a), clip = Math.min(2, Math.max(0.5, r));
  return {
    ste: g, rotation: mul(r, transposed(rotation, g)), rotation_only: transposed(rotation, g), scale_only: mul(r, g),
    clipped: mul(clip, transposed(rotation, g)), reflection: mul(r, transposed(mirror, g)),
    radial_free: mul(r, transposed(P, transposed(rotation, g))), radial_free_scale: mul(r, transposed(P, g)),
  }[name];
}

for (const name of Object.keys(PULL)) test(`${name} is the transpose of its matrix`, () => {
  for (const d of [2, 3, 17]) for (let i = 0; i < 20; i++) {
    const z = mul(3 * uniform(), vector(d)), q = vector(d), g = vector(d);
    same(pull(name, z, q, g), reference(name, z, q, g), 1e-9);        // the textbook form loses digits near b = -a
  }
});

test("the rotation keeps <G^T g, z> = <g, q> and |G^T g| = r |g|", () => {
  for (const d of [2, 5, 64]) {
    const z = vector(d), q = vector(d), g = vector(d), v = pull("rotation", z, q, g);
    close(dot(v, z), dot(g, q));
    close(norm(v), (norm(q) / norm(z)) * norm(g));
  }
});

test("a half turn keeps the norm and takes q to z", () => {
  for (const d of [2, 3, 8]) {
    const a = unit(vector(d)), v = pull("rotation_only", a, mul(-1, a), vector(d));
    assert.ok(v.every(Number.isFinite));
    same(pull("rotation_only", a, mul(-1, a), mul(-1, a)), a);
  }
});

test("zero vectors: no turn; scale 1 at z = 0, scale 0 at q = 0", () => {
  const g = [0.3, -0.7], q = [1, 2], o = [0, 0];
  for (const name of Object.keys(PULL)) same(pull(name, o, q, g), g);
  for (const [name, scale] of Object.entries({ ste: 1, rotation: 0, rotation_only: 1, clipped: 0.5, radial_free: 0 }))
    same(pull(name, q, o, g), mul(scale, g));
});

const area = (P) => P.reduce((s, p, i) => { const n = P[(i + 1) % P.length]; return s + (p[0] * n[1] - p[1] * n[0]) / 2; }, 0);
const inside = (P, x) => P.every((p, i) => { const n = P[(i + 1) % P.length]; return (n[0] - p[0]) * (x[1] - p[1]) - (n[1] - p[1]) * (x[0] - p[0]) > 0; });

for (const n of [1, 2, 6, 200]) test(`${n} cells tile the square, each around its own points`, () => {
  const codes = Array.from({ length: n }, () => mul(2.9, vector(2))), cells = codes.map((_, i) => R.cell(i, codes, 3));
  close(cells.reduce((s, P) => s + area(P), 0), 36, 1e-9);
  for (let i = 0; i < 100; i++) {
    const x = mul(3, vector(2));
    assert.ok(inside(cells[R.nearest(x, codes)], x));
  }
});

test("two codes in one place do not break a cell", () => {
  const codes = [[1, 1], [1, 1], [-1, 0]];
  codes.forEach((_, i) => assert.ok(R.cell(i, codes, 3).flat().every(Number.isFinite)));
});

test("the arrow ends at its tip and has no length where there is none", () => {
  assert.match(R.arrow([0, 0], [100, 0]), /L100,0L/);
  assert.strictEqual(R.arrow([5, 5], [5, 5]), "");
});
