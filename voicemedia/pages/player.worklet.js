// Plays what comes in, in order; says when a mark is reached, when sound begins, and how loud it is.
class Player extends AudioWorkletProcessor {
  constructor() {
    super();
    this.queue = []; // Int16Array: sound; number: a mark
    this.at = 0;
    this.playing = false;
    this.peak = 0;
    this.sinceTold = 0;
    this.port.onmessage = ({ data }) => this.take(data);
  }

  take(message) {
    if (message.sound) this.queue.push(new Int16Array(message.sound));
    else if (message.mark) this.queue.push(message.mark);
    else this.clear();
  }

  clear() {
    for (const item of this.queue) if (typeof item === "number") this.port.postMessage({ mark: item });
    this.queue = [];
    this.at = 0;
  }

  sample() {
    while (this.queue.length) {
      const item = this.queue[0];
      if (typeof item === "number") this.port.postMessage({ mark: item });
      else if (this.at < item.length) return item[this.at++] / 32768;
      this.queue.shift();
      this.at = 0;
    }
    return null;
  }

  process(_inputs, [output]) {
    const channel = output[0];
    let sounded = false;
    for (let i = 0; i < channel.length; i++) {
      const sample = this.sample();
      sounded ||= sample !== null;
      channel[i] = sample ?? 0;
      this.peak = Math.max(this.peak, Math.abs(channel[i]));
    }
    if (sounded !== this.playing) this.port.postMessage({ playing: (this.playing = sounded) });
    this.sinceTold += channel.length;
    if (this.sinceTold >= sampleRate / 20) {
      this.port.postMessage({ peak: this.peak });
      this.sinceTold = this.peak = 0;
    }
    return true;
  }
}
registerProcessor("player", Player);
