// Returns a list of what keeps people from reading or using this page; empty if nothing does.
() => {
  const found = [];
  const visible = (node) => node.checkVisibility({ visibilityProperty: true, opacityProperty: true });
  const say = (what, node) => found.push(`${what}: ${node.outerHTML.slice(0, 160)}`);
  const text = (id) => document.getElementById(id)?.textContent.trim();

  const name = (node) => {
    const by = node.getAttribute("aria-labelledby");
    if (by) return by.split(" ").map(text).join(" ").trim();
    const own = node.getAttribute("aria-label") || node.getAttribute("title");
    if (own) return own.trim();
    if (node.labels?.length) return [...node.labels].map((each) => each.textContent).join("").trim();
    if (node.matches("input[type=submit], input[type=button]")) return node.value;
    const copy = node.cloneNode(true);
    copy.querySelectorAll("[aria-hidden=true]").forEach((each) => each.remove());
    return copy.textContent.trim() || (copy.querySelector("svg title, img[alt]") ? "picture" : "");
  };

  if (!document.documentElement.lang) found.push("the page has no language");
  if (!document.title.trim()) found.push("the page has no title");
  if (document.querySelectorAll("h1").length !== 1) found.push("the page has not one h1");
  if (document.querySelectorAll("main").length !== 1) found.push("the page has not one main");
  let level = 0;
  for (const heading of document.querySelectorAll("h1, h2, h3, h4, h5, h6")) {
    const next = Number(heading.tagName[1]);
    if (level && next > level + 1) say("a heading leaves out a level", heading);
    level = next;
  }

  const ids = new Set();
  for (const node of document.querySelectorAll("[id]")) {
    if (ids.has(node.id)) say("an id is there twice", node);
    ids.add(node.id);
  }
  for (const node of document.querySelectorAll("[aria-labelledby], [aria-describedby], label[for]")) {
    for (const attribute of ["aria-labelledby", "aria-describedby", "for"]) {
      for (const id of (node.getAttribute(attribute) || "").split(" ").filter(Boolean)) {
        if (!ids.has(id)) say(`${attribute} names nothing`, node);
      }
    }
  }

  const controls = "a[href], button, input:not([type=hidden]), select, textarea, summary";
  for (const node of document.querySelectorAll(controls)) {
    if (visible(node) && !name(node)) say("a control has no name", node);
    if (node.querySelector(controls) && node.tagName !== "SUMMARY") say("a control in a control", node);
    const box = node.getBoundingClientRect();
    const inText = getComputedStyle(node).display === "inline";
    if (visible(node) && box.width && !inText && !node.matches("svg *") && box.height < 23.5 &&
        !node.matches("[type=checkbox], [type=radio]")) {
      say(`a control of ${box.width} x ${box.height} px is hard to touch`, node);
    }
  }
  for (const node of document.querySelectorAll("[tabindex]")) {
    if (node.tabIndex > 0) say("an order of its own", node);
  }
  for (const node of document.querySelectorAll("img:not([alt])")) say("a picture has no text", node);
  for (const node of document.querySelectorAll("svg")) {
    const said = node.getAttribute("role") === "img" && name(node);
    const grouped = node.getAttribute("role") === "group" && name(node);
    if (visible(node) && !said && !grouped && !node.closest("[aria-hidden=true]")) {
      say("a drawing has no text", node);
    }
  }
  for (const table of document.querySelectorAll("table")) {
    if (!table.querySelector("th")) say("a table has no headings", table);
  }

  // Contrast, as WCAG 2 defines it. The browser converts every way to write a color.
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const color = (value) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = value;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, under) => top.slice(0, 3).map((v, n) => v * top[3] + under[n] * (1 - top[3]));
  const background = (node) => {
    const layers = [];
    for (let each = node; each; each = each.parentElement) {
      const layer = color(getComputedStyle(each).backgroundColor);
      layers.push(layer);
      if (layer[3] === 1) break;
    }
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    return layers.reverse().reduce((under, top) => over(top, under), dark ? [18, 18, 18] : [255, 255, 255]);
  };
  const light = (rgb) => {
    const [r, g, b] = rgb.map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const seen = new Set();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || seen.has(node)) continue;
    seen.add(node);
    if (!visible(node) || node.closest("[disabled], svg, .visually-hidden")) continue;
    const style = getComputedStyle(node);
    const under = background(node);
    const ink = over(color(style.color), under);
    const [a, b] = [light(ink), light(under)].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    if (ratio < (large ? 3 : 4.5) - 0.01) say(`a contrast of ${ratio.toFixed(2)}`, node);
    if (size < 10.9) say(`text of ${size} px`, node);
  }
  return [...new Set(found)].slice(0, 20);
}
