/* Quantisation in the plane: the estimators' pull-backs (these in any dimension), Voronoi cells, and codes to drag. */
(function () {
  "use strict";
  const node = typeof module === "object", rotvq = node ? require("./core.js") : self.rotvq;
  const { dot, norm, mul, add, unit, clamp, same, el, fill, num, points } = rotvq;

  // ---- estimators: a turn, then a scale, then perhaps the loss of the radial part; a = z/|z|, b = q/|q|, r = |q|/|z|
  const reflect = (v, u) => add(v, u, -2 * dot(u, v));
  const middle = (a, b) => {
    const m = unit(add(a, b)), i = +(a[0] * a[0] > a[1] * a[1]);
    return norm(m) ? m : unit(add(a.map((_, j) => +(i === j)), a, -a[i]));       // b = -a: the plane of a and an axis
  };
  const back = (g, a, b) => reflect(reflect(g, middle(a, b)), a);                // R^T g
  const mirror = (g, a, b) => reflect(g, unit(add(a, b, -1)));                   // H g
  const one = () => 1, ratio = (r) => r, clip = (r) => clamp(r, 0.5, 2);
  const PULL = {
    ste: ["STE", "g", same, one],
    rotation: ["rotation", "r Rᵀg", back, ratio],
    rotation_only: ["rotation only", "Rᵀg", back, one],
    scale_only: ["scale only", "r g", same, ratio],
    clipped: ["clipped", "clip(r) Rᵀg", back, clip],
    reflection: ["reflection", "r H g", mirror, ratio],
    radial_free: ["radial-free", "r P Rᵀg", back, ratio, true],
    radial_free_scale: ["radial-free, no turn", "r P g", same, ratio, true],
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
    codes.forEach((c, i) => { const e = add(z, c, -1), d = dot(e, e); if (d < best) { best = d; k = i; } });
    return k;
  }
  /* cell i of the Voronoi diagram: the box [-B, B]^2 cut by one half-plane per code that is near enough to matter */
  function cell(i, codes, B) {
    const c = codes[i], far = (P) => Math.max(...P.map((p) => Math.hypot(p[0] - c[0], p[1] - c[1])));
    let P = [[-B, -B], [B, -B], [B, B], [-B, B]], reach = far(P);
    codes.forEach((o, j) => {
      const n = [o[0] - c[0], o[1] - c[1]], len = Math.hypot(n[0], n[1]);
      if (j === i || !len || len > 2 * reach) return;
      const side = P.map((p) => n[0] * (p[0] - (o[0] + c[0]) / 2) + n[1] * (p[1] - (o[1] + c[1]) / 2)), Q = [];
      P.forEach((p, k) => {
        const l = (k + 1) % P.length, s = side[k], t = side[l];
        if (s <= 0) Q.push(p);
        if (s * t < 0) Q.push(add(p, add(P[l], p, -1), s / (s - t)));
      });
      if (Q.length) reach = far((P = Q));
    });
    return P;
  }

  // ---- drawing
  /* a point to drag or to move with the arrow keys; returns what puts it where get() says */
  function handle(parent, label, cls, plane, get, set) {
    const h = el("g", { class: "mv-handle " + cls, tabindex: 0, role: "slider", "aria-label": label, "aria-valuemin": -plane.B, "aria-valuemax": plane.B }, parent);
    el("circle", { r: 16, class: "mv-hit" }, h);
    el("circle", { r: 5.5 }, h);
    const put = (p) => set(p.map((x) => clamp(x, -plane.B, plane.B)));
    const busy = (on) => h.closest(".mv").setAttribute("aria-busy", on);         // a drag is read out once, at its end
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
    const move = codes.map((_, i) => handle(dots, `code ${i + 1}`, "mv-code", P, () => codes[i], (p) => { codes[i] = p; P.cells(); redraw(); }));
    P.top = dots;
    P.cells = () => codes.forEach((_, i) => { move[i](); fill(shapes[i], { points: points(cell(i, codes, B).map(P.to)) }); });
    P.mark = (k) => shapes.forEach((s, i) => fill(s, { class: i === k ? "mv-cell mv-on" : "mv-cell" }));
    return P;
  }

  const api = { ...rotvq, PULL, pull, nearest, cell, handle, plane };
  if (node) module.exports = api; else self.rotvq = api;
})();
