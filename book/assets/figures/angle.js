/* How much of the turn from z to q a gradient feels in d dimensions: sin(φ/2) = sin(θ/2) |Πg|/|g|, Π onto span{z, q}. */
(function () {
  "use strict";
  const node = typeof module === "object", R = node ? require("./chart.js") : self.rotvq;
  const { el, fill, text, html, num, px } = R, DEG = 180 / Math.PI;
  const START = { theta: 60, d: 16 }, D = [2, 1024], BINS = 40;
  const powers = { to: Math.log2, from: (x) => Math.round(2 ** x) };

  /* for isotropic g, |Πg|²/|g|² ~ Beta(1, (d - 2)/2); angles in degrees */
  const turned = (theta, kappa) => 2 * DEG * Math.asin(Math.min(1, Math.sin(theta / 2 / DEG) * Math.sqrt(kappa)));
  const quantile = (p, theta, d) => turned(theta, 1 - (1 - p) ** (2 / (d - 2)));
  function below(phi, theta, d) {
    const kappa = Math.min(1, (Math.sin(phi / 2 / DEG) / Math.sin(theta / 2 / DEG)) ** 2);
    return d > 2 ? 1 - (1 - kappa) ** ((d - 2) / 2) : +(phi >= theta);
  }
  const meanCos = (theta, d) => (d - 2 + 2 * Math.cos(theta / DEG)) / d;
  /* shares of the angle in equal bins of [0, theta] */
  const shares = (theta, d) => Array.from({ length: BINS }, (_, i) => below((theta * (i + 1)) / BINS, theta, d) - (i && below((theta * i) / BINS, theta, d)));

  function build(box, alt, options) {
    const s = { ...START, n: 200, ...options }, root = R.svg(box, 400, 370, alt);
    const polar = (c, r, a) => [c[0] + r * Math.cos(a / DEG), c[1] - r * Math.sin(a / DEG)];
    const wedge = (c, r, a, b) => `M${R.points([c, polar(c, r, a)])}A${px(r)} ${px(r)} 0 0 0 ${R.points([polar(c, r, b)])}z`;
    const A = [100, 116], B = [296, 116];
    const sector = [A, B].map(() => el("path", { class: "mv-cell mv-on" }, root)), fan = el("path", { class: "mv-fan mv-rotation" }, root);
    const arms = ["g", "g", "g", "rotation"].map((c) => el("path", { class: "mv-arrow mv-" + c }, root));
    const tags = ["z", "q", "−g", "−Rᵀg"].map((t) => text(root, 0, 0, t, { class: "mv-symbol", "text-anchor": "middle" }));
    const x = R.along(D, 40, 370), y = (v) => px(340 - 150 * v);
    el("path", { d: "M40 190V340H370", class: "mv-axis" }, root);
    R.ticks(root, [0, 0.5, 1], R.left(34, y), (v) => `${100 * v}%`);
    R.ticks(root, [2, 8, 32, 128, 512], R.below(x, 356));
    text(root, 370, 356, "d", { class: "mv-symbol", "text-anchor": "end" });
    const band = el("path", { class: "mv-band mv-rotation" }, root), cosine = el("path", { class: "mv-rays" }, root);
    const line = el("path", { class: "mv-line mv-rotation" }, root), here = el("path", { class: "mv-axis" }, root);
    const dot = el("circle", { r: 5.5, class: "mv-code" }, root);
    text(root, 370, 184, "φ/θ: median, middle 80 %, mean cosine (dotted)", { class: "mv-muted", "text-anchor": "end" });
    [[A, "from z to q: θ"], [B, "what g feels: φ"]].forEach(([c, t]) => text(root, c[0], 152, t, { class: "mv-muted", "text-anchor": "middle" }));
    const out = html("output", {}, box);

    function draw() {
      const { theta, d } = s, half = quantile(0.5, theta, d), [lo, hi] = [0.1, 0.9].map((p) => quantile(p, theta, d)), mean = DEG * Math.acos(meanCos(theta, d));
      const p = shares(theta, d), top = Math.max(...p), ds = R.spaced(D, s.n);
      const curve = (f) => ds.map((v) => x(v) + " " + y(f(v) / theta)).join("L");
      [A, B].forEach((c, i) => fill(sector[i], { d: wedge(c, 78, 0, theta) }));
      fill(fan, { d: `M${R.points([B, ...p.map((v, i) => polar(B, 78 * Math.sqrt(v / top), theta - (theta * (i + 0.5)) / BINS))]).replaceAll(" ", "L")}z` });
      [[A, 0], [A, theta], [B, theta], [B, theta - half]].forEach(([c, a], i) => {
        const beside = i === 3, at = polar(c, beside ? 86 : 93, a), left = a > 90; // beside its arrow: -g is beyond it
        fill(arms[i], { d: R.arrow(c, polar(c, 80, a)) });
        fill(tags[i], { x: px(at[0] + (beside ? (left ? -6 : 6) : 0)), y: px(at[1] + (beside ? 14 : 4)), "text-anchor": beside ? (left ? "end" : "start") : "middle" });
      });
      fill(line, { d: "M" + curve((v) => quantile(0.5, theta, v)) });
      fill(band, { d: "M" + curve((v) => quantile(0.1, theta, v)) + "L" + curve((v) => quantile(0.9, theta, v)).split("L").reverse().join("L") + "z" });
      fill(cosine, { d: "M" + curve((v) => DEG * Math.acos(meanCos(theta, v))) });
      fill(here, { d: `M${x(d)} 340V${y(half / theta)}` });
      fill(dot, { cx: x(d), cy: y(half / theta) });
      out.textContent = `θ = ${num(theta, 0)}°, d = ${d}: half of all gradients turn by less than ${num(half, 1)}°, eight in ten by ${num(lo, 1)}° to ${num(hi, 1)}°; `
        + `the mean cosine ${num(meanCos(theta, d), 3)} is that of ${num(mean, 1)}°`;
    }
    R.range(box, "θ, from z to q", [1, 180, 1], s, "theta", draw);
    R.range(box, "d, dimensions", [...D, 0.25], s, "d", draw, powers);
    html("div", { class: "mv-bar" }, box);
    draw();
    return Object.assign(s, { draw });
  }

  const api = { START, turned, quantile, below, meanCos, shares, build };
  if (node) module.exports = api; else R.enhance("angle", api);
})();
