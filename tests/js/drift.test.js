/* The race of latents and codes: its first push is the law's, and it ends as the chapter says. */
"use strict";
const test = require("node:test"), assert = require("node:assert");
const D = require("../../book/assets/figures/drift.js"), { nearest, norm, add, dot } = require("../../book/assets/figures/plane.js");

const state = (more) => D.fresh({ ...structuredClone(D.START), ...more });
const after = (more, steps) => { const s = state(more); while (steps--) D.step(s); return s; };
const mean = (P) => P.reduce((a, b) => add(a, b)).map((x) => x / P.length);
const far = (s) => norm(add(mean(s.z), s.centre, -1));

test("the first push is |e|^2 (z - c)/|z - c|^2, meaned, towards the centre", () => {
  const s = state(), q = s.z.map((z) => s.code[nearest(z, s.code)]);
  const law = mean(s.z.map((z, i) => {
    const e = add(q[i], z, -1), away = add(z, s.centre, -1);
    return away.map((x) => (-dot(e, e) * x) / dot(away, away));
  }));
  assert.ok(norm(add(D.forces(s).push, law, -1)) < 0.02 * norm(law));   // the codes are centroids to some digits
});

test("STE adds nothing, and with centroid codes nothing moves", () => {
  const s = state({ arm: "ste" }), before = s.z;
  assert.ok(norm(D.forces(s).push) < 1e-12);
  D.step(s);
  assert.ok(norm(add(s.z[0], before[0], -1)) < 1e-4);
});

test("in the plane the turn and the gain have about half of the push each", () => {
  const [all, turn, gain] = ["rotation", "turn", "gain"].map((arm) => norm(D.forces(state({ arm })).push));
  for (const part of [turn, gain]) assert.ok(Math.abs(part / all - 0.5) < 0.05);
});

test("slow codes are left behind; fast codes come along; about the mean code nothing slides; a larger gamma holds", () => {
  const slow = after({}, 800), fast = after({ follow: 1 }, 800), codes = after({ arm: "codes" }, 800), held = after({ gamma: 0.3 }, 800);
  assert.ok(D.used(slow) < 4 && far(slow) < 1);
  assert.ok(D.used(fast) === 9 && far(fast) < 1 && norm(add(mean(fast.code), fast.centre, -1)) < 1);
  for (const s of [codes, held]) assert.ok(D.used(s) === 9 && far(s) > 2);
});
