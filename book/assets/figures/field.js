/* The field -G^T g inside every cell, and points that flow under it. */
(function () {
  "use strict";
  const node = typeof module === "object", R = node ? require("./plane.js") : self.rotvq;
  const { PULL, pull, nearest, norm, add, mul, px, html, el, text, fill } = R;
  const START = {
    codes: [[2, 0.9], [0.4, 2.1], [-1.5, 1.5], [-2.1, -0.6], [-0.5, -1.9], [1.6, -1.4]],
    estimator: "rotation", loss: "constant", g: [-1.1, 0.5], y: [0.9, 0.7], centre: [0, 0], count: 200, dt: 0.012,
  };
  const LOSS = [["constant", "g is the same everywhere"], ["quadratic", "g = q − y, the loss |q − y|²/2"]];

  const gradient = (s, q) => (s.loss === "constant" ? s.g : add(q, s.y, -1));
  /* -G^T g at z, no longer than 8: the pull-back has no bound at the centre */
  function velocity(s, z) {
    const q = s.codes[nearest(z, s.codes)], c = s.centre;
    const v = mul(-1, pull(s.estimator, add(z, c, -1), add(q, c, -1), gradient(s, q))), n = norm(v);
    return n > 8 ? mul(8 / n, v) : v;
  }
  const flow = (s, z) => add(z, velocity(s, add(z, velocity(s, z), s.dt / 2)), s.dt);
  const outside = (z) => z.some((x) => Math.abs(x) > 3);

  function build(box, alt, options) {
    const s = { ...structuredClone(START), ...options }, uniform = R.random(20240607), root = R.svg(box, 400, 400, alt);
    const P = R.plane(root, s.codes, ["quiver", "trails", "points", "arrows"], redraw);
    const quiver = el("path", {}, P.quiver), trails = el("path", {}, P.trails), dots = el("path", {}, P.points);
    const arrow = el("path", { class: "mv-arrow mv-g" }, P.arrows), tag = text(root, 0, 0, "", { class: "mv-symbol" });
    const out = html("output", {}, box), settings = html("div", { class: "mv-bar" }, box), bar = html("div", { class: "mv-bar" }, box);
    const fresh = () => ({ z: [6 * uniform() - 3, 6 * uniform() - 3], trail: [] });
    const steady = () => s.loss === "constant", aim = () => (steady() ? mul(-1, s.g) : s.y);
    const set = (change) => { Object.assign(s, change); redraw(); };
    const move = [
      R.handle(P.top, "centre of the estimator", "mv-z", P, () => s.centre, (centre) => set({ centre })),
      R.handle(P.top, "step −g, or target y", "mv-tip", P, aim, (p) => set(steady() ? { g: mul(-1, p) } : { y: p })),
    ];
    Object.assign(s, { t: 0, crossed: 0, points: Array.from({ length: s.count }, fresh) });

    function step() {
      s.t += s.dt;
      s.points = s.points.map((p) => {
        const z = flow(s, p.z);
        if (outside(z)) return fresh();
        s.crossed += nearest(z, s.codes) !== nearest(p.z, s.codes);
        return { z, trail: p.trail.slice(-16).concat(R.points([P.to(z)])) };
      });
    }
    function draw() {
      fill(dots, { d: s.points.map((p) => `M${R.points([P.to(p.z)])}h0`).join("") });
      fill(trails, { d: s.points.map((p) => (p.trail[1] ? "M" + p.trail.join("L") : "")).join("") });
    }
    function report() {
      const k = s.points.map((p) => nearest(p.z, s.codes)), e = s.points.map((p, i) => norm(add(s.codes[k[i]], p.z, -1)));
      out.textContent = `t = ${R.num(s.t)}: mean |q − z| = ${R.num(e.reduce((a, b) => a + b) / e.length)}, `
        + `${new Set(k).size} of ${s.codes.length} codes in use, walls crossed ${s.crossed} times by ${s.count} points`;
    }
    /* a new field */
    function redraw() {
      let d = "";
      [dots, trails].forEach((e) => fill(e, { class: "mv-" + s.estimator }));
      for (let x = -2.8; x < 3; x += 0.4) for (let y = -2.8; y < 3; y += 0.4) {
        const v = velocity(s, [x, y]), at = P.to([x, y]), l = 20 / (1 + norm(v));
        d += R.arrow(at, [at[0] + l * v[0], at[1] - l * v[1]], 4);
      }
      fill(quiver, { d });
      const tip = P.to(aim());
      fill(arrow, { d: steady() ? R.arrow([200, 200], tip) : "" });
      fill(tag, { x: px(tip[0] + 10), y: px(tip[1] - 8) }).textContent = steady() ? "−g" : "y";
      move.forEach((f) => f());
      draw();
      report();
    }
    function run(n) { while (n--) step(); draw(); report(); }

    function choose(label, names, key) {
      const e = html("select", {}, html("label", {}, settings, label + " "));
      for (const [k, word] of names) html("option", k === s[key] ? { value: k, selected: "" } : { value: k }, e, word);
      e.addEventListener("change", () => set({ [key]: e.value }));
    }
    choose("Estimator", Object.keys(PULL).map((n) => [n, PULL[n][0]]), "estimator");
    choose("Gradient", LOSS, "loss");
    let frame = 0, playing = false;
    const turn = () => {
      if (!playing || !root.isConnected) return;
      step();
      draw();
      if (++frame % 30 === 0) report();
      requestAnimationFrame(turn);
    };
    const still = !node && matchMedia("(prefers-reduced-motion: reduce)").matches;
    if (!still) {
      const play = R.button(bar, "Play", () => {
        playing = !playing;
        play.textContent = playing ? "Pause" : "Play";
        box.setAttribute("aria-busy", playing);
        if (playing) turn(); else report();
      });
    }
    R.button(bar, "Step", () => run(still ? 25 : 5));
    redraw();
    run(24);
    return Object.assign(s, { step, draw, redraw, run });
  }

  const api = { START, gradient, velocity, flow, build };
  if (node) module.exports = api; else R.enhance("field", api);
})();
