/* The solvable model of shrinking latents: encoder z = s x, codes q = t c, decoder w z_q, under gradient flow. */
(function () {
  "use strict";
  const node = typeof module === "object", R = node ? require("./chart.js") : self.rotvq;
  const { el, fill, text, html, num, px } = R;
  const START = { gamma: 2.8, decay: 0.5, r0: 0.3, beta: 1, rho: 0.637 };
  const T = [0.01, 1000], Y = [0.001, 10], GAMMA = [0.1, 20], NAMES = { ste: "STE", rotation: "rotation" };

  /* (s', t', w'); `decay` is lambda_W, the decoder's */
  function rates(kind, { gamma, decay, beta, rho }, [s, t, w]) {
    const push = kind === "rotation" ? 2 * w * rho * (t / s) * (1 - w * t) : 2 * w * (1 - w * rho * t);
    return [push - 2 * gamma * (s - rho * t), 2 * beta * (s - t), 2 * rho * t * (1 - w * t) - 2 * decay * w];
  }
  /* the commitment weight beyond which all of z, q and w decay to 0 */
  const threshold = (kind, { decay, rho }) => (kind === "rotation" ? rho * rho : rho) / (decay * (1 - rho));
  /* the one stationary point with s = t > 0, or null; y = w s */
  function equilibrium(kind, p) {
    const { gamma, decay, rho } = p, c = decay * gamma * (1 - rho);
    if (gamma >= threshold(kind, p)) return null;
    const y = kind === "rotation" ? 1 - Math.sqrt(c) / rho : (1 + rho - Math.sqrt((1 - rho) ** 2 + 4 * c)) / (2 * rho);
    const s = Math.sqrt((y * decay) / (rho * (1 - y)));
    return [s, s, y / s];
  }
  const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
  /* The states at the given times, one step each after 16 up to the first, from s = w = 1 and t = r0: the L-stable Rosenbrock method of order 2 in the
     logarithms, so that stiffness costs nothing. Shorter if all three fall below `floor`, or if s falls to 0 in finite time. */
  function solve(kind, p, times, floor = 0) {
    const f = (u) => {
      const x = [Math.exp(u[0]), Math.exp(u[1]), Math.exp(u[2])], v = rates(kind, p, x);
      return [v[0] / x[0], v[1] / x[1], v[2] / x[2]];
    };
    const path = [], c = 1 - Math.SQRT1_2, E = 1e-6, first = times[0], early = R.spaced([first / 1e4, first], 16).slice(0, -1);
    let u = [0, Math.log(p.r0), 0], now = 0;
    for (const end of [...early, ...times]) {
      const h = end - now, k = f(u);
      const M = [0, 1, 2].map((j) => {                                            // columns of 1 - c h J
        const v = u.slice();
        v[j] += E;
        const column = R.mul((-c * h) / E, R.add(f(v), k, -1));
        column[j] += 1;
        return column;
      });
      const N = M.map((_, i) => cross(M[(i + 1) % 3], M[(i + 2) % 3])), det = R.dot(M[0], N[0]), inverse = (b) => N.map((n) => R.dot(n, b) / det);
      const k1 = inverse(k), k2 = inverse(R.add(f(R.add(u, k1, h)), k1, -2));
      u = u.map((v, i) => v + h * (1.5 * k1[i] + 0.5 * k2[i]));
      now = end;
      if (!(Math.min(...u) > -50 && Math.max(...u) < 50)) break;
      if (now >= first) path.push(u.map(Math.exp));
      if (Math.exp(Math.max(...u)) < floor) break;
    }
    return path;
  }

  function build(box, alt, options) {
    const s = { ...START, n: 200, ...options }, root = R.svg(box, 400, 416, alt), times = R.spaced(T, s.n);
    const x = R.along(T, 40, 370), gx = R.along(GAMMA, 40, 370);
    const panel = (kind, top) => {
      const g = el("g", { class: "mv-" + kind }, root), y = R.along(Y, top + 140, top);
      el("path", { d: `M40 ${top}V${top + 140}H370`, class: "mv-axis" }, g);
      R.ticks(g, [0.001, 0.01, 0.1, 1, 10], R.left(34, y));
      const star = el("path", { class: "mv-code" }, g), lines = ["s", "t", "w"].map((n) => el("path", { class: "mv-line mv-" + n }, g));
      return { y, star, lines, title: text(g, 50, top + 132, "") };
    };
    const panels = { ste: panel("ste", 8), rotation: panel("rotation", 168) };
    R.ticks(root, [0.01, 0.1, 1, 10, 100, 1000], R.below(x, 323));
    text(root, 366, 303, "time", { "text-anchor": "end" });
    ["s", "t", "w"].forEach((n, i) => {
      el("path", { d: `M${240 + 45 * i} 18h22`, class: "mv-line mv-ste mv-" + n }, root);
      text(root, 266 + 45 * i, 22, n, { class: "mv-symbol" });
    });
    const between = el("rect", { y: 362, height: 20, class: "mv-between" }, root);
    el("path", { d: "M40 382H370", class: "mv-axis" }, root);
    R.ticks(root, [0.1, 1, 10], R.below(gx, 410));
    const marks = {};
    for (const k in NAMES) marks[k] = { line: el("path", { class: "mv-arrow mv-" + k }, root), tag: text(root, 0, 0, "", { "text-anchor": "middle" }) };
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
        said.push(`${NAMES[k]} ${rest ? "settles" : "shrinks to 0"} (γ* = ${num(threshold(k, s))})`);
        const g = threshold(k, s), at = gx(g), row = k === "ste" ? 358 : 345, [lo, hi] = GAMMA;
        fill(marks[k].line, { d: g > lo && g < hi ? `M${at} ${row + 4}V382` : "" });
        fill(marks[k].tag, { x: R.clamp(at, 75, 335), y: row }).textContent = (g < lo ? "← " : "") + `γ* ${NAMES[k]}` + (g > hi ? " →" : "");
      }
      const [a, b] = ["rotation", "ste"].map((k) => gx(threshold(k, s))), at = gx(s.gamma);
      fill(between, { x: a, width: px(b - a) });
      fill(here, { d: `M${at} 384l6 12h-12z` });
      fill(htag, { x: at + 12, y: 397 });
      out.textContent = `γ = ${num(s.gamma)}: ${said.join("; ")}`;
    }
    R.range(box, "γ, commitment", [...GAMMA, 0.01], s, "gamma", draw, R.log);
    R.range(box, "λ_W, decoder decay", [0.05, 2, 0.01], s, "decay", draw, R.log);
    R.range(box, "r₀, first |q|/|z|", [0.01, 2, 0.01], s, "r0", draw, R.log);
    R.range(box, "β, codebook", [0.02, 5, 0.01], s, "beta", draw, R.log);
    R.range(box, "ρ, share kept", [0.3, 0.95, 0.005], s, "rho", draw);
    html("div", { class: "mv-bar" }, box);
    draw();
    return Object.assign(s, { draw });
  }

  const api = { START, T, rates, threshold, equilibrium, solve, build };
  if (node) module.exports = api; else R.enhance("collapse", api);
})();
