/* The printed figures are the first frames of the live ones, and each figure is small and needs nothing from elsewhere. */
"use strict";
const test = require("node:test"), assert = require("node:assert"), fs = require("node:fs"), path = require("node:path");
const { NAMES, print } = require("../../book/figures/print.js");
const book = path.join(__dirname, "..", "..", "book"), read = (...p) => fs.readFileSync(path.join(book, ...p), "utf8");
const script = (name) => read("assets", "figures", name + ".js");
/* another node may round a last digit otherwise: words must agree, numbers to a fifth of a pixel */
const NUMBER = /-?\d+(?:\.\d+)?/g;
function alike(x, y) {
  assert.strictEqual(x.replace(NUMBER, "0"), y.replace(NUMBER, "0"));
  const b = y.match(NUMBER);
  x.match(NUMBER).forEach((v, i) => assert.ok(Math.abs(v - b[i]) <= 0.2, `${v} is not ${b[i]}`));
}
const needs = (name) => ["core", /require\("\.\/(\w+)\.js"\)/.exec(script(name))[1], name];

for (const name of NAMES) {
  test(`${name}.svg is up to date: node book/figures/print.js writes it`, () => alike(read("figures", name + ".svg"), print(name)));
  test(`${name} weighs under 15 kB with all it needs`, () => {
    const bytes = needs(name).reduce((n, s) => n + Buffer.byteLength(script(s)), 0);
    assert.ok(bytes < 15000, `${bytes} bytes`);
  });
  test(`${name}.svg stands alone`, () => assert.doesNotMatch(read("figures", name + ".svg"), /var\(|NaN|undefined|<script|href/));
}

test("no script names another host", () => {
  for (const name of fs.readdirSync(path.join(book, "assets", "figures"))) {
    const urls = read("assets", "figures", name).match(/https?:\/\/[^"' ]+/g) ?? [];
    assert.deepStrictEqual(urls.filter((u) => u !== "http://www.w3.org/2000/svg"), []);
  }
});
