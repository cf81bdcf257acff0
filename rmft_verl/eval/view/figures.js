// Elements and line charts. Text enters the page by textContent only, so nothing that a model wrote can become markup.

// ---- elements ------------------------------------------------------------------------------------------------------

function make(tag, attributes = {}, ...children) {
  const svg = ["svg", "path", "line", "text", "circle", "rect", "title", "polygon"].includes(tag);
  const element = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value !== null && value !== false) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null).map(asNode));
  return element;
}

function asNode(child) {
  return child instanceof Node ? child : document.createTextNode(String(child));
}

function isolated(text) {
  return make("bdi", {}, visible(text));
}

function table(head, rows, attributes = {}) {
  const line = (tag, cells) => make("tr", {}, ...cells.map((cell, i) => make(i || tag === "th" ? tag : "th", { scope: tag === "th" ? "col" : i ? null : "row" }, cell)));
  return make("table", attributes, make("thead", {}, line("th", head)), make("tbody", {}, ...rows.map((cells) => line("td", cells))));
}

// ---- figures -------------------------------------------------------------------------------------------------------

const WIDTH = 320, HEIGHT = 180, LEFT = 40, RIGHT = 8, TOP = 8, BOTTOM = 24;

// A line chart. `lines`: [{name, look, points: [[x, y] or [x, y, low, high]]}]; `look` numbers dash, marker and color.
function chart(title, lines) {
  const points = lines.flatMap((line) => line.points);
  const ys = points.flatMap((point) => point.slice(1)).filter((y) => y !== null);
  const up = ticks(Math.min(0, ...ys), Math.max(0.1, ...ys)), xs = points.map((point) => point[0]);
  const [first, last] = [Math.min(...xs), Math.max(...xs)];
  const x = (value) => LEFT + (WIDTH - LEFT - RIGHT) * (last > first ? (value - first) / (last - first) : 0.5);
  const y = (value) => HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - up[0]) / (up[up.length - 1] - up[0]);
  const svg = make("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": title });
  for (const tick of up) {
    svg.append(make("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(tick), y2: y(tick) }),
      make("text", { x: LEFT - 5, y: y(tick) + 3.5, "text-anchor": "end" }, number(tick)));
  }
  for (const tick of ticks(first, last, 8).filter((t) => Number.isInteger(t) && t >= first && t <= last)) {
    svg.append(make("text", { x: x(tick), y: HEIGHT - 8, "text-anchor": "middle" }, tick));
  }
  for (const { look, points: own } of lines) {
    const band = own.filter((point) => point.length > 2);
    if (band.length > 1) {
      const edge = [...band.map((p) => [p[0], p[3]]), ...band.reverse().map((p) => [p[0], p[2]])];
      svg.append(make("polygon", { class: `band look${look}`, points: edge.map((p) => `${x(p[0])},${y(p[1])}`).join(" ") }));
    }
    svg.append(make("path", { class: `line look${look}`, d: own.map((p, i) => `${i ? "L" : "M"}${x(p[0])} ${y(p[1])}`).join("") }));
    if (own.length <= 40) svg.append(...own.map((p) => marker(look, x(p[0]), y(p[1]), `${p[0]}: ${number(p[1])}`)));
  }
  return svg;
}

function marker(look, x, y, title) {
  const shape = look % 3 === 0 ? make("circle", { cx: x, cy: y, r: 3 })
    : look % 3 === 1 ? make("rect", { x: x - 3, y: y - 3, width: 6, height: 6 })
      : make("polygon", { points: `${x},${y - 4} ${x + 4},${y + 3} ${x - 4},${y + 3}` });
  shape.setAttribute("class", `mark look${look}`);
  shape.append(make("title", {}, title));
  return shape;
}

function legend(lines) {
  return make("p", { class: "legend" }, ...lines.map(({ name, look }) => {
    const svg = make("svg", { viewBox: "0 0 30 10", width: 30, height: 10, "aria-hidden": "true" });
    svg.append(make("path", { class: `line look${look}`, d: "M0 5L30 5" }), marker(look, 15, 5, name));
    return make("span", {}, svg, " ", isolated(name));
  }));
}
