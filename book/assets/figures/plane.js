/* Quantisation in the plane: the estimators' pull-backs (these in any dimension), Voronoi cells, and codes to drag. */
(function () {
  "use strict";
  const node = typeof module === "object", rotvq = node ? require("./core.js") : self.rotvq;
  const { dot, norm, mul, add, unit, clamp, same, el, fill, num, points } = rotvq;

  // ---- estimators: a turn, then a scale, then perhaps the loss of the radial part; a = z/|z|, b = q/|q|, r = |q|/|z|
  const reflect = (v, u) => add(v, u, -2 * dot(u, v));
  const middle = (a, b) => {
    const m = unit(add(a, b)), i = +(a[0] * a[0] > a[1] * a[1]);
    return norm(m) ? m : unit(add(a.map((_, j) => +(i === j)), a, -a[i])); // b = -a: the plane of a and an axis
  };
  const back = (g, a, b) => reflect(reflect(g, middle(a, b)), a); // R^T g
  const mirror = (g, a, b) => reflect(g, unit(add(a, b, -1))); // H g
  const one = () => 1, ratio = (r) => r, clip = (r) => clamp(r, 0.5, 2);
  const PULL = {
    ste: ["STE", "g", same, one],
    rotation: ["rotation", "r Rᵀg", back, ratio],
    rotation_only: ["rotation only", "Rᵀg", back, one],
    scale_only: ["scale only", "r g", same, ratio],
    clipped: ["clipped", "clip(r) Rᵀg", back, clip],
    reflection: ["reflection", "r H g", mirror, ratio],
    radial_free: ["radial-free rotation", "r P Rᵀg", back, ratio, true],
    radial_free_scale: ["radial-free scale", "r P g", same, ratio, true],
  };
  /* G^T g, the gradient that reaches z when g arrives at q; at z = 0 or q = 0 there is no turn */
  function pull(name, z, q, g) {
    const [, , turn, scale, tangent] = PULL[name], nz = norm(z), nq = norm(q), a = unit(z);
    const v = nz && nq ? mul(scale(nq / nz), turn(g, a, unit(q))) : mul(scale(+!nz), g);
    return tangent && nq ? add(v, a, -dot(a, v)) : v;
  }

  // ---- cells
  function nearest(z, codes) {
    let k = 0, best = Infinity;
    codes.forEach((c, i) => {
      let d = 0;
      for (let j = 0; j < z.length; j++) d += (z[j] - c[j]) ** 2;
      if (d < best) { best = d; k = i; }
    });
    return k;
  }
  /* cell i of the Voronoi diagram: the box [-B, B]^2 cut by one half-plane per code that is near enough to matter */
  function cell(i, codes, B) {
    const cx = codes[i][0], cy = codes[i][1];
    let P = [[-B, -B], [B, -B], [B, B], [-B, B]], reach = Infinity; // 4 times the largest squared radius
    for (let j = 0; j < codes.length; j++) {
      const nx = codes[j][0] - cx, ny = codes[j][1] - cy, n2 = nx * nx + ny * ny;
      if (!n2 || n2 > reach) continue;
      const side = (o) => nx * (o[0] - cx) + ny * (o[1] - cy) - n2 / 2;
      if (P.every((o) => side(o) <= 0)) continue;
      const Q = [];
      let p = P[P.length - 1], s = side(p);
      for (const o of P) {
        const t = side(o);
        if (s * t < 0) Q.push([p[0] + ((o[0] - p[0]) * s) / (s - t), p[1] + ((o[1] - p[1]) * s) / (s - t)]);
        if (t <= 0) Q.push(o);
        p = o;
        s = t;
      }
      P = Q;
      reach = 4 * P.reduce((m, o) => Math.max(m, (o[0] - cx) ** 2 + (o[1] - cy) ** 2), 0);
    }
    return P;
  }

  // ---- drawing
  /* a point to drag or to move with the arrow keys; returns what puts it where get() says */
  function handle(parent, label, cls, plane, get, set) {
    const h = el("g", { class: "mv-handle " + cls, tabindex: 0, role: "slider", "aria-label": label, "aria-valuemin": -plane.B, "aria-valuemax": plane.B }, parent);
    el("circle", { r: 16, class: "mv-hit" }, h);
    el("circle", { r: 5.5 }, h);
    const put = (p) => set(p.map((x) => clamp(x, -plane.B, plane.B)));
    const busy = (on) => h.closest(".mv").setAttribute("aria-busy", on); // a drag is read out once, at its end
    h.addEventListener("pointerdown", (e) => { h.setPointerCapture(e.pointerId); e.preventDefault(); h.focus(); busy(true); });
    h.addEventListener("lostpointercapture", () => busy(false));
    h.addEventListener("pointermove", (e) => {
      if (!h.hasPointerCapture(e.pointerId)) return;
      const p = new DOMPoint(e.clientX, e.clientY).matrixTransform(parent.getScreenCTM().inverse());
      put(plane.from([p.x, p.y]));
    });
    h.addEventListener("keydown", (e) => {
      const d = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[e.key];
      if (d) { e.preventDefault(); put(add(get(), d, e.shiftKey ? 0.02 : 0.1)); }
    });
    return () => {
      const p = get();
      fill(h, { transform: `translate(${points([plane.to(p)])})`, "aria-valuenow": p[0].toFixed(2), "aria-valuetext": `x ${num(p[0])}, y ${num(p[1])}` });
    };
  }
  /* the plane [-B, B]^2 with its cells, the origin and the codes to drag; `layers` are drawn between cells and codes */
  function plane(root, codes, layers, redraw) {
    const B = 3, P = { B, to: (p) => [200 + 66 * p[0], 200 - 66 * p[1]], from: (p) => [(p[0] - 200) / 66, (200 - p[1]) / 66] };
    const cells = el("g", {}, root), shapes = codes.map(() => el("polygon", { class: "mv-cell" }, cells));
    el("path", { d: "M194 200h12M200 194v12", class: "mv-axis" }, root);
    layers.forEach((name) => (P[name] = el("g", { class: "mv-" + name }, root)));
    const dots = el("g", {}, root);
    const move = codes.map((_, i) => handle(dots, `code ${i + 1}`, "mv-code", P, () => codes[i], (p) => { codes[i] = p; move[i](); P.cells(); redraw(); }));
    P.top = dots;
    let on = 0;
    P.cells = () => shapes.forEach((s, i) => fill(s, { points: points(cell(i, codes, B).map(P.to)) }));
    P.mark = (k) => {
      fill(shapes[on], { class: "mv-cell" });
      fill(shapes[(on = k)], { class: "mv-cell mv-on" });
    };
    P.moved = () => move.forEach((f) => f());
    P.cells();
    P.moved();
    return P;
  }

  const api = { ...rotvq, PULL, pull, nearest, cell, handle, plane };
  if (node) module.exports = api; else self.rotvq = api;
})();
