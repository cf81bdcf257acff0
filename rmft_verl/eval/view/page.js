// Draws the page and follows what its reader does.

const data = JSON.parse(document.getElementById("data").textContent);
const { runs, shared, dialogues } = data;
const EMPTY = { ...ANY, open: "", beside: "", shade: "" };
const AT_FIRST = 100;
let state = EMPTY, found = [], most = AT_FIRST;

// ---- panels --------------------------------------------------------------------------------------------------------

function runName(run) {
  return runs.length > 1 ? `${run + 1}: ${runs[run].name}` : "";
}

const LOOKS = ["held-out", "kept", "rollouts"];

function panelLines(title) {
  return runs.flatMap((run, r) => {
    const panel = run.panels.find((one) => one.title === title);
    return Object.entries(panel ? panel.lines : {}).map(([name, points]) => ({
      name: runs.length > 1 ? `run ${r + 1}, ${name}` : name, look: 3 * r + LOOKS.indexOf(name), points,
    }));
  });
}

function drawPanels() {
  const titles = [...new Set(runs.flatMap((run) => run.panels.map((panel) => panel.title)))];
  const notes = Object.fromEntries(runs.flatMap((run) => run.panels.map((panel) => [panel.title, panel.note])));
  const columns = [], values = new Map();
  document.getElementById("panels").append(...titles.map((title) => {
    const lines = panelLines(title);
    for (const line of lines) {
      columns.push(`${title}, ${line.name}`);
      for (const [n, value] of line.points) values.set(n, { ...values.get(n), [columns.length - 1]: value });
    }
    return make("figure", {}, make("figcaption", {}, make("b", {}, title), ` ${notes[title]}`), chart(`${title} by iteration`, lines), legend(lines));
  }));
  const rows = [...values].sort((a, b) => a[0] - b[0]).map(([n, row]) => [n, ...columns.map((_, i) => number(row[i]))]);
  document.getElementById("numbers").append(table(["iteration", ...columns], rows));
}

// ---- head, table, configuration ------------------------------------------------------------------------------------

function drawHead() {
  const head = document.getElementById("head");
  head.replaceChildren(make("h1", {}, ...runs.flatMap((run, r) => [r ? " and " : "", isolated(run.name)])));
  for (const [r, run] of runs.entries()) {
    head.append(make("p", {}, runName(r) && make("b", {}, `${runName(r)}. `), visible(run.verdict)));
  }
}

const COLUMNS = [["regret", "regret", 2], ["normalized_regret", "normalized [95 %]", 3], ["median_reward", "MedianReward", 2],
  ["suffix_failure", "SuffFail", 2], ["min_fraction", "K×MinFrac", 2], ["greedy_fraction", "GreedyFrac", 2], ["coverage", "Coverage", 2],
  ["best_arm", "BestArm", 2], ["growth_slope", "Growth", 2], ["invalid_rate", "invalid", 3], ["n_episodes", "episodes", 0]];

function cell(row, key, digits) {
  if (row[`${key}_low`] !== undefined && row[`${key}_low`] !== null) {
    return `${fixed(row[key], digits)} [${fixed(row[`${key}_low`], digits)}, ${fixed(row[`${key}_high`], digits)}]`;
  }
  return fixed(row[key], digits) + (key === "growth_slope" && row.sublinear ? "*" : "");
}

function drawTables() {
  for (const [r, run] of runs.entries()) {
    const columns = COLUMNS.filter(([key]) => run.table.some((row) => row[key] !== null && row[key] !== undefined));
    const rows = run.table.map((row) => [isolated(row.player), ...columns.map(([key, , digits]) => cell(row, key, digits))]);
    document.getElementById("tables").append(make("h3", {}, runName(r)), make("div", { class: "wide", tabindex: "0" }, table(["player", ...columns.map((c) => c[1])], rows)));
  }
  document.getElementById("tables").append(make("p", { class: "note" }, data.caption));
}

function drawWords() {
  for (const [r, run] of runs.entries()) {
    const said = run.words.flatMap(([subject, sentence]) => [make("dt", {}, subject), make("dd", {}, visible(sentence))]);
    const versions = Object.entries(run.packages).map((pair) => pair.join(" ")).join(", ");
    if (run.date || versions) said.push(make("dt", {}, "Started"), make("dd", {}, [run.date, versions].filter(Boolean).join("; ")));
    document.getElementById("words").append(make("h3", {}, runName(r)), make("dl", {}, ...said),
      make("details", {}, make("summary", {}, "config.yaml"), make("pre", { dir: "ltr" }, visible(run.config))));
  }
}

