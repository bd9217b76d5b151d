// The page: a clip or a camera is asked about, and the answer is shown.
import { ask, Refused, useToken } from "./ask.js";
import { Answer } from "./answer.js";
import { Live } from "./live.js";

const at = (id) => document.getElementById(id);
let answer = null;
let clip = null; // the file that was chosen last
let asking = null; // AbortController of the upload that is on its way
let live = null;

function say(text, isWrong = false) {
  at("status").textContent = text;
  at("status").classList.toggle("wrong", isWrong);
}

async function begin() {
  try {
    const about = await ask("model");
    at("key").hidden = true;
    answer ??= new Answer(about);
    return true;
  } catch (error) {
    tell(error);
    return false;
  }
}

function tell(error) {
  if (error instanceof Refused && error.status === 401) {
    at("key").hidden = false;
    at("token").focus();
    say("This server answers only with its token.", true);
  } else say(error.message, true);
}

async function send(file) {
  if (!answer && !(await begin())) return;
  live?.stop();
  asking?.abort();
  asking = new AbortController();
  const { signal } = asking;
  clip = file;
  at("again").hidden = false;
  preview(file);
  say(`Working on ${file.name} \u2026`);
  const form = new FormData();
  form.append("file", file);
  if (at("words").value.trim()) form.append("transcript", at("words").value.trim());
  const window = at("window").value;
  if (window) {
    form.append("window", window);
    form.append("hop", String(Number(window) / 2));
  }
  try {
    const told = await ask("predict", { method: "POST", body: form, signal });
    at("decided").setAttribute("aria-live", "polite");
    answer.show(told);
    say(told.evidence ? `${file.name}: ${told.segments.length} windows.` : `${file.name}: nothing in it can be used.`, !told.evidence);
    at("answer").focus();
  } catch (error) {
    if (error.name !== "AbortError") tell(error);
  }
}

function preview(file) {
  const video = at("seen");
  if (video.src) URL.revokeObjectURL(video.src);
  video.srcObject = null;
  video.src = URL.createObjectURL(file);
  video.controls = true;
  video.muted = false;
  video.hidden = false;
}

async function toggleLive() {
  if (live) {
    say("Ending \u2026");
    live.stop();
    return;
  }
  const [microphone, camera] = [at("microphone").checked, at("camera").checked];
  if (!microphone && !camera) return say("Choose the microphone, the camera or both.", true);
  if (!answer && !(await begin())) return;
  asking?.abort();
  const video = at("seen");
  video.removeAttribute("src");
  video.controls = false;
  video.muted = true;
  video.hidden = !camera;
  answer.clear();
  answer.render();
  at("decided").setAttribute("aria-live", "off"); // it changes each second
  const window = Number(at("window").value || 4);
  live = new Live({
    onStarted: () => say("Listening and looking. The first answer comes in a moment."),
    onAnswer: (segment) => {
      if (!answer.segments.length) say("Listening and looking.");
      answer.add(segment);
    },
    onProblem: (problem) => say(problem, true),
    onEnd: (reason) => { ended(); say(reason ? `The stream has ended: ${reason}` : "The stream has ended.", Boolean(reason)); },
  });
  at("live").textContent = "Stop";
  at("live").setAttribute("aria-pressed", "true");
  say("Your browser asks for permission.");
  try {
    await live.start({ microphone, camera, video, window, hop: Math.min(1, window / 2) });
  } catch (error) {
    live?.release();
    ended();
    say(error.name === "NotAllowedError" ? "Camera and microphone were not allowed." : error.message, true);
  }
}

function ended() {
  live = null;
  at("live").textContent = "Start";
  at("live").removeAttribute("aria-pressed");
  at("seen").srcObject = null;
  if (!clip) at("seen").hidden = true;
}

at("key").addEventListener("submit", async (event) => {
  event.preventDefault();
  useToken(at("token").value);
  if (await begin()) say("The token is right.");
});
if (at("file")) {
  at("file").addEventListener("change", () => at("file").files[0] && send(at("file").files[0]));
  at("again").addEventListener("click", () => send(clip));
  at("live").addEventListener("click", toggleLive);
  at("seen").addEventListener("error", () => { at("seen").hidden = true; }); // a form that the browser does not play
  at("seen").addEventListener("timeupdate", () => { if (!live && answer) answer.seek(at("seen").currentTime); });
  for (const [kind, isOver] of [["dragover", true], ["dragleave", false], ["drop", false]]) {
    document.addEventListener(kind, (event) => {
      event.preventDefault();
      at("drop").classList.toggle("over", isOver);
      if (kind === "drop" && event.dataTransfer.files[0]) send(event.dataTransfer.files[0]);
    });
  }
  window.addEventListener("pagehide", () => live?.stop());
  begin();
}
