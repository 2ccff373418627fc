// Joins the page, the sound and the connection.

import { Connection } from "./connection.js";
import { ConversationView } from "./conversation.js";
import { Picture } from "./picture.js";
import { openMicrophone, openSpeaker } from "./sound.js";

const STATES = {
  idle: "Not connected",
  connecting: "Connecting …",
  listening: "Listening",
  hearing: "Hearing you",
  thinking: "Thinking",
  speaking: "Speaking",
  announcing: "Speaking",
  over: "The conversation has ended",
  lost: "Connection lost, trying again …",
};
const MICROPHONE_PROBLEMS = {
  NotAllowedError: "The microphone is blocked. Allow it for this site in the address bar and press the button again, or type below.",
  NotFoundError: "No microphone was found. Plug one in and press the button again, or type below.",
  NotReadableError: "Another program holds the microphone. Close it and press the button again, or type below.",
  SecurityError: "Browsers give the microphone only to pages by https:// or on localhost. Open this page that way, or type below.",
  NotSupportedError: "This browser can neither send samples nor record Opus. Try another one, or type below.",
};
const KINDS = ["stt", "agent", "tts"];
const STORE = "voicemedia.session";
const AGAIN_MS = 1000;

const $ = (id) => document.getElementById(id);
const view = new ConversationView($("conversation"), $("scroll"));
const picture = new Picture($("picture"));
let choices = null;
let silentBefore = ""; // what the page said of a part that does not work
let again = 0;
let call = null;

// --- what the page shows ---

function showState(name) {
  $("state").dataset.state = name;
  $("state").textContent = STATES[name];
  $("interrupt").disabled = !["speaking", "thinking"].includes(name);
}

function showProblem(text) {
  $("problem").textContent = text;
  $("problem").hidden = !text;
}

function showGuess(text) {
  $("guess").hidden = !text;
  $("guess-text").textContent = text;
}

function showControls(on, withMicrophone) {
  $("start").hidden = on && withMicrophone;
  $("start").textContent = on ? "Use the microphone" : sessionName() ? "Go on talking" : "Start talking";
  for (const id of ["interrupt", "end"]) $(id).hidden = !on;
  for (const id of ["mute", "level-row"]) $(id).hidden = !(on && withMicrophone);
  $("mute").setAttribute("aria-pressed", "false");
  picture.run(on);
  if (on) $("picture-row").hidden = false;
}

// --- the session's name, kept so that a closed page goes on where it stopped ---

function sessionName() {
  try {
    return localStorage.getItem(STORE);
  } catch {
    return null;
  }
}

function keepSession(name) {
  try {
    name ? localStorage.setItem(STORE, name) : localStorage.removeItem(STORE);
  } catch {
    // Private windows may keep nothing; the session then ends with the page.
  }
}

function newName() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// --- the call ---

class Call {
  constructor() {
    this.name = sessionName() ?? newName();
    keepSession(this.name);
    this.floor = "listening";
    this.speaking = false;
    this.speech = null; // when the caller's speech began and ended
    this.agentTurn = { number: 0, at: 0 };
    this.soundAt = null;
    this.played = { ms: 0, at: -Infinity };
    this.typed = []; // words on their way
    this.answersTyped = false;
    this.hangoverMs = 0;
    this.microphone = null;
  }

  async begin() {
    showState("connecting");
    this.speaker = await openSpeaker({
      onMark: (number) => this.connection?.send({ type: "marked", number }),
      onPlaying: (playing) => this.onPlaying(playing),
      onPeak: (peak) => picture.peak("agent", peak),
    });
    this.connection = new Connection(this.url(), {
      onMessage: (message) => this.take(message),
      onSound: (sound) => this.play(sound),
      onState: (state, reason) => this.onConnection(state, reason),
    });
    showControls(true, false);
  }

  url() {
    const url = new URL(choices?.paths[0] ?? "/audio-stream", location.href);
    url.protocol = url.protocol.replace("http", "ws");
    url.searchParams.set("sessionId", this.name);
    url.searchParams.set("stream", "1");
    url.searchParams.set("time_zone", Intl.DateTimeFormat().resolvedOptions().timeZone ?? "");
    // What the route itself says may be several, one after the other: it is not asked for.
    if (choices?.choose) for (const kind of KINDS) if ($(kind).value) url.searchParams.set(kind, $(kind).value);
    return url;
  }

  async listen() {
    try {
      this.microphone = await openMicrophone(this.speaker.context, $("format").value, {
        onSound: (sound) => this.connection.send(sound),
        onPeak: (peak) => {
          $("level").value = Math.sqrt(peak);
          picture.peak("you", peak);
        },
      });
      showControls(true, true);
      showProblem("");
    } catch (error) {
      showProblem(MICROPHONE_PROBLEMS[error.name] ?? `The microphone does not work (${error.message}). You can type below.`);
      $("words").focus();
    }
  }

