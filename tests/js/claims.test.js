/* The filters of the ledger. */
"use strict";
const test = require("node:test"), assert = require("node:assert");
const C = require("../../book/assets/claims.js");

const rows = [
  { text: "a-001 true the angle of q", verdict: "true", source: "article", chapter: "03", kind: "theorem" },
  { text: "a-002 false the angle of g", verdict: "false", source: "article", chapter: "03", kind: "proof" },
  { text: "p-001 false usage rises", verdict: "false", source: "paper", chapter: "10", kind: "empirical" },
];
const shown = (choice) => rows.filter((r) => C.meets(r, choice)).map((r) => r.text.slice(0, 5));

test("no choice shows all rows", () => {
  assert.deepStrictEqual(shown({}), ["a-001", "a-002", "p-001"]);
  assert.deepStrictEqual(shown({ words: "", verdict: "" }), ["a-001", "a-002", "p-001"]);
});
test("each field filters, and fields combine", () => {
  assert.deepStrictEqual(shown({ verdict: "false" }), ["a-002", "p-001"]);
  assert.deepStrictEqual(shown({ source: "article", verdict: "false" }), ["a-002"]);
  assert.deepStrictEqual(shown({ chapter: "10" }), ["p-001"]);
  assert.deepStrictEqual(shown({ kind: "theorem", source: "paper" }), []);
});
test("a verdict is compared whole: 'true' is not 'true with a fix'", () => {
  assert.ok(!C.meets({ ...rows[0], verdict: "true with a fix" }, { verdict: "true" }));
});
test("all words have to be there, in any order and case", () => {
  assert.deepStrictEqual(shown({ words: "ANGLE a-0" }), ["a-001", "a-002"]);
  assert.deepStrictEqual(shown({ words: "q angle" }), ["a-001"]);
  assert.deepStrictEqual(shown({ words: "nothing" }), []);
});
test("the values of a field, once each and in order", () => {
  assert.deepStrictEqual(C.values(rows, "verdict"), ["false", "true"]);
});
test("a choice is kept in the address, and read from it", () => {
  const choice = { words: "angle of q", verdict: "true with a fix", source: "", chapter: "03", kind: "" };
  const kept = C.toHash(choice);
  assert.strictEqual(kept, "#words=angle+of+q&verdict=true+with+a+fix&chapter=03");
  assert.deepStrictEqual(C.fromHash(kept), { words: "angle of q", verdict: "true with a fix", chapter: "03" });
  assert.strictEqual(C.toHash({ words: "", verdict: "" }), "");
});
test("the address of a row is no choice", () => {
  assert.strictEqual(C.fromHash("#A-031"), null);
  assert.strictEqual(C.fromHash(""), null);
});
