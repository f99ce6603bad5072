/* Writes the printed figures: the first frame of each live one, drawn by the same code without a browser.
   `node book/figures/print.js` writes book/figures/NAME.svg; a test compares the files with what this returns. */
"use strict";
const fs = require("node:fs"), path = require("node:path");
const assets = path.join(__dirname, "..", "assets");
const NAMES = ["codebook", "field", "collapse", "angle", "drift"];

/* as much of a document as drawing needs */
class Node {
  constructor(name) { Object.assign(this, { name, attrs: {}, children: [] }); }
  setAttribute(key, value) { this.attrs[key] = String(value); }
  append(...nodes) { this.children.push(...nodes); }
  addEventListener() {}
  set textContent(words) { this.children = [String(words)]; }
  get textContent() { return this.children.join(""); }
}
const escape = (s) => s.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/"/g, "&quot;");
const INERT = /^(tabindex|role|aria-)/;                   // an image has nothing to focus
function write(node) {
  if (typeof node === "string") return escape(node);
  if (node.attrs.class === "mv-hit" || node.attrs.d === "") return "";
  const attrs = Object.entries(node.attrs).filter(([k]) => !INERT.test(k)).map(([k, v]) => ` ${k}="${escape(v)}"`).join("");
  const inner = node.children.map(write).join("");
  return inner ? `<${node.name}${attrs}>${inner}</${node.name}>\n` : `<${node.name}${attrs}/>\n`;
}

function print(name) {
  const make = (_, tag) => new Node(tag ?? _);
  globalThis.document = { createElementNS: make, createElement: make };
  const box = new Node("div");
  require(path.join(assets, "figures", name + ".js")).build(box, "");
  delete globalThis.document;
  const css = fs.readFileSync(path.join(assets, "rotvq-figures.css"), "utf8").split("/* drawing */")[1].split("/* page */")[0];
  const root = box.children.find((node) => node.name === "svg"), [, , w, h] = root.attrs.viewBox.split(" ");
  Object.assign(root.attrs, { xmlns: "http://www.w3.org/2000/svg", width: w, height: h });
  const style = new Node("style");
  style.append(css.replace(/var\([^,()]*, ([^()]*)\)/g, "$1"));
  root.children.unshift(style);
  return write(root);
}

module.exports = { NAMES, print };
if (require.main === module) for (const name of NAMES) fs.writeFileSync(path.join(__dirname, name + ".svg"), print(name));