  take({ type, data }) {
    const act = {
      session: () => this.onSession(data),
      earlier: () => {
        view.quietly(() => view.earlier(data.turns));
        $("empty").hidden = true;
      },
      transcript: () => showGuess(data.final ? "" : data.text),
      speech: () => this.onSpeech(data.speaking),
      floor: () => this.onFloor(data.state),
      turn: () => this.onTurn(data),
      mark: () => this.speaker.mark(data.number),
      clear: () => {
        this.soundAt = null;
        this.speaker.clear();
      },
      error: () => showProblem(data.message),
      status: () => (this.lastWords = data.message),
    }[type];
    act?.();
  }

  onSession(data) {
    this.hangoverMs = data.hangoverMs;
    view.quietly(() => {
      view.clear();
      for (const turn of data.turns) view.show(turn, data.hangoverMs);
    });
    $("empty").hidden = data.turns.length > 0;
    $("chosen").textContent = `(${data.stt}, ${data.agent}, ${data.tts})`;
    this.show();
  }

  onTurn(turn) {
    $("empty").hidden = true;
    const isNew = !view.items.has(turn.number);
    if (isNew) this.mark(turn.who);
    if (turn.who === "caller") showGuess("");
    if (isNew && turn.who === "caller") this.onWords(turn.text);
    // Typed words need no pause after them.
    view.show(turn, this.answersTyped ? null : this.hangoverMs);
    if (isNew && turn.who === "agent") this.onAnswer(turn.number);
  }

  onWords(text) {
    const at = this.typed.findIndex((words) => text.includes(words));
    this.answersTyped = at >= 0;
    if (this.answersTyped) this.typed.splice(0, at + 1);
  }

  mark(who) {
    if (who === "agent") {
      picture.agent();
    } else {
      // Words are understood after they were said; typed ones take no time.
      const now = performance.now();
      const { from = now, to = now } = this.speech ?? {};
      picture.you(from, to);
      this.speech = null;
    }
  }

  onAnswer(number) {
    this.agentTurn = { number, at: performance.now() };
    // Its first sound may have come before it.
    if (this.agentTurn.at - this.played.at < 500) view.played(number, this.played.ms);
  }

  onSpeech(speaking) {
    const now = performance.now();
    this.speech = speaking ? { from: this.speech?.from ?? now } : { ...this.speech, to: now - this.hangoverMs };
    this.speaking = speaking;
    this.show();
  }

  onFloor(state) {
    this.floor = state;
    this.show();
  }

  show() {
    showState(this.speaking && this.floor !== "speaking" ? "hearing" : this.floor);
  }

  play(sound) {
    this.soundAt ??= performance.now();
    this.speaker.play(sound);
  }

  onPlaying(playing) {
    picture.sounding(playing);
    if (!playing) {
      this.soundAt = null;
    } else if (this.soundAt !== null) {
      const { outputLatency = 0 } = this.speaker.context;
      const at = performance.now();
      this.played = { ms: at - this.soundAt + outputLatency * 1000, at };
      if (at - this.agentTurn.at < 500) view.played(this.agentTurn.number, this.played.ms);
    }
  }

  async onConnection(state, reason) {
    if (state === "open") {
      if (this.problemOfConnection) showProblem("");
      this.problemOfConnection = false;
      this.show();
    } else if (state === "lost") {
      showState("lost");
      this.speaker.clear();
      const why = await whyNot();
      if (why && call === this) {
        this.problemOfConnection = true;
        showProblem(why);
      }
    } else if (call === this) {
      if (state === "failed") showProblem("The server cannot be reached. Check that it runs, then press the button again.");
      else if (this.lastWords && reason !== "caller_hung_up") showProblem(this.lastWords);
      this.end(reason);
    }
  }

  end(reason = "") {
    call = null;
    if (reason === "agent_hung_up" || reason === "caller_hung_up") keepSession(null);
    this.microphone?.close();
    // What was said last may still sound.
    setTimeout(() => this.speaker.close(), 1000);
    showGuess("");
    showControls(false);
    showState("over");
  }

  hangUp() {
    this.connection.close();
    this.speaker.clear();
    this.end("caller_hung_up");
  }
}

async function whyNot() {
  try {
    const now = await (await fetch("/playground/choices")).json();
    return now.full ? `The server takes no more conversations (${now.full}). Wait a moment; this page tries again.` : "";
  } catch {
    return "";
  }
}

