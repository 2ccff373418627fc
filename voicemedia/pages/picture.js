// Draws how loud both sides were over the last half minute, and where turns began.

const SPAN_MS = 30000;
const STEP_MS = 50;
const COLUMNS = SPAN_MS / STEP_MS;

export class Picture {
  constructor(canvas) {
    this.canvas = canvas;
    this.columns = []; // {step, you, agent}
    this.turns = []; // {at, who}
    this.running = false;
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

  turn(who) {
    this.turns.push({ at: performance.now(), who });
    this.turns = this.turns.filter(({ at }) => at > performance.now() - SPAN_MS);
    const you = this.turns.filter((turn) => turn.who === "you").length;
    this.canvas.setAttribute(
      "aria-label",
      `Loudness of you and of the agent over the last 30 seconds; turns begun: you ${you}, agent ${this.turns.length - you}`,
    );
  }

  run(running) {
    if (running && !this.running) requestAnimationFrame(() => this.frame());
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
    const now = performance.now();
    const x = (at) => width * (1 - (now - at) / SPAN_MS);
    pen.fillStyle = color("line");
    pen.fillRect(0, height / 2 - ratio / 2, width, ratio);
    for (const who of ["you", "agent"]) {
      const middle = height * (who === "you" ? 0.25 : 0.75);
      pen.fillStyle = color(who);
      for (const column of this.columns) {
        const half = Math.max(Math.sqrt(column[who]) * height * 0.23, ratio / 2);
        pen.fillRect(x(column.step * STEP_MS), middle - half, Math.max(width / COLUMNS, ratio), 2 * half);
      }
    }
    pen.font = `${11 * ratio}px system-ui, sans-serif`;
    for (const { at, who } of this.turns) {
      const top = who === "you" ? 0 : height / 2;
      pen.fillStyle = color("soft");
      pen.fillRect(x(at), top, ratio, height / 2);
      pen.fillText(who === "you" ? "you" : "agent", x(at) + 4 * ratio, top + 12 * ratio);
    }
  }
}
