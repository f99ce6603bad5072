/* A codebook to drag: the encoder output z, the step -g that its code q is asked for, and the step -G^T g that every estimator makes of it at z. */
(function () {
  "use strict";
  const node = typeof module === "object", R = node ? require("./plane.js") : self.rotvq;
  const { PULL, pull, nearest, norm, add, angle, num, html, el, text, arrow } = R;
  const START = {
    codes: [[2, 0.9], [0.4, 2.1], [-1.5, 1.5], [-2.1, -0.6], [-0.5, -1.9], [1.6, -1.4]],
    z: [1.8, -0.2], g: [1.1, -0.8], centre: [0, 0], shown: ["ste", "rotation"],
  };

  /* what the picture shows: the code of z, the pull-backs about the centre, their length against |g| and their angle to g in degrees */
  function measure({ codes, z, g, centre }) {
    const k = nearest(z, codes), q = codes[k], rows = {}, from = (x) => add(x, centre, -1);
    for (const name in PULL) {
      const v = pull(name, from(z), from(q), g);
      rows[name] = { v, length: norm(v) / norm(g), turn: (angle(v, g) * 180) / Math.PI };
    }
    return { k, q, away: norm(from(z)), r: norm(from(q)) / norm(from(z)), theta: (angle(from(z), from(q)) * 180) / Math.PI, rows };
  }

  function build(box, alt, options) {
    const s = { ...structuredClone(START), ...options }, root = R.svg(box, 400, 400, alt);
    const P = R.plane(root, s.codes, ["rays", "arrows"], draw), ray = el("path", {}, P.rays);
    const line = (cls) => el("path", { class: "mv-arrow mv-" + cls }, P.arrows), tags = el("g", {}, root);
    const arrows = {}, names = {}, facts = {}, legend = html("fieldset", { class: "mv-legend" }, box);
    html("legend", {}, legend, "Step at z under");
    for (const name in PULL) {
      const label = html("label", {}, legend), on = s.shown.includes(name);
      const tick = html("input", on ? { type: "checkbox", checked: "" } : { type: "checkbox" }, label);
      html("i", { class: "mv-swatch mv-" + name }, label);
      html("span", {}, label, PULL[name][0]);
      html("span", { class: "mv-formula" }, label, PULL[name][1]);
      facts[name] = html("span", { class: "mv-value" }, label);
      arrows[name] = line(name);
      names[name] = text(tags, 0, 0, PULL[name][0]);
      tick.addEventListener("change", () => {
        s.shown = s.shown.filter((n) => n !== name).concat(tick.checked ? name : []);
        draw();
      });
    }
    const atq = line("g"), gname = text(tags, 0, 0, "−g", { class: "mv-symbol" }), zname = text(tags, 0, 0, "z", { class: "mv-symbol" });
    const qname = text(tags, 0, 0, "q", { class: "mv-symbol" }), cname = text(tags, 0, 0, "centre"), out = html("output", {}, box);
    html("div", { class: "mv-bar" }, box);
    const q = () => s.codes[nearest(s.z, s.codes)];
    const move = [
      R.handle(P.top, "centre of the estimators", "mv-tip", P, () => s.centre, (p) => { s.centre = p; draw(); }),
      R.handle(P.top, "tip of the step −g at q", "mv-tip", P, () => add(q(), s.g, -1), (p) => { s.g = add(q(), p, -1); draw(); }),
      R.handle(P.top, "encoder output z", "mv-z", P, () => s.z, (p) => { s.z = p; draw(); }),
    ];

    function draw() {
      const m = measure(s), at = P.to(s.z), c = P.to(s.centre), used = [];
      /* a name beyond the tip of its arrow, moved down while it would cover another */
      const name = (t, from, tip) => {
        const v = add(tip, from, -1), n = norm(v) || 1, far = v[0] < -0.3 * n, width = 6.5 * t.textContent.length;
        const x = Math.min(tip[0] + (12 * v[0]) / n, far ? 400 : 398 - width), left = far ? x - width : x;
        let y = tip[1] + (12 * v[1]) / n + 4;
        while (used.some(([l, w, o]) => Math.abs(o - y) < 13 && l < left + width && left < l + w)) y += 13;
        used.push([left, width, y]);
        R.fill(t, { x: R.px(x), y: R.px(y), "text-anchor": far ? "end" : "start" });
      };
      P.mark(m.k);
      R.fill(ray, { d: [at, P.to(m.q)].map((end) => `M${R.points([c])}L${R.points([end])}`).join("") });
      const tip = P.to(add(m.q, s.g, -1));
      R.fill(atq, { d: arrow(P.to(m.q), tip) });
      name(gname, P.to(m.q), tip);
      name(zname, tip, at);
      name(qname, tip, P.to(m.q));
      name(cname, at, c);
      for (const n in PULL) {
        const { v, length, turn } = m.rows[n], on = s.shown.includes(n), end = P.to(add(s.z, v, -1));
        R.fill(arrows[n], { d: on ? arrow(at, end) : "" });
        names[n].textContent = on ? PULL[n][0] : "";
        if (on) name(names[n], at, end);
        facts[n].textContent = norm(v) ? `×${num(length)}, ${num(turn, 0)}°` : "0";
      }
      move.forEach((f) => f());
      out.textContent = !m.away ? "z is the centre: r has no bound near it, θ no value at it; here the estimators pass on g as it is" : `z in cell ${m.k + 1}; from the centre: r = |q|/|z| = ${num(m.r)}, θ = ${num(m.theta, 0)}°`;
    }
    draw();
    return Object.assign(s, { draw, cells: P.cells });
  }

  const api = { START, measure, build };
  if (node) module.exports = api; else R.enhance("codebook", api);
})();