// ---- the list ------------------------------------------------------------------------------------------------------

function drawCounts() {
  const which = (r) => (runs.length > 1 ? `run ${r + 1}, ` : "");
  const cut = runs.flatMap((run, r) => run.sets.filter((set) => set.shown < set.of)
    .map((set) => `${which(r)}${setName(`${set.phase} ${set.n}`)}: ${set.shown} of ${set.of}`));
  const all = runs.reduce((sum, run) => sum + run.sets.reduce((own, set) => own + set.of, 0), 0);
  const left = runs.flatMap((run, r) => (run.left ? [` ${which(r)}${run.left} sets of further iterations were not read.`] : []));
  document.getElementById("counts").textContent = (cut.length
    ? `${dialogues.length} of ${all} dialogues are on this page, in the order of scenario ids, which no result decides (${cut.join("; ")}).`
    : `All ${all} dialogues are on this page.`) + left.join("");
}

function select(key, label, options) {
  return make("label", {}, label, make("select", { name: key }, ...options.map(([value, text]) => make("option", { value }, text))));
}

function input(key, label, attributes) {
  return make("label", {}, label, make("input", { name: key, ...attributes }));
}

function drawFilters() {
  const sets = [...new Set(dialogues.map((one) => one.set))].map((set) => [set, setName(set)]);
  const two = [["", "any"], ["yes", "yes"], ["no", "no"]], bound = { type: "number", step: "any" };
  const orders = [["", "by scenario id"], ["regret up", "lowest regret"], ["regret down", "highest regret"], ["score up", "lowest score"], ["score down", "highest score"]];
  document.getElementById("filters").append(
    ...(runs.length > 1 ? [select("run", "run", [["", "both"], ...runs.map((_, r) => [r, runName(r)])])] : []),
    select("set", "iteration", [["", "all"], ...sets]), select("kept", "kept", two), select("valid", "valid", two),
    input("scenario", "scenario", { type: "search", placeholder: "context, arm or id" }),
    input("regretFrom", "regret from", bound), input("regretTo", "regret to", bound), input("scoreFrom", "score from", bound), input("scoreTo", "score to", bound),
    select("sort", "order", orders), make("button", { type: "reset" }, "clear"));
}

function drawList() {
  found = chosen(dialogues, state, shared);
  const head = ["", ...(runs.length > 1 ? ["run"] : []), "iteration", "scenario", "regret", "score", "kept", "valid"];
  const rows = found.slice(0, most).map((place) => {
    const one = dialogues[place], scenario = shared[one.scenario], open = String(place) === state.open;
    const button = make("button", { type: "button", "data-place": place, "aria-pressed": String(open), title: "open this dialogue" }, open ? "●" : "○");
    const kept = one.kept === null ? "" : one.kept ? "kept" : "no";
    return [button, ...(runs.length > 1 ? [one.run + 1] : []), setName(one.set), isolated(`${scenario.context} ${scenario.id.slice(0, 6)}`),
      fixed(one.regret, 2), fixed(one.score, 2), kept, one.valid ? "valid" : "INVALID"];
  });
  const list = document.getElementById("list");
  list.replaceChildren(make("p", { role: "status" }, `${found.length} of ${dialogues.length} dialogues`), table(head, rows));
  for (const row of list.querySelectorAll("tbody tr")) {
    row.addEventListener("click", () => go({ open: row.querySelector("button").dataset.place, beside: "" }));
  }
  if (found.length > most) list.append(make("button", { type: "button", onclick: () => { most += AT_FIRST; drawList(); } }, `${found.length - most} more`));
}

// ---- one dialogue --------------------------------------------------------------------------------------------------

const MARKS = { again: "no action was read: asked again", unread: "no action was read", cut: "cut at its token limit", "": "" };

