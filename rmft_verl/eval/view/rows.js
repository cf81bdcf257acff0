"use strict";
// What the page computes, without the page: filters, partners, readable text, ticks. Tests call these functions.

const ANY = { run: "", set: "", kept: "", valid: "", scenario: "", regretFrom: "", regretTo: "", scoreFrom: "", scoreTo: "", sort: "" };
const YES_NO = { yes: true, no: false };

// Whether a dialogue passes the filters `f`, whose entries are texts; an empty one lets everything pass.
function passes(dialogue, f, shared) {
  const scenario = shared[dialogue.scenario];
  const words = `${scenario.id} ${scenario.context} ${scenario.env} ${scenario.actions.join(" ")}`.toLowerCase();
  return (f.run === "" || dialogue.run === Number(f.run))
    && (f.set === "" || dialogue.set === f.set)
    && (f.kept === "" || dialogue.kept === YES_NO[f.kept])
    && (f.valid === "" || dialogue.valid === YES_NO[f.valid])
    && words.includes(f.scenario.trim().toLowerCase())
    && within(dialogue.regret, f.regretFrom, f.regretTo)
    && within(dialogue.score, f.scoreFrom, f.scoreTo);
}

// Whether a number lies between two bounds given as texts. One that does not exist passes only without bounds.
function within(value, low, high) {
  const bounds = [low, high].map((text) => (text.trim() === "" ? null : Number(text)));
  if (bounds[0] === null && bounds[1] === null) return true;
  return value !== null && (bounds[0] === null || value >= bounds[0]) && (bounds[1] === null || value <= bounds[1]);
}

// Positions of the dialogues that pass, in the order of `f.sort`; dialogues without that number come last.
function chosen(dialogues, f, shared) {
  const found = dialogues.flatMap((dialogue, i) => (passes(dialogue, f, shared) ? [i] : []));
  const [key, way] = f.sort.split(" ");
  if (!key) return found;
  const sign = way === "down" ? -1 : 1;
  const worth = (i) => (dialogues[i][key] === null ? Infinity : sign * dialogues[i][key]);
  return found.sort((a, b) => (worth(a) === worth(b) ? a - b : worth(a) - worth(b)));
}

// Positions of the other dialogues of the same scenario: first those on the same draws, as held-out ones are.
function partners(dialogues, place) {
  const one = dialogues[place];
  const same = dialogues.flatMap((other, i) => (i !== place && other.scenario === one.scenario ? [i] : []));
  const far = (i) => (dialogues[i].seed === one.seed ? 0 : 1);
  return same.sort((a, b) => far(a) - far(b) || a - b);
}

// What a terminal or a browser would obey and nobody would see: controls but for tab and newline, marks of direction,
// characters without width (but for the two that letters and emoji need), halves of surrogate pairs.
const UNSEEN = new RegExp("[\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f\\u00ad\\u061c\\u200b\\u200e\\u200f\\u2028-\\u202e\\u2060-\\u2069\\ufeff]"
  + "|[\\ud800-\\udbff](?![\\udc00-\\udfff])|(?<![\\ud800-\\udbff])[\\udc00-\\udfff]", "g");

// Text in which all of these are visible signs such as [U+001B].
function visible(text) {
  return text.replace(UNSEEN, (c) => `[U+${c.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}]`);
}

// A reply cut into its tokens: [text, forced, log-probability or null]; one part if its tokens are not known.
function parts(reply, pieces) {
  const found = [];
  let from = 0;
  for (const [length, forced, logprob] of pieces) {
    if (from >= reply.length) break;
    found.push([reply.slice(from, from + length), forced, logprob]);
    from += length;
  }
  if (from < reply.length) found.push([reply.slice(from), false, null]);
  return found;
}

// The least likely sampled token of a reply's parts, in words; empty if no log-probability is known.
function leastLikely(found) {
  const logged = found.filter(([, forced, logprob]) => !forced && logprob !== null);
  if (!logged.length) return "";
  const [text, , logprob] = logged.reduce((least, one) => (one[2] < least[2] ? one : least));
  return `least likely token: ${JSON.stringify(text)}, log-probability ${logprob}`;
}

// Expected rewards of the actions in a round; a truth with one row holds for every round.
function expected(truth, round) {
  return truth.length ? truth[Math.min(round, truth.length - 1)] : [];
}

// Expected reward of an action: an arm, or a point of the simplex.
function worth(means, action) {
  if (action === null) return null;
  return Array.isArray(action) ? action.reduce((sum, share, a) => sum + share * means[a], 0) : means[action];
}

// How often each action was played; for points of the simplex the sum of its shares.
function pulls(turns, actions) {
  return actions.map((_, a) => turns.reduce((sum, turn) => {
    const action = turn[2];
    return sum + (action === null ? 0 : Array.isArray(action) ? action[a] : Number(action === a));
  }, 0));
}

function actionName(action, actions) {
  if (action === null) return "none";
  if (!Array.isArray(action)) return actions[action];
  return action.flatMap((share, a) => (share ? [`${actions[a]} ${number(share, 2)}`] : [])).join(", ");
}

// Round numbers that cover the range from low to high.
function ticks(low, high, most = 5) {
  const rough = (high - low || 1) / (most - 1);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((m) => m * power >= rough * 0.999);
  const first = Math.floor(low / step + 1e-9), last = Math.ceil(high / step - 1e-9);
  return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

function number(value, digits = 3) {
  return value === null || value === undefined ? "–" : String(Number(value.toFixed(digits)));
}

function fixed(value, digits) {
  return value === null || value === undefined ? "–" : value.toFixed(digits);
}

function setName(set) {
  const [phase, n] = set.split(" ");
  return phase === "eval" ? (n === "0" ? "held-out, base" : `held-out after ${n}`) : `rollouts of ${n}`;
}

// The state of the page as the part of its address behind #, and back; what is empty is left out.
function toHash(state) {
  return new URLSearchParams(Object.entries(state).filter(([, value]) => value !== "")).toString();
}

function fromHash(hash, empty) {
  const given = new URLSearchParams(hash.replace(/^#/, ""));
  return Object.fromEntries(Object.keys(empty).map((key) => [key, given.get(key) || ""]));
}

if (typeof module !== "undefined") {
  module.exports = { ANY, actionName, chosen, expected, fixed, fromHash, leastLikely, number, partners, parts, passes, pulls, setName, ticks, toHash, visible, within, worth };
}
