/* The solvable model of collapse: encoder z = s x, codes q = t c, decoder w z_q, under gradient flow. */
(function () {
  "use strict";
  const node = typeof module === "object", R = node ? require("./core.js") : self.rotvq;
  const { el, fill, text, html, num, px } = R;
  const START = { gamma: 2.8, mu: 0.5, r0: 0.3, beta: 1, rho: 0.637 };
  const T = [0.01, 1000], Y = [0.001, 10], GAMMA = [0.1, 20], NAMES = { ste: "STE", rotation: "rotation" };

  /* (s', t', w') */
  function rates(kind, { gamma, mu, beta, rho }, [s, t, w]) {
    const push = kind === "rotation" ? 2 * w * rho * (t / s) * (1 - w * t) : 2 * w * (1 - w * rho * t);
    return [push - 2 * gamma * (s - rho * t), 2 * beta * (s - t), 2 * rho * t * (1 - w * t) - 2 * mu * w];
  }
  /* the commitment weight beyond which all of z, q and w decay to 0 */
  const threshold = (kind, { mu, rho }) => (kind === "rotation" ? rho * rho : rho) / (mu * (1 - rho));
  /* the one stationary point with s = t > 0, or null; y = w s */
  function equilibrium(kind, p) {
    const { gamma, mu, rho } = p, c = mu * gamma * (1 - rho);
    if (gamma >= threshold(kind, p)) return null;
    const y = kind === "rotation" ? 1 - Math.sqrt(c) / rho : (1 + rho - Math.sqrt((1 - rho) ** 2 + 4 * c)) / (2 * rho);
    const s = Math.sqrt((y * mu) / (rho * (1 - y)));
    return [s, s, y / s];
  }
  /* the states at the given times (increasing), by the Bogacki-Shampine pair; shorter if s, t or w reaches 0 on the way,
     or if all three fall below `floor` */
  function solve(kind, p, times, floor = 0, tol = 1e-4) {
    const f = (x) => rates(kind, p, x), go = (x, ...hk) => x.map((v, i) => v + hk.reduce((a, [h, k]) => a + h * k[i], 0));
    let x = [1, p.r0, 1], now = 0, h = 1e-3, k1 = f(x);
    const path = [];
    for (const end of times) {
      while (now < end) {
        const last = now + h >= end, d = last ? end - now : h, k2 = f(go(x, [d / 2, k1])), k3 = f(go(x, [0.75 * d, k2]));
        const n = go(x, [(2 * d) / 9, k1], [d / 3, k2], [(4 * d) / 9, k3]), k4 = f(n), positive = Math.min(...n) > 0;
        const gap = (v, i) => Math.abs(d * ((-5 * k1[i]) / 72 + k2[i] / 12 + k3[i] / 9 - k4[i] / 8)) / (tol * Math.abs(v) + 1e-9);
        const error = Math.max(...n.map(gap)), ok = positive && error <= 1, next = d * (positive ? R.clamp(0.9 * error ** (-1 / 3), 0.2, 4) : 0.2);
        if (!ok && d < 1e-9) return path;
        if (ok) [now, x, k1] = [last ? end : now + d, n, k4];
        h = ok && last ? Math.max(h, next) : next;
      }
      path.push(x);
      if (Math.max(...x) < floor) break;
    }
    return path;
  }
  const spaced = ([a, b], n) => Array.from({ length: n }, (_, i) => a * (b / a) ** (i / (n - 1)));

  function build(box, alt, options) {
    const s = { ...START, n: 200, ...options }, root = R.svg(box, 400, 416, alt), times = spaced(T, s.n);
    const along = ([a, b], lo, hi) => (v) => px(lo + ((hi - lo) * Math.log(R.clamp(v, a, b) / a)) / Math.log(b / a));
    const x = along(T, 40, 370), gx = along(GAMMA, 40, 370);
    const panel = (kind, top) => {
      const g = el("g", { class: "mv-" + kind }, root), y = along(Y, top + 140, top);
      el("path", { d: `M40 ${top}V${top + 140}H370`, class: "mv-axis" }, g);
      [0.001, 0.01, 0.1, 1, 10].forEach((v) => text(g, 34, y(v) + 4, v, { class: "mv-muted", "text-anchor": "end" }));
      const star = el("path", { class: "mv-code" }, g), lines = ["s", "t", "w"].map((n) => el("path", { class: "mv-line mv-" + n }, g));
      return { y, star, lines, title: text(g, 50, top + 132, "") };
    };
    const panels = { ste: panel("ste", 8), rotation: panel("rotation", 168) };
    [0.01, 0.1, 1, 10, 100, 1000].forEach((v) => text(root, x(v), 323, v, { class: "mv-muted", "text-anchor": "middle" }));
    text(root, 366, 303, "time", { "text-anchor": "end" });
    ["s", "t", "w"].forEach((n, i) => {
      el("path", { d: `M${240 + 45 * i} 18h22`, class: "mv-line mv-ste mv-" + n }, root);
      text(root, 266 + 45 * i, 22, n, { class: "mv-symbol" });
    });
    const between = el("rect", { y: 362, height: 20, class: "mv-between" }, root);
    el("path", { d: "M40 382H370", class: "mv-axis" }, root);
    [0.1, 1, 10].forEach((v) => text(root, gx(v), 397, v, { class: "mv-muted", "text-anchor": "middle" }));
    const marks = {};
    for (const k in NAMES) marks[k] = { line: el("path", { class: "mv-arrow mv-" + k }, root), tag: text(root, 0, 0, "") };
    const here = el("path", { class: "mv-code" }, root), htag = text(root, 0, 0, "γ", { class: "mv-symbol", "text-anchor": "middle" });
    const out = html("output", {}, box);

    function draw() {
      const said = [];
      for (const k in panels) {
        const { y, star, lines, title } = panels[k], path = solve(k, s, times, Y[0]), rest = equilibrium(k, s);
        lines.forEach((l, i) => fill(l, { d: "M" + path.flatMap((v, j) => (v[i] < Y[0] ? [] : x(times[j]) + " " + y(v[i]))).join("L") }));
        fill(star, { d: rest ? `M371 ${y(rest[0])}l8 -4v8z` : "" });
        title.textContent = `${NAMES[k]}: ` + (rest ? `s settles at ${num(rest[0])}` : "s, t and w decay to 0");
        s[k] = { path, rest };
        said.push(`${NAMES[k]} ${rest ? "settles" : "collapses"} (γ* = ${num(threshold(k, s))})`);
        const at = gx(threshold(k, s)), far = k === "ste";
        fill(marks[k].line, { d: `M${at} 362V382` });
        fill(marks[k].tag, { x: R.clamp(at + (far ? 4 : -4), far ? 40 : 100, far ? 330 : 370), y: 357, "text-anchor": far ? "start" : "end" }).textContent = `γ* ${NAMES[k]}`;
      }
      const [a, b] = ["rotation", "ste"].map((k) => gx(threshold(k, s))), at = gx(s.gamma);
      fill(between, { x: a, width: px(b - a) });
      fill(here, { d: `M${at} 384l6 12h-12z` });
      fill(htag, { x: at, y: 410 });
      out.textContent = `γ = ${num(s.gamma)}: ${said.join("; ")}`;
    }
    R.range(box, "γ, commitment", [...GAMMA, 0.01], s, "gamma", draw, R.log);
    R.range(box, "μ, decoder decay", [0.05, 2, 0.01], s, "mu", draw, R.log);
    R.range(box, "r₀, first |q|/|z|", [0.01, 2, 0.01], s, "r0", draw, R.log);
    R.range(box, "β, codebook", [0.02, 5, 0.01], s, "beta", draw, R.log);
    R.range(box, "ρ, share kept", [0.3, 0.95, 0.005], s, "rho", draw);
    html("div", { class: "mv-bar" }, box);
    draw();
    return Object.assign(s, { draw });
  }

  const api = { START, T, rates, threshold, equilibrium, solve, spaced, build };
  if (node) module.exports = api; else R.enhance("collapse", build);
})();
