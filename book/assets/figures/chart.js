/* Sliders and logarithmic scales, for the figures that plot. */
(function () {
  "use strict";
  const node = typeof module === "object", rotvq = node ? require("./core.js") : self.rotvq;
  const { same, clamp, px, html, text } = rotvq;

  const log = { to: Math.log10, from: (x) => 10 ** x }, linear = { to: same, from: same };
  /* a slider from min to max; `scale` says how its travel maps to values, and the letter behind a _ of the label is an index */
  function range(parent, label, [min, max, step], state, key, change, { to, from } = linear) {
    const l = html("label", { class: "mv-range" }, parent);
    const name = html("span", {}, l);
    label.split(/_(\w)/).forEach((part, k) => html(k % 2 ? "sub" : "span", {}, name, part));
    const i = html("input", { type: "range", min: to(min), max: to(max), step, value: to(state[key]) }, l), v = html("span", { class: "mv-value" }, l);
    const show = () => i.setAttribute("aria-valuetext", (v.textContent = +state[key].toPrecision(3)));
    i.addEventListener("input", () => { state[key] = from(+i.value); show(); change(); });
    show();
  }

  /* n values from a to b, equally spaced in the logarithm, and the pixel of such a value between lo and hi */
  const spaced = ([a, b], n) => Array.from({ length: n }, (_, i) => a * (b / a) ** (i / (n - 1)));
  const along = ([a, b], lo, hi) => (v) => px(lo + ((hi - lo) * Math.log(clamp(v, a, b) / a)) / Math.log(b / a));
  /* numbers on an axis; place says where each goes */
  const below = (x, y) => (v) => [x(v), y, "middle"], left = (x, y) => (v) => [x, y(v) + 4, "end"];
  const ticks = (parent, values, place, words = same) => values.forEach((v) => {
    const [x, y, anchor] = place(v);
    text(parent, x, y, words(v), { class: "mv-muted", "text-anchor": anchor });
  });

  const api = { ...rotvq, log, range, spaced, along, below, left, ticks };
  if (node) module.exports = api; else self.rotvq = api;
})();
