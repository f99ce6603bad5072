/* The ledger of claims: search, filters and links to single rows. Without this script the list stands in full.
   A classic script without dependencies: it runs from file:// and, for the tests, under node. */
(function () {
  "use strict";
  const FIELDS = ["verdict", "source", "chapter", "kind"];
  /* does a row ({text, verdict, source, ...}) meet a choice ({words, verdict, ...}, empty for any)? */
  const meets = (row, choice) =>
    FIELDS.every((f) => !choice[f] || row[f] === choice[f]) &&
    (choice.words || "").toLowerCase().split(/\s+/).every((w) => row.text.includes(w));
  const values = (rows, field) => [...new Set(rows.map((r) => r[field]))].sort();
  /* a choice as the end of an address, "#verdict=false&words=angle", and back; null where it is none, such as "#A-031" */
  const toHash = (choice) => {
    const chosen = Object.entries(choice).filter(([, v]) => v);
    return chosen.length ? "#" + new URLSearchParams(chosen) : "";
  };
  const fromHash = (hash) => hash.includes("=") ? Object.fromEntries(new URLSearchParams(hash.slice(1))) : null;

  if (typeof module === "object") { module.exports = { meets, values, toHash, fromHash }; return; }

  const make = (name, attrs, parent, words) => {
    const e = document.createElement(name);
    for (const k in attrs) e.setAttribute(k, attrs[k]);
    if (words) e.append(words);
    parent.append(e);
    return e;
  };
  const start = () => {
    const list = document.querySelector(".rv-claims");
    if (!list) return;
    const rows = [...list.querySelectorAll("details")].map((node) => ({ node, text: (node.textContent + " " + (node.dataset.words || "")).toLowerCase(), ...node.dataset }));
    const bar = document.createElement("form");
    bar.className = "rv-claims-bar";
    bar.addEventListener("submit", (e) => e.preventDefault());
    const inputs = { words: make("input", { type: "search", "aria-label": "Search the claims", placeholder: "Search" }, bar) };
    FIELDS.forEach((f) => {
      const select = inputs[f] = make("select", { "aria-label": f }, bar);
      make("option", { value: "" }, select, "any " + f);
      values(rows, f).forEach((v) => make("option", { value: v }, select, v));
    });
    const open = make("button", { type: "button" }, bar, "Open all");
    const count = make("output", { "aria-live": "polite" }, bar);
    const chosen = () => Object.fromEntries(Object.entries(inputs).map(([k, e]) => [k, e.value.trim()]));
    const show = () => {
      const choice = chosen();
      let shown = 0;
      rows.forEach((r) => { r.node.hidden = !meets(r, choice); shown += !r.node.hidden; });
      count.textContent = shown + " of " + rows.length + " claims";
    };
    open.addEventListener("click", () => {
      const closed = rows.some((r) => !r.node.hidden && !r.node.open);
      rows.forEach((r) => { if (!r.node.hidden) r.node.open = closed; });
    });
    bar.addEventListener("input", () => {
      show();
      history.replaceState(null, "", toHash(chosen()) || location.pathname + location.search);
    });
    const jump = () => {
      const choice = fromHash(location.hash);
      if (choice) {
        for (const k in inputs) inputs[k].value = choice[k] || "";
        show();
        return;
      }
      const row = document.getElementById(location.hash.slice(1));
      if (!row || !row.matches(".claim")) return;
      if (row.hidden) { bar.reset(); show(); }
      row.open = true;
      row.scrollIntoView();
    };
    addEventListener("hashchange", jump);
    list.prepend(bar);
    show();
    jump();
  };
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start); else start();
})();
