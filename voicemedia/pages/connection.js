// The WebSocket of one session; when it is lost, another one goes on with the session.

const FIRST_RETRY_MS = 400;
const GIVE_UP_MS = 30000;

export class Connection {
  constructor(url, { onMessage, onSound, onState }) {
    this.url = url;
    this.handlers = { onMessage, onSound, onState };
    this.closed = false;
    this.lostAt = 0;
    this.retries = 0;
    this.open();
  }

  open() {
    const socket = (this.socket = new WebSocket(this.url));
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      this.lostAt = this.retries = 0;
      this.handlers.onState("open");
    };
    socket.onmessage = ({ data }) => {
      if (typeof data === "string") this.handlers.onMessage(JSON.parse(data));
      else this.handlers.onSound(data);
    };
    socket.onclose = (event) => this.gone(event);
  }

  gone({ code, reason }) {
    const wasOpened = this.lostAt === 0 && this.retries === 0;
    // 1000: the server has said goodbye; 1008: it will not have us.
    if (this.closed || code === 1000 || code === 1008) {
      this.handlers.onState("over", reason);
      return;
    }
    this.lostAt ||= Date.now();
    if (Date.now() - this.lostAt > GIVE_UP_MS) {
      this.handlers.onState("failed", reason);
      return;
    }
    this.handlers.onState("lost", wasOpened ? reason : "");
    const delay = FIRST_RETRY_MS * 2 ** Math.min(this.retries++, 4) * (0.5 + Math.random());
    this.timer = setTimeout(() => this.open(), delay);
  }

  send(message) {
    if (this.socket.readyState !== WebSocket.OPEN) return false;
    this.socket.send(message instanceof ArrayBuffer ? message : JSON.stringify(message));
    return true;
  }

  close() {
    this.closed = true;
    clearTimeout(this.timer);
    this.send({ type: "hang_up" });
    this.socket.close(1000);
  }
}