async function connected() {
  if (call) return call;
  showProblem("");
  call = new Call();
  try {
    await call.begin();
  } catch (error) {
    showProblem(`This browser cannot play the answers (${error.message}). Try a current Firefox, Chrome or Safari.`);
  }
  return call;
}

// --- choices ---

async function loadChoices() {
  try {
    choices = await (await fetch("/playground/choices")).json();
  } catch {
    showProblem("The server does not answer. Check that it runs, then load this page again.");
    return;
  }
  if (!choices.paths.length) {
    showProblem('No route of this server takes browsers: add a [[routes]] with carrier = "browser" to its configuration.');
    $("start").disabled = true;
  }
  const silent = KINDS.map(offer).find(Boolean) ?? "";
  const shown = $("problem").hidden ? "" : $("problem").textContent;
  if ([silentBefore, ""].includes(shown)) showProblem(silent);
  silentBefore = silent;
  // Right after a start much is still on its way.
  clearTimeout(again);
  if (silent) again = setTimeout(loadChoices, AGAIN_MS);
  $("reasons").replaceChildren();
  if (!choices.choose) showReason("This server lets pages choose nothing (browser.choose = false).");
  for (const kind of KINDS) explain(kind, choices[kind].filter(({ available }) => !available));
  $("reasons-title").hidden = !$("reasons").childElementCount;
}

function offer(kind) {
  const route = choices.defaults[kind] ?? [];
  const chosen = $(kind).value;
  $(kind).disabled = !choices.choose;
  const works = (name) => choices[kind].find((one) => one.name === name)?.available ?? true;
  const named = (name) => (works(name) ? name : `${name} (not available)`);
  $(kind).replaceChildren(new Option(route.map(named).join(", then "), "", true, true));
  for (const { name, available } of choices[kind]) {
    if (route.length === 1 && name === route[0]) continue;
    const option = new Option(named(name), name, false, available && name === chosen);
    option.disabled = !available;
    $(kind).append(option);
  }
  if (!route.length || route.some(works)) return "";
  return missing(kind, choices[kind].find(({ name }) => name === route[0]));
}

// Those that could work here each have a reason; those nobody has configured have one in common.
function explain(kind, absent) {
  const part = $(kind).labels[0].firstChild.textContent.trim();
  for (const { name, reason, configured } of absent) if (configured) showReason(`${part} ${name}: ${reason}`);
  const others = absent.filter(({ configured }) => !configured);
  if (!others.length) return;
  const names = others.map(({ name }) => name).join(", ");
  showReason(`${part}, not in this server’s configuration: ${names}. Each wants a table, such as ${others[0].table}.`);
}

function showReason(text) {
  $("reasons").append(Object.assign(document.createElement("li"), { textContent: text }));
}

function missing(kind, { name, reason }) {
  const part = { stt: "Speech is not understood", agent: "Nobody answers", tts: "Answers come in writing only" }[kind];
  if (reason.endsWith(" is starting")) return `One moment: ${name} is still starting.`;
  return `${part}: ${name} does not work here. ${reason}`;
}

// --- buttons and keys ---

$("start").addEventListener("click", async () => {
  $("start").disabled = true;
  await (await connected()).listen();
  $("start").disabled = false;
  if (!$("mute").hidden) $("mute").focus();
});
$("end").addEventListener("click", () => {
  call?.hangUp();
  $("start").focus();
});
$("mute").addEventListener("click", () => {
  const muted = $("mute").getAttribute("aria-pressed") !== "true";
  $("mute").setAttribute("aria-pressed", String(muted));
  call?.microphone?.mute(muted);
  if (muted) call?.connection.send({ type: "end_of_speech" });
});
$("interrupt").addEventListener("click", () => call?.connection.send({ type: "interrupt" }));
document.addEventListener("keydown", ({ key }) => {
  if (key === "Escape" && !$("interrupt").disabled) $("interrupt").click();
});
$("forget").addEventListener("click", () => {
  call?.hangUp();
  keepSession(null);
  view.clear();
  showControls(false);
  showState("idle");
  $("empty").hidden = false;
});
$("typing").addEventListener("submit", async (event) => {
  event.preventDefault();
  const text = $("words").value.trim().replace(/\s+/g, " ");
  if (!text) return;
  const now = await connected();
  const { connection } = now;
  if (connection.socket.readyState === WebSocket.CONNECTING) {
    await new Promise((resolve) => connection.socket.addEventListener("open", resolve, { once: true }));
  }
  if (!connection.send({ type: "text_message", data: text, timestamp: Date.now() })) return;
  now.typed.push(text);
  $("words").value = "";
});

$("settings").addEventListener("toggle", () => {
  // Who was still starting, or has failed since, is another one now.
  if ($("settings").open) loadChoices();
});

showControls(false);
loadChoices();