function drawReply(text, pieces) {
  const found = parts(text, pieces), least = leastLikely(found);
  const reply = make("pre", { dir: "ltr", class: "reply" }, ...found.map(([part, forced, logprob]) => {
    if (!forced && logprob === null) return visible(part);
    const span = make("span", { class: forced ? "forced" : "token", title: forced ? "forced by the answer format" : `log-probability ${logprob}` }, visible(part));
    if (!forced) span.style.setProperty("--doubt", String(1 - Math.exp(logprob)));
    return span;
  }));
  return make("div", {}, reply, least && make("p", { class: "least" }, isolated(least)));
}

function drawTurns(one, actions) {
  let round = 0;
  return make("ol", { class: "turns" }, ...one.turns.map(([messages, reply, action, reward, mark, pieces]) => {
    if (mark !== "again") round += 1;
    const outcome = action === null ? MARKS[mark] : [MARKS[mark], `played ${actionName(action, actions)}, reward ${number(reward)}`].filter(Boolean).join("; ");
    return make("li", {}, ...messages.map(([role, text]) => make("pre", { dir: "ltr", class: "says" }, make("b", {}, `${role} `), visible(shared[text]))),
      make("div", { class: "answer" }, make("b", {}, "model "), shared[reply] === "" ? make("i", {}, "no words") : drawReply(shared[reply], pieces)),
      make("p", { class: mark ? "outcome bad" : "outcome" }, `Round ${round}: `, isolated(outcome)));
  }));
}

function drawTruth(one, actions) {
  const truth = shared[one.truth], counts = pulls(one.turns, actions), played = one.turns.filter((turn) => turn[4] !== "again");
  const mean = (a) => truth.reduce((sum, row) => sum + row[a], 0) / truth.length;
  const best = Math.max(...actions.map((_, a) => mean(a)));
  const word = truth.length > 1 ? "true mean, over the rounds" : "true mean";
  const arms = actions.map((name, a) => [isolated(name), truth.length ? fixed(mean(a), 3) + (one.kind !== "dynamic" && mean(a) >= best - 1e-9 ? " best" : "") : "–", number(counts[a], 2)]);
  const other = one.beside && one.beside[1].length ? one.beside : null;
  const curve = (values) => [[0, 0], ...values.map((value, t) => [t + 1, value])];
  const lines = one.curve.length ? [{ name: "model", look: 0, points: curve(one.curve) }] : [];
  if (lines.length && other) lines.push({ name: `${other[0]}, same draws`, look: 4, points: curve(other[1]) });
  const head = ["round", "action", "reward", "true mean", "best", "regret so far", ...(other ? [other[0]] : [])];
  const rounds = played.map((turn, t) => {
    const means = expected(truth, t);
    return [t + 1, isolated(actionName(turn[2], actions)), number(turn[3]), means.length ? fixed(worth(means, turn[2]), 3) : "–",
      means.length ? fixed(Math.max(...means), 3) : "–", fixed(one.curve[t], 3), ...(other ? [fixed(other[1][t], 3)] : [])];
  });
  return make("section", { class: "truth" }, make("h4", {}, "After the game"), make("div", { class: "wide" }, table(["action", word, "played"], arms)),
    lines.length ? make("figure", {}, make("figcaption", {}, make("b", {}, "running regret"), ` ${one.kind}, reward units`), chart("running regret by round", lines), legend(lines)) : null,
    make("details", {}, make("summary", {}, "Round by round"), make("div", { class: "wide" }, table(head, rounds))));
}

function drawDialogue(place) {
  const one = dialogues[place], scenario = shared[one.scenario];
  const facts = [`regret ${number(one.regret)}`, one.score === null ? "" : `score ${number(one.score)}`, one.kept === null ? "" : one.kept ? "kept" : "not kept",
    one.valid ? "valid" : "INVALID", one.stop === "completed" ? "" : `stopped: ${one.stop}`, `${scenario.horizon} rounds`].filter(Boolean).join(" · ");
  return make("article", {}, make("h3", {}, runName(one.run) && isolated(`${runName(one.run)}, `), `${setName(one.set)}: `, isolated(`${scenario.env}, ${scenario.context}`)),
    make("p", {}, facts), make("p", {}, "Actions: ", isolated(scenario.actions.join(", "))),
    one.error === null ? null : make("pre", { dir: "ltr", class: "error" }, visible(shared[one.error])),
    drawTurns(one, scenario.actions), drawTruth(one, scenario.actions));
}

