/* The race of latents and codes: latents that move as one, b' = -E[G^T g] - 2 gamma E[z - q], and codes that follow. */
(function () {
  "use strict";
  const node = typeof module === "object", R = node ? require("./plane.js") : self.rotvq;
  const { pull, nearest, norm, add, mul, html, el, text, fill } = R;
  const ARMS = {
    rotation: ["rotation about the centre", "rotation"], codes: ["rotation about the mean code", "rotation"],
    turn: ["turn alone", "rotation_only"], gain: ["gain alone", "scale_only"], ste: ["STE", "ste"],
  };
  const CHOICES = [
    ["Estimator", "arm", Object.keys(ARMS).map((k) => [k, ARMS[k][0]])],
    ["Codes", "follow", [[0, "stand still"], [0.01, "follow slowly"], [0.1, "follow"], [1, "follow at once"]]],
    ["γ", "gamma", [0.01, 0.03, 0.1, 0.3].map((v) => [v, v])],
  ];
  const START = { arm: "rotation", follow: 0.01, gamma: 0.03, centre: [0, 0], count: 150, dt: 0.25 };

  const mean = (P) => mul(1 / P.length, P.reduce((a, b) => add(a, b)));
  const origin = (s) => (s.arm === "codes" ? mean(s.code) : s.centre);
  /* E[q - z], and minus the mean of what the estimator adds to STE's gradient */
  function forces(s) {
    const c = origin(s), q = s.z.map((z) => s.code[nearest(z, s.code)]), raw = q.map((x, i) => add(x, s.wanted[i], -1)), m = mean(raw);
    const added = raw.map((x, i) => {
      const g = add(x, m, -1); // the decoder's bias takes the mean out
      return add(g, pull(ARMS[s.arm][1], add(s.z[i], c, -1), add(q[i], c, -1), g), -1);
    });
    return { lag: mean(q.map((x, i) => add(x, s.z[i], -1))), push: mean(added) };
  }
  /* codes go a share of the way to the means of the latents that have them */
  function follow(s, k, share) {
    s.code.forEach((e, i) => {
      const mine = s.z.filter((_, j) => k[j] === i);
      if (mine.length) s.code[i] = add(e, add(mean(mine), e, -1), share);
    });
  }
  const chosen = (s) => s.z.map((z) => nearest(z, s.code)), used = (s) => new Set(chosen(s)).size;
  function step(s) {
    const { lag, push } = forces(s), k = chosen(s), move = mul(s.dt, add(push, lag, 2 * s.gamma));
    s.z = s.z.map((z) => add(z, move));
    follow(s, k, Math.min(1, s.dt * s.follow));
    s.t += s.dt;
  }
  /* a round cloud, and nine codes at the means of their cells */
  function fresh(s) {
    const uniform = R.random(7);
    s.wanted = s.z = Array.from({ length: s.count }, () => {
      const r = 0.9 * Math.sqrt(uniform()), a = 2 * Math.PI * uniform();
      return [1.8 + r * Math.cos(a), 1.6 + r * Math.sin(a)];
    });
    s.code = s.z.slice(0, 9);
    for (let n = 0; n < 15; n++) follow(s, chosen(s), 1);
    return Object.assign(s, { t: 0 });
  }

  function build(box, alt, options) {
    const s = fresh({ ...structuredClone(START), ...options }), root = R.svg(box, 400, 400, alt);
    const P = R.plane(root, s.code, ["points", "arrows"], draw), dots = el("path", {}, P.points), arrow = el("path", { class: "mv-arrow mv-g" }, P.arrows);
    const tag = text(root, 0, 0, "centre"), out = html("output", {}, box);
    const settings = html("div", { class: "mv-bar" }, box), bar = html("div", { class: "mv-bar" }, box);
    const move = R.handle(P.top, "centre of the rotation", "mv-z", P, () => s.centre, (p) => { s.centre = p; draw(); });

    function draw() {
      const { push, lag } = forces(s), m = mean(s.z), at = P.to(m), c = P.to(s.centre), far = (x) => R.num(norm(add(x, origin(s), -1)));
      P.cells();
      P.moved();
      move();
      fill(dots, { d: s.z.map((z) => `M${R.points([P.to(z)])}h0`).join(""), class: "mv-" + ARMS[s.arm][1] });
      fill(tag, { x: c[0] + 12, y: c[1] + 4 });
      const l = 90 / (0.02 + norm(push)); // pixels: long pushes are shortened
      fill(arrow, { d: R.arrow(at, [at[0] + l * push[0], at[1] - l * push[1]]) });
      out.textContent = `t = ${R.num(s.t, 0)}: ${used(s)} of 9 codes in use; from the centre: mean latent ${far(m)}, mean code ${far(mean(s.code))}; `
        + `push ${R.num(norm(push), 3)}, commitment ${R.num(2 * s.gamma * norm(lag), 3)}`;
    }
    function run(n) { while (n--) step(s); draw(); }
    for (const [label, key, names] of CHOICES) {
      const e = html("select", {}, html("label", {}, settings, label + " "));
      for (const [k, word] of names) html("option", k === s[key] ? { value: k, selected: "" } : { value: k }, e, word);
      e.addEventListener("change", () => { s[key] = isNaN(e.value) ? e.value : +e.value; draw(); });
    }
    let playing = false;
    const turn = () => { if (playing && root.isConnected) { run(4); requestAnimationFrame(turn); } };
    if (node || !matchMedia("(prefers-reduced-motion: reduce)").matches) {
      const play = R.button(bar, "Play", () => {
        playing = !playing;
        play.textContent = playing ? "Pause" : "Play";
        box.setAttribute("aria-busy", playing);
        turn();
      });
    }
    R.button(bar, "Step", () => run(80));
    draw();
    return Object.assign(s, { draw, run });
  }

  const api = { START, forces, step, used, fresh, build };
  if (node) module.exports = api; else R.enhance("drift", api);
})();
