/* What the figures a reader moves have in common: vectors, a little SVG, controls, and the way a printed figure becomes live.
   A classic script without dependencies: it runs from file:// and, for the tests, under node. An <img class="rotvq-NAME">
   is the printed figure; NAME.js, fetched only where such an image is, replaces it. */
(function () {
  "use strict";

  // ---- vectors: plain arrays of any length
  const dot = (a, b) => { let s = 0; for (let i = 0; i < a.length; i++) s += a[i] * b[i]; return s; };
  const norm = (a) => Math.sqrt(dot(a, a));
  const mul = (s, a) => a.map((x) => s * x);
  const add = (a, b, s = 1) => a.map((x, i) => x + s * b[i]);
  const unit = (a) => { const n = norm(a); return n ? mul(1 / n, a) : a; };
  const clamp = (x, lo, hi) => Math.min(hi, Math.max(lo, x));
  const angle = (a, b) => 2 * Math.atan2(norm(add(unit(a), unit(b), -1)), norm(add(unit(a), unit(b))));
  const same = (x) => x;

  /* repeatable uniform numbers in (0, 1), by Lehmer's generator */
  const random = (seed) => () => (seed = (seed * 16807) % 2147483647) / 2147483647;

  // ---- drawing
  const fill = (e, attrs, parent) => {
    for (const k in attrs) e.setAttribute(k, attrs[k]);
    if (parent) parent.append(e);
    return e;
  };
  const el = (name, attrs, parent) => fill(document.createElementNS("http://www.w3.org/2000/svg", name), attrs, parent);
  const html = (name, attrs, parent, words = "") => {
    const e = fill(document.createElement(name), attrs, parent);
    if (words) e.append(words);
    return e;
  };
  const text = (parent, x, y, words, attrs) => { const e = el("text", { x, y, ...attrs }, parent); e.textContent = words; return e; };
  const svg = (box, w, h, alt) => el("svg", { viewBox: `0 0 ${w} ${h}`, class: "mv-svg", role: "group", "aria-label": alt }, box);
  const num = (x, n = 2) => x.toFixed(n).replace(/^-(0\.?0*)$/, "$1").replace("-", "\u2212");
  const px = (x) => Math.round(x * 10) / 10;
  const points = (P) => P.map((p) => px(p[0]) + "," + px(p[1])).join(" ");
  /* path data of an arrow from p to q, in pixels */
  function arrow(p, q, head = 8) {
    const v = add(q, p, -1), n = norm(v), h = Math.min(head, n), u = unit(v), s = add(q, u, -h), w = [-0.4 * h * u[1], 0.4 * h * u[0]];
    return n < 0.5 ? "" : `M${points([p])}L${points([s])}M${points([add(s, w)])}L${points([q])}L${points([add(s, w, -1)])}z`;
  }

  // ---- controls
  const button = (parent, label, click) => {
    const b = html("button", { type: "button" }, parent, label);
    b.addEventListener("click", click);
    return b;
  };
  /* replaces every img.rotvq-NAME by what the figure's build(box, alt) puts into a box */
  function enhance(name, figure) {
    self.rotvq[name] = figure;
    document.querySelectorAll("img.rotvq-" + name).forEach((img) => {
      const box = html("div", { class: "mv mv-" + name });
      const start = () => {
        box.replaceChildren();
        box.setAttribute("aria-busy", false);
        box.state = figure.build(box, img.alt);
        return button([...box.querySelectorAll(".mv-bar")].pop(), "Reset", () => start().focus());
      };
      start();
      (img.closest("a") || img).replaceWith(box);
    });
  }

  const api = { dot, norm, mul, add, unit, clamp, angle, same, random, fill, el, html, text, svg, num, px, points, arrow, button, enhance };
  if (typeof module === "object") { module.exports = api; return; }
  self.rotvq = api;
  const here = document.currentScript.src, needs = { codebook: "plane", field: "plane", drift: "plane", collapse: "chart", angle: "chart" };
  document.addEventListener("DOMContentLoaded", () => {
    const names = Object.keys(needs).filter((n) => document.querySelector("img.rotvq-" + n));
    new Set(names.flatMap((n) => [needs[n], n])).forEach((n) => {
      const s = html("script", { src: new URL(n + ".js", here) });
      s.async = false; // in this order
      document.head.append(s);
    });
  });
})();
