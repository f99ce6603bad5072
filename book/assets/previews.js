/* Previews: what a link leads to, beside the link. A mouse that rests on it, or the focus of the keyboard, shows it; Escape
   closes it. On a touch screen the first tap shows it and the second follows the link. Links and their targets come from
   _static/previews/PAGE.js, which the build writes (book/press/previews.py) and which is loaded when it is first needed.
   A classic script without dependencies: it runs from file:// and, for the tests, under node. */
(function () {
  "use strict";
  /* Where a box goes, in a window: under the line of its link, or above where there is more room. All in pixels. */
  const place = (line, box, view, gap = 6, edge = 8) => {
    const below = view.height - line.bottom - gap - edge, above = line.top - gap - edge;
    const up = box.height > below && above > below;
    const height = Math.max(0, Math.min(box.height, up ? above : below));
    const left = Math.max(edge, Math.min(line.left, view.width - edge - box.width));
    return { left, top: up ? line.top - gap - height : line.bottom + gap, height };
  };
  /* The line of a link that is broken over several: the one that the pointer is on, else the first. */
  const lineAt = (lines, y) => lines.find((line) => line.top <= y && y <= line.bottom) || lines[0];

  if (typeof module === "object") { module.exports = { place, lineAt }; return; }

  const REST = 250, GRACE = 200;  // milliseconds before a preview opens, and before it closes
  const root = document.documentElement.dataset.content_root || "./";
  const here = new URL(root, location.href).pathname;
  const page = location.pathname.slice(here.length).replace(/\.html$/, "") || "index";
  let box, shown, wanted, timer, y, loading, finger = false;

  const load = () => loading ||= new Promise((resolve) => {
    const script = document.createElement("script");
    window.rotvqPreviews = resolve;
    script.src = root + "_static/previews/" + page + ".js";
    script.onerror = () => resolve({});
    document.head.append(script);
  });
  const onThisPage = (link) => {
    const there = document.getElementById(decodeURIComponent(link.hash.slice(1)));
    if (!there || there.contains(link)) return "";  // no preview of what the link stands in
    const parts = there.matches("dt") ? [there, there.parentElement.querySelector(`#${CSS.escape(there.id)} ~ dd`)] : [there];
    return parts.map((part) => part.outerHTML).join("");
  };
  const contentOf = async (link) => {
    const found = await load(), href = link.getAttribute("href");
    if (!(href in found)) return null;
    const copy = document.createElement("template");
    copy.innerHTML = found[href] ?? onThisPage(link);
    copy.content.querySelectorAll("img[src^='_images/']").forEach((e) => e.setAttribute("src", root + e.getAttribute("src")));
    copy.content.querySelectorAll("script, .headerlink, .rv-claim, .claim-more").forEach((e) => e.remove());
    copy.content.querySelectorAll("a").forEach((e) => e.replaceWith(...e.childNodes));
    copy.content.querySelectorAll("[id]").forEach((e) => e.closest("svg") || e.removeAttribute("id"));
    copy.content.querySelectorAll("details").forEach((e) => { e.open = true; });
    return copy.content.childNodes.length ? copy.content : null;
  };
  const move = () => {
    if (!shown) return;
    box.style.maxHeight = "";
    const to = place(lineAt([...shown.getClientRects()], y), box.getBoundingClientRect(), { width: document.documentElement.clientWidth, height: innerHeight });
    Object.assign(box.style, { left: to.left + "px", top: to.top + "px", maxHeight: to.height + "px" });
  };
  const hide = () => {
    clearTimeout(timer);
    wanted = null;
    if (!shown) return;
    shown.removeAttribute("aria-describedby");
    shown = null;
    box.hidden = true;
    box.replaceChildren();
  };
  /* Show what a link leads to; says whether there is anything to show. */
  const show = async (link) => {
    clearTimeout(timer);
    if (shown === link) return true;
    hide();
    wanted = link;
    const content = await contentOf(link);
    if (!content || wanted !== link) return !!content;
    box.replaceChildren(content);
    box.classList.add("rv-unready");  // there, to be measured, and not yet seen
    box.hidden = false;
    shown = link;
    link.removeAttribute("title");  // the browser would show it over this
    link.setAttribute("aria-describedby", box.id);
    move();
    box.classList.remove("rv-unready");
    return true;
  };
  const start = () => {
    const article = document.querySelector("article.bd-article");
    if (!article) return;
    box = document.createElement("div");
    Object.assign(box, { id: "rv-preview", hidden: true });
    box.setAttribute("role", "tooltip");
    article.append(box);
    const linkAt = (e) => e.target.closest?.("article.bd-article a[href*='#']");
    const later = (what, wait) => { clearTimeout(timer); timer = setTimeout(what, wait); };
    document.addEventListener("pointerover", (e) => {
      if (e.pointerType !== "mouse") return;
      const link = linkAt(e);
      if (link) { y = e.clientY; later(() => show(link), REST); }
      else if (box.contains(e.target)) clearTimeout(timer);
      else if (shown || wanted) later(hide, GRACE);
      else clearTimeout(timer);
    });
    document.addEventListener("pointerdown", (e) => {
      finger = e.pointerType === "touch";
      y = e.clientY;
      if (!linkAt(e) && !box.contains(e.target)) hide();
    }, true);
    document.addEventListener("click", async (e) => {
      const link = linkAt(e);
      if (!link) return;
      if (!finger || shown === link) { hide(); return; }
      e.preventDefault();
      if (!(await show(link))) location.href = link.href;
    });
    document.addEventListener("focusin", (e) => {
      const link = linkAt(e);
      if (link?.matches(":focus-visible")) { y = NaN; show(link); }
    });
    document.addEventListener("focusout", (e) => { if (linkAt(e) === shown || linkAt(e) === wanted) hide(); });
    document.addEventListener("keydown", (e) => { finger = false; if (e.key === "Escape") hide(); });
    addEventListener("scroll", (e) => { if (e.target !== box) move(); }, { passive: true, capture: true });
    addEventListener("resize", move);
  };
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start); else start();
})();
