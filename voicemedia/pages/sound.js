// The microphone and the loudspeaker, at the server's 16 kHz.

export const RATE_HZ = 16000;
const CHUNK_MS = 250;

export async function openSpeaker({ onMark, onPlaying, onPeak }) {
  const context = new AudioContext({ sampleRate: RATE_HZ, latencyHint: "interactive" });
  await context.audioWorklet.addModule("/playground/player.worklet.js");
  await context.resume();
  const node = new AudioWorkletNode(context, "player", { numberOfInputs: 0, outputChannelCount: [1] });
  node.connect(context.destination);
  node.port.onmessage = ({ data }) => {
    if (data.mark) onMark(data.mark);
    else if ("playing" in data) onPlaying(data.playing);
    else onPeak(data.peak);
  };
  return {
    context,
    play: (sound) => node.port.postMessage({ sound }, [sound]),
    mark: (mark) => node.port.postMessage({ mark }),
    clear: () => node.port.postMessage({ clear: true }),
    close: () => context.close(),
  };
}

export async function openMicrophone(context, format, { onSound, onPeak }) {
  if (!navigator.mediaDevices) throw new DOMException("no secure context", "SecurityError");
  const stream = await navigator.mediaDevices.getUserMedia({
    audio: { echoCancellation: true, noiseSuppression: true, autoGainControl: true, channelCount: 1 },
  });
  const stops = [() => stream.getTracks().forEach((track) => track.stop())];
  let sending = true;
  let measure = true;
  const send = (sound) => sending && onSound(sound);
  if (format === "samples") {
    try {
      stops.push(await captureSamples(context, stream, send, onPeak));
      measure = false;
    } catch (error) {
      // Firefox does not let a microphone into a context of another rate; it records Opus all the same.
      console.info("recording Opus instead of samples:", error.message);
    }
  }
  if (measure) {
    stops.push(recordOpus(stream, send));
    stops.push(measurePeaks(stream, onPeak));
  }
  return {
    mute: (muted) => {
      sending = !muted;
      stream.getTracks().forEach((track) => (track.enabled = !muted));
    },
    close: () => stops.reverse().forEach((stop) => stop()),
  };
}

async function captureSamples(context, stream, send, onPeak) {
  await context.audioWorklet.addModule("/playground/capture.worklet.js");
  const source = context.createMediaStreamSource(stream);
  const node = new AudioWorkletNode(context, "capture", { numberOfOutputs: 0 });
  node.port.onmessage = ({ data }) => {
    onPeak(data.peak);
    send(data.sound);
  };
  source.connect(node);
  return () => source.disconnect();
}

function recordOpus(stream, send) {
  const type = ["audio/webm;codecs=opus", "audio/ogg;codecs=opus"].find((one) => MediaRecorder.isTypeSupported(one));
  if (!type) throw new DOMException("no recorder for Opus", "NotSupportedError");
  const recorder = new MediaRecorder(stream, { mimeType: type, audioBitsPerSecond: 32000 });
  let sent = Promise.resolve();
  recorder.ondataavailable = ({ data }) => {
    // Reading a blob takes a while; the order is kept.
    sent = sent.then(async () => send(await data.arrayBuffer()));
  };
  recorder.start(CHUNK_MS);
  return () => recorder.stop();
}

function measurePeaks(stream, onPeak) {
  const context = new AudioContext();
  const analyser = new AnalyserNode(context, { fftSize: 2048 });
  context.createMediaStreamSource(stream).connect(analyser);
  const samples = new Float32Array(analyser.fftSize);
  const timer = setInterval(() => {
    analyser.getFloatTimeDomainData(samples);
    onPeak(samples.reduce((peak, sample) => Math.max(peak, Math.abs(sample)), 0));
  }, 50);
  return () => {
    clearInterval(timer);
    context.close();
  };
}