function label(place, one) {
  const other = dialogues[place];
  return `${runName(other.run) ? `${runName(other.run)}, ` : ""}${setName(other.set)}, regret ${number(other.regret, 2)}${other.seed === one.seed ? ", same draws" : ""}`;
}

function drawShown() {
  const shown = document.getElementById("shown");
  const one = dialogues[Number(state.open)];
  if (state.open === "" || !one) {
    shown.replaceChildren(make("p", { class: "note" }, "Choose a dialogue of the list."));
    return;
  }
  const others = partners(dialogues, Number(state.open));
  const beside = select("beside", "beside it, same scenario", [["", others.length ? "none" : "no other on this page"], ...others.map((place) => [place, label(place, one)])]);
  beside.querySelector("select").value = state.beside;
  beside.addEventListener("change", (event) => go({ beside: event.target.value }));
  const logged = [one, dialogues[Number(state.beside)]].some((each) => each && each.turns.some((turn) => turn[5].some((piece) => piece[2] !== null)));
  const shade = make("button", { type: "button", "aria-pressed": String(state.shade === "on"), onclick: () => go({ shade: state.shade ? "" : "on" }) }, "shade log-probabilities");
  const pair = [Number(state.open), ...(others.includes(Number(state.beside)) && state.beside !== "" ? [Number(state.beside)] : [])];
  shown.replaceChildren(make("p", { class: "controls" }, beside, logged ? shade : null),
    make("div", { class: `${pair.length > 1 ? "pair" : "single"}${state.shade ? " shaded" : ""}` }, ...pair.map(drawDialogue)));
}

// ---- state ---------------------------------------------------------------------------------------------------------

// Change the state, remember it in the address, and draw what depends on it.
function go(change) {
  state = { ...state, ...change };
  history.replaceState(null, "", `#${toHash(state)}`);
  draw();
}

function draw() {
  for (const field of document.getElementById("filters").elements) {
    if (field.name && field.value !== state[field.name]) field.value = state[field.name];
  }
  drawList();
  drawShown();
}

function step(by) {
  const at = found.indexOf(state.open === "" ? -1 : Number(state.open));
  const next = found[Math.min(Math.max(at < 0 ? (by > 0 ? 0 : found.length - 1) : at + by, 0), found.length - 1)];
  if (next === undefined) return;
  most = Math.max(most, found.indexOf(next) + 1);
  go({ open: String(next), beside: "" });
  const button = document.querySelector(`[data-place="${next}"]`);
  if (button) button.focus({ preventScroll: true });
  document.getElementById("shown").scrollIntoView({ block: "nearest" });
}

function nextBeside() {
  if (state.open === "") return;
  const others = ["", ...partners(dialogues, Number(state.open)).map(String)];
  go({ beside: others[(others.indexOf(state.beside) + 1) % others.length] });
}

const KEYS = {
  j: () => step(1), k: () => step(-1), b: nextBeside, s: () => go({ shade: state.shade ? "" : "on" }),
  "/": () => document.getElementById("filters").elements[0].focus(),
  Escape: () => document.getElementById("dialogues").scrollIntoView(),
};

function start() {
  drawHead();
  drawPanels();
  drawTables();
  drawWords();
  drawCounts();
  drawFilters();
  const filters = document.getElementById("filters");
  filters.addEventListener("input", (event) => { most = AT_FIRST; go({ [event.target.name]: event.target.value }); });
  filters.addEventListener("submit", (event) => event.preventDefault());
  filters.addEventListener("reset", (event) => { event.preventDefault(); go(ANY); });
  document.addEventListener("keydown", (event) => {
    const typing = ["INPUT", "SELECT", "TEXTAREA"].includes(event.target.tagName);
    if (event.key === "Escape" && typing) event.target.blur();
    if (event.ctrlKey || event.metaKey || event.altKey || (typing && event.key !== "Escape") || !KEYS[event.key]) return;
    event.preventDefault();
    KEYS[event.key]();
  });
  const read = () => {
    if (location.hash && !location.hash.includes("=")) return; // a link of the page's own menu
    state = fromHash(location.hash, EMPTY);
    draw();
  };
  window.addEventListener("hashchange", read);
  draw();
  read();
  if (state.open !== "") document.getElementById("dialogues").scrollIntoView();
}

start();
