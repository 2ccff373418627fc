// The turns on the page: what was said, how much of it was heard, and where the time went.

const STAGES = [
  ["wait", "pause awaited"],
  ["transcript", "transcript"],
  ["mind", "first sentence"],
  ["voice", "first sound"],
  ["play", "played"],
];

export class ConversationView {
  constructor(list, scroll) {
    this.list = list;
    this.scroll = scroll;
    this.items = new Map();
    // Follows what is said as it grows.
    new ResizeObserver(() => (scroll.scrollTop = scroll.scrollHeight)).observe(list);
  }

  clear() {
    this.list.replaceChildren();
    this.items.clear();
  }

  // What is old is not read aloud when it appears.
  quietly(change) {
    this.scroll.setAttribute("aria-live", "off");
    change();
    clearTimeout(this.loud);
    this.loud = setTimeout(() => this.scroll.setAttribute("aria-live", "polite"), 500);
  }

  // What was said on earlier visits stands above the rest.
  earlier(turns) {
    for (const old of this.list.querySelectorAll(".earlier")) old.remove();
    const nodes = turns.map(({ who, text, atMs }) => {
      const node = element("li", `turn earlier ${who}`);
      const time = element("time", "note", new Date(atMs).toLocaleString([], { dateStyle: "medium", timeStyle: "short" }));
      time.dateTime = new Date(atMs).toISOString();
      node.append(element("span", "who", who === "caller" ? "You, earlier" : "Agent, earlier"), element("p", "", text), time);
      return node;
    });
    this.list.prepend(...nodes);
  }

  show(turn, waitMs) {
    let item = this.items.get(turn.number);
    if (!item) {
      item = { words: element("div", ""), latency: element("div", "latency"), waitMs, playMs: null };
      // Only words are read aloud, and only when they change.
      item.latency.setAttribute("aria-live", "off");
      const node = element("li", `turn ${turn.who}`);
      node.append(item.words, item.latency);
      this.items.set(turn.number, item);
      this.list.append(node);
    }
    const before = item.turn;
    item.turn = turn;
    if (!before || before.text !== turn.text || before.interrupted !== turn.interrupted) {
      const who = element("span", "who", turn.who === "caller" ? "You" : "Agent");
      const note = element("p", "note", turn.interrupted ? "You interrupted; what is struck through was not heard." : "");
      item.words.replaceChildren(who, words(turn), ...(turn.interrupted ? [note] : []));
    }
    this.showLatency(item);
  }

  played(number, ms) {
    const item = this.items.get(number);
    if (item && item.playMs === null) {
      item.playMs = ms;
      this.showLatency(item);
    }
  }

  showLatency(item) {
    if ("total" in item.turn.latencyMs) item.latency.replaceChildren(...latency(item));
  }
}

function words({ who, text, keys, heardText, interrupted }) {
  const line = document.createElement("p");
  if (who === "agent" && interrupted && text.startsWith(heardText)) {
    line.append(heardText, element("s", "unheard", text.slice(heardText.length)));
  } else {
    line.textContent = [text, keys && `keys ${keys}`].filter(Boolean).join(" ") || "(not understood)";
  }
  return line;
}

function latency({ turn: { latencyMs }, waitMs, playMs }) {
  const { transcript, agent: mind, voice } = latencyMs;
  const ms = { wait: waitMs, transcript, mind, voice, play: playMs };
  const known = STAGES.filter(([stage]) => ms[stage] !== null);
  const total = known.reduce((sum, [stage]) => sum + ms[stage], 0);
  const bar = element("div", "bar");
  const list = element("ul", "stages");
  bar.setAttribute("aria-hidden", "true");
  for (const [stage, name] of known) {
    const piece = element("span", stage);
    piece.style.flexGrow = ms[stage];
    bar.append(piece);
    list.append(element("li", stage, `${name} ${Math.round(ms[stage])} ms`));
  }
  const since = waitMs === null ? "your message" : "your last word";
  return [bar, list, element("span", "", `${Math.round(total)} ms from ${since} to the first sound`)];
}

function element(name, className, text = "") {
  const node = document.createElement(name);
  node.className = className;
  node.textContent = text;
  return node;
}
