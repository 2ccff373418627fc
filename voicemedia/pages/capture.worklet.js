// Cuts what the microphone hears into frames of 20 ms, s16le.
class Capture extends AudioWorkletProcessor {
  constructor() {
    super();
    this.frame = new Int16Array(sampleRate / 50);
    this.filled = 0;
    this.peak = 0;
  }

  process([input]) {
    for (const sample of input[0] ?? []) {
      this.peak = Math.max(this.peak, Math.abs(sample));
      this.frame[this.filled++] = Math.max(-1, Math.min(1, sample)) * 32767;
      if (this.filled === this.frame.length) {
        const sound = this.frame.buffer.slice(0);
        this.port.postMessage({ sound, peak: this.peak }, [sound]);
        this.filled = this.peak = 0;
      }
    }
    return true;
  }
}
registerProcessor("capture", Capture);
