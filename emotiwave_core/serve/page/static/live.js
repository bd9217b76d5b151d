// Camera and microphone into the server's stream: sound as numbers, pictures as JPEG, on the clock of the sound.
// MediaRecorder is not used: its pieces are no files by themselves, and would be decoded only from the first one on.
import { message, openStream } from "./ask.js";

const PICTURES = 5; // a second
const SIDE = 480; // pixels of the longer side
const MOST_WAITING = 1 << 20; // bytes that the network has not taken: pictures are left out

export class Live {
  constructor({ onStarted, onAnswer, onEnd, onProblem }) {
    Object.assign(this, { onStarted, onAnswer, onEnd, onProblem });
    this.isOver = false;
  }

  async start({ microphone, camera, video, window, hop }) {
    if (!navigator.mediaDevices?.getUserMedia) {
      throw new Error("This browser gives a page camera and microphone only over https, or on this very machine.");
    }
    const picture = camera ? { width: { ideal: 640 }, height: { ideal: 480 }, facingMode: "user" } : false;
    this.media = await navigator.mediaDevices.getUserMedia({ audio: microphone, video: picture });
    if (this.isOver) return this.release();
    this.clock = new AudioContext();
    await this.clock.resume();
    this.origin = this.clock.currentTime;
    this.socket = openStream();
    this.socket.addEventListener("open", () => this.socket.send(JSON.stringify({ type: "start", window, hop })));
    this.socket.addEventListener("message", (event) => this.receive(JSON.parse(event.data), { microphone, camera, video }));
    this.socket.addEventListener("close", (event) => {
      this.release();
      this.onEnd(event.code === 1000 ? "" : event.reason || "The server has closed the stream.");
    });
  }

  receive(told, sources) {
    if (told.type === "started") {
      this.send(sources);
      this.onStarted();
    } else if (told.type === "prediction") this.onAnswer(told);
    else if (told.type === "error") this.onProblem(told.error);
    else if (told.type === "finished") for (const problem of told.problems) this.onProblem(problem);
  }

  async send({ microphone, camera, video }) {
    for (const track of this.media.getTracks()) track.addEventListener("ended", () => this.stop());
    if (camera) {
      video.srcObject = new MediaStream(this.media.getVideoTracks());
      await video.play().catch(() => {});
      const canvas = document.createElement("canvas");
      this.timer = setInterval(() => this.picture(video, canvas), 1000 / PICTURES);
    }
    if (microphone) {
      await this.clock.audioWorklet.addModule("static/sound.js");
      if (this.isOver || !this.isOpen) return;
      const blocks = new AudioWorkletNode(this.clock, "blocks", { numberOfOutputs: 0 });
      blocks.port.onmessage = ({ data: { at, rate, samples } }) => {
        if (this.isOpen) this.socket.send(message({ type: "sound", format: "s16", rate, at: at - this.origin }, samples));
      };
      this.clock.createMediaStreamSource(new MediaStream(this.media.getAudioTracks())).connect(blocks);
    }
  }

  get isOpen() { return this.socket?.readyState === WebSocket.OPEN && !this.isOver; }

  picture(video, canvas) {
    if (!this.isOpen || !video.videoWidth || this.socket.bufferedAmount > MOST_WAITING) return;
    const scale = Math.min(1, SIDE / Math.max(video.videoWidth, video.videoHeight));
    canvas.width = Math.round(video.videoWidth * scale);
    canvas.height = Math.round(video.videoHeight * scale);
    canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
    const at = this.clock.currentTime - this.origin;
    canvas.toBlob(async (blob) => {
      if (!blob) return;
      const content = await blob.arrayBuffer();
      if (this.isOpen) this.socket.send(message({ type: "frame", at }, content));
    }, "image/jpeg", 0.85);
  }

  stop() {
    if (this.isOpen) this.socket.send(JSON.stringify({ type: "finish" }));
    this.isOver = true;
    this.release();
  }

  release() {
    this.isOver = true;
    clearInterval(this.timer);
    for (const track of this.media?.getTracks() ?? []) track.stop();
    if (this.clock?.state !== "closed") this.clock?.close();
  }
}
