// Sound of the microphone in the audio thread: one channel, in blocks of a tenth of a second, as 16-bit numbers.
class Blocks extends AudioWorkletProcessor {
  constructor() {
    super();
    this.block = new Int16Array(Math.round(sampleRate / 10));
    this.filled = 0;
    this.first = currentTime;
  }

  process([channels]) {
    if (!channels.length) return true;
    for (let n = 0; n < channels[0].length; n += 1) {
      if (!this.filled) this.first = currentTime + n / sampleRate;
      let value = 0;
      for (const channel of channels) value += channel[n] / channels.length;
      this.block[this.filled] = Math.max(-1, Math.min(1, value)) * 32767;
      this.filled += 1;
      if (this.filled === this.block.length) {
        this.port.postMessage({ at: this.first, rate: sampleRate, samples: this.block.slice().buffer });
        this.filled = 0;
      }
    }
    return true;
  }
}
registerProcessor("blocks", Blocks);
