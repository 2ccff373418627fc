// Draws how loud both sides were over the last half minute, with each turn as a band from its first to its last sound.

const SPAN_MS = 30000;
const STEP_MS = 50;
const COLUMNS = SPAN_MS / STEP_MS;
const GRID_MS = 10000;
const SOON_MS = 500; // The first sound of an answer comes so long before its words, if at all.

export class Picture {
  constructor(canvas) {
    this.canvas = canvas;
    this.columns = []; // {step, you, agent}
    this.turns = []; // {who, from, to}; to is null while it lasts
    this.answer = null; // the last turn of the agent
    this.soundFrom = -Infinity;
    this.running = false;
    this.stoppedAt = 0;
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  peak(who, peak) {
    const step = Math.floor(performance.now() / STEP_MS);
    let last = this.columns.at(-1);
    if (last?.step !== step) {
      this.columns.push((last = { step, you: 0, agent: 0 }));
      if (this.columns.length > COLUMNS) this.columns.shift();
    }
    last[who] = Math.max(last[who], peak);
  }

  you(from, to) {
    this.turn({ who: "you", from, to });
  }

  agent() {
    const now = performance.now();
    const from = now - this.soundFrom < SOON_MS ? this.soundFrom : now;
    // What sounds was taken for more of the answer before.
    if (this.answer?.to === null) this.answer.to = this.answer.before ?? from;
    this.turn((this.answer = { who: "agent", from, to: null }));
  }

  // The agent's sound begins, goes on after a gap, or has stopped.
  sounding(playing) {
    const now = performance.now();
    if (playing) this.soundFrom = now;
    if (!this.answer) return;
    if (playing && this.answer.to !== null) this.answer.before = this.answer.to;
    this.answer.to = playing ? null : now;
  }

  turn(turn) {
    this.turns = this.turns.filter((turn) => (turn.to ?? Infinity) > performance.now() - SPAN_MS);
    this.turns.push(turn);
    const you = this.turns.filter((turn) => turn.who === "you").length;
    this.canvas.setAttribute(
      "aria-label",
      `Loudness of you and of the agent over the last 30 seconds; turns: you ${you}, agent ${this.turns.length - you}`,
    );
  }

  run(running) {
    if (running && !this.running) requestAnimationFrame(() => this.frame());
    if (!running && this.running) {
      this.stoppedAt = performance.now();
      this.sounding(false);
    }
    this.running = running;
  }

  frame() {
    this.draw();
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    if (this.running) setTimeout(() => requestAnimationFrame(() => this.frame()), calm ? 1000 : STEP_MS);
  }

  draw() {
    const { canvas } = this;
    const ratio = devicePixelRatio || 1;
    const width = (canvas.width = canvas.clientWidth * ratio);
    const height = (canvas.height = canvas.clientHeight * ratio);
    const style = getComputedStyle(canvas);
    const color = (name) => style.getPropertyValue(`--${name}`);
    const pen = canvas.getContext("2d");
    const axis = 16 * ratio;
    const lane = (height - axis) / 2;
    const top = { you: 0, agent: lane };
    const now = this.running ? performance.now() : this.stoppedAt;
    const x = (at) => width * (1 - (now - at) / SPAN_MS);

    pen.font = `${11 * ratio}px system-ui, sans-serif`;
    pen.fillStyle = color("line");
    pen.fillRect(0, lane - ratio / 2, width, ratio);
    pen.fillRect(0, 2 * lane, width, ratio);
    for (let ago = GRID_MS; ago < SPAN_MS; ago += GRID_MS) {
      pen.fillStyle = color("line");
      pen.fillRect(x(now - ago), 0, ratio, 2 * lane);
      pen.fillStyle = color("soft");
      pen.textAlign = "center";
      pen.fillText(`${ago / 1000} s ago`, x(now - ago), height - 4 * ratio);
    }
    pen.fillStyle = color("soft");
    pen.textAlign = "right";
    pen.fillText("now", width - 4 * ratio, height - 4 * ratio);

    for (const { who, from, to } of this.turns) {
      const left = x(from);
      pen.fillStyle = color(who);
      pen.globalAlpha = 0.16;
      pen.fillRect(left, top[who], Math.max(x(to ?? now) - left, ratio), lane);
      pen.globalAlpha = 1;
      pen.fillRect(left, top[who], 2 * ratio, lane);
    }
    for (const who of ["you", "agent"]) {
      pen.fillStyle = color(who);
      const middle = top[who] + lane / 2;
      for (const column of this.columns) {
        const half = Math.max(Math.sqrt(column[who]) * lane * 0.46, ratio / 2);
        pen.fillRect(x(column.step * STEP_MS), middle - half, Math.max(width / COLUMNS, ratio), 2 * half);
      }
      pen.textAlign = "left";
      pen.font = `600 ${12 * ratio}px system-ui, sans-serif`;
      pen.fillText(who === "you" ? "You" : "Agent", 8 * ratio, top[who] + 16 * ratio);
    }
  }
}
