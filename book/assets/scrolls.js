// What is wider than its place scrolls by itself, with the keyboard, too: mark on which sides of it there is more, where
// rotvq.css shows it.
(() => {
  const SCROLLERS = "pre, .pst-scrollable-table-container, .output.text_html, .katex-display";

  const mark = (element) => {
    const left = element.scrollLeft > 1;
    const right = element.scrollLeft + element.clientWidth < element.scrollWidth - 1;
    const sides = [left && "left", right && "right"].filter(Boolean).join(" ");
    if (sides) element.dataset.more = sides;
    else delete element.dataset.more;
    if (sides) element.tabIndex = 0;
  };

  const resized = new ResizeObserver((entries) => entries.forEach((entry) => mark(entry.target)));

  const watch = (element) => {
    element.addEventListener("scroll", () => mark(element), { passive: true });
    resized.observe(element);
  };

  document.querySelectorAll(".bd-article").forEach((article) => article.querySelectorAll(SCROLLERS).forEach(watch));
})();
