/* Where a preview goes. */
"use strict";
const test = require("node:test"), assert = require("node:assert");
const P = require("../../book/assets/previews.js");

const view = { width: 400, height: 300 }, box = { width: 200, height: 100 };
const line = (left, top) => ({ left, top, right: left + 50, bottom: top + 20 });

test("below the line of the link, from its left", () => {
  assert.deepStrictEqual(P.place(line(30, 40), box, view), { left: 30, top: 66, height: 100 });
});
test("above, where it does not fit below and there is more room", () => {
  assert.deepStrictEqual(P.place(line(30, 240), box, view), { left: 30, top: 134, height: 100 });
});
test("inside the window from left to right, and at its left edge if it is as wide", () => {
  assert.strictEqual(P.place(line(350, 40), box, view).left, 192);
  assert.strictEqual(P.place(line(-20, 40), box, view).left, 8);
  assert.strictEqual(P.place(line(350, 40), { width: 500, height: 100 }, view).left, 8);
});
test("never over the link nor out of the window, however high it is", () => {
  for (let top = 0; top <= 280; top += 10)
    for (const height of [10, 100, 140, 1000]) {
      const link = line(0, top), at = P.place(link, { width: 200, height }, view);
      assert.ok(at.top >= link.bottom || at.top + at.height <= link.top);
      assert.ok(at.height <= height && at.top >= 0 && at.top + at.height <= view.height);
      assert.ok(at.height === Math.min(height, Math.max(link.top, view.height - link.bottom) - 14) || at.height === height);
    }
});
test("of a link over two lines the one that the pointer is on", () => {
  const lines = [line(300, 40), line(0, 60)];
  assert.strictEqual(P.lineAt(lines, 70), lines[1]);
  assert.strictEqual(P.lineAt(lines, NaN), lines[0]);
});
