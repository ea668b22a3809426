// The page of `repcount serve`. Names and messages are strangers' text: they reach the page as text only, never as HTML.

import { byId, element, listRepetitions, makePlot, markRepetition, percent, showPairs, time, whole } from "./plot.js";

const player = byId("player");
const maxUploadBytes = Number(document.body.dataset.maxUploadBytes);
const hasToken = document.body.dataset.hasToken === "true";

const PLOT_POINTS = 3000; // more of them are no sharper on a screen

const state = {
  token: "", // lives as long as the page
  asked: null, // { file } or { name }, the latest
  request: null, // that runs
  answer: null, // that is shown
  timeSec: 0, // where the cursor is, also if the browser cannot play the video
  offsetSec: 0, // when the player shows the first frame
  moveCursor: () => {}, // set by drawPlot
};

const cues = player.addTextTrack("subtitles", "Repetitions", "en"); // for the full screen, where the badge is not

const show = (...ids) => {
  for (const id of ["working", "problem", "token-form", "answer"]) byId(id).hidden = !ids.includes(id);
};
const say = (text) => { byId("status").textContent = text; };
// What could break a line or turn the direction of the text around it is replaced.
const shownName = ({ file, name }) => (file?.name ?? name).replace(/[\p{Cc}\p{Cn}\p{Co}\p{Cs}\p{Zl}\p{Zp}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu, "\uFFFD");
const explain = (kind, code) => byId("texts").content.querySelector(`[data-${kind}="${CSS.escape(code)}"]`)?.textContent;

function bytes(number) {
  const units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
  const power = Math.min(Math.floor(Math.log2(Math.max(number, 1)) / 10), units.length - 1);
  return `${Number((number / 1024 ** power).toFixed(1))} ${units[power]}`;
}

// ---- asking ----

// Resolves with the status (0 if no answer came), the answer as JSON (null if it is none), and the header Retry-After.
function send(asked, onProgress) {
  const request = new XMLHttpRequest();
  const done = new Promise((resolve) => {
    request.addEventListener("loadend", () => resolve({
      status: request.status,
      answer: parse(request.responseText),
      retryAfter: /^\d{1,6}$/.exec(request.getResponseHeader("retry-after") ?? "")?.[0],
    }));
  });
  const query = new URLSearchParams({ name: asked.name ?? "", curve: "true" });
  request.open(asked.file ? "POST" : "GET", asked.file ? "count" : `count?${query}`);
  if (state.token) request.setRequestHeader("authorization", `Bearer ${state.token}`);
  if (!asked.file) {
    request.send();
    return { request, done };
  }
  const form = new FormData();
  form.append("curve", "true");
  form.append("video", asked.file);
  request.upload.addEventListener("progress", (event) => onProgress(event.loaded, event.total));
  request.upload.addEventListener("load", () => onProgress(1, 1));
  request.send(form);
  return { request, done };
}

function parse(text) {
  try {
    const answer = JSON.parse(text);
    return typeof answer === "object" ? answer : null;
  } catch {
    return null;
  }
}

function stop() {
  state.request?.abort();
  state.request = null;
}

async function count(asked) {
  stop();
  clear();
  state.asked = asked;
  if (asked.file && asked.file.size > maxUploadBytes) {
    return problem({ status: 413 });
  }
  if (hasToken && !state.token) return askForToken("");
  const name = shownName(asked);
  const started = Date.now();
  byId("elapsed").textContent = "";
  enterPhase(asked.file ? "Uploading" : "Counting", name);
  const clock = setInterval(() => { byId("elapsed").textContent = `${Math.round((Date.now() - started) / 1000)} s`; }, 1000);
  show("working");
  const { request, done } = send(asked, (sent, total) => {
    if (sent >= total) enterPhase("Counting", name);
    else byId("progress").value = sent / total;
  });
  state.request = request;
  const result = await done;
  clearInterval(clock);
  if (state.request !== request) return undefined; // cancelled, or another one was asked for
  state.request = null;
  if (result.status === 200 && result.answer?.status === "counted") return showAnswer(result.answer, asked);
  if (result.status === 401) return askForToken(state.token ? "This token is not the server's." : "");
  return problem(result);
}

function enterPhase(verb, name) {
  byId("progress").removeAttribute("value"); // unknown until bytes have left
  if (byId("phase").textContent === `${verb} ${name}`) return;
  byId("phase").textContent = `${verb} ${name}`;
  say(`${verb} ${name}`);
}

function askForToken(why) {
  state.token = "";
  show("token-form");
  byId("token").value = "";
  byId("token-note").textContent = `${why} This page forgets the token when it is closed.`.trim();
  byId("token").focus();
}

// ---- what went wrong ----

const sentence = (text) => (text ? `${text[0].toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}` : "");

// Returns the title, the text, and whether the same request may succeed later.
function describe({ status, answer, retryAfter }) {
  const { code = "", message = "" } = answer?.error ?? {};
  const again = retryAfter ? `Try again in ${retryAfter} s.` : "Try again in a while.";
  switch (status) {
    case 0: return ["No answer came", "The server does not run, the network failed, or the file has changed.", true];
    case 400: case 415: return ["The server does not understand this request", sentence(message), false];
    case 403: return ["This is not allowed", sentence(message), false];
    case 404: return ["There is no such video", "Check its name: capitals matter, and folders are part of it.", false];
    case 408: return ["The upload is too slow", sentence(message), true];
    case 413: return ["The video is too large", `A video may have ${bytes(maxUploadBytes)}, or less if a proxy in front of the server says so.`, false];
    case 422: return ["This video cannot be counted", explain("code", code) ?? "", false];
    case 429: return ["The server is busy", `As many videos wait as may wait. ${again}`, true];
    case 503: return code === "DRAINING"
      ? ["The server is about to end", again, true]
      : ["The server is not ready", `It may still be loading its model. ${again}`, true];
    case 504: return ["The video took too long", "It was not counted in the time that the server allows. Try again later, or cut the video.", true];
    default: return status >= 500
      ? ["The server has failed, not the video", `${again} If that does not help, tell the operator of this server.`, true]
      : ["The server sent an answer that this page does not understand", `Its status is ${status}.`, true];
  }
}

function problem(result) {
  const [title, text, isWorthAgain] = describe(result);
  const { code, message } = result.answer?.error ?? {};
  byId("problem-title").textContent = title;
  byId("problem-text").textContent = text;
  byId("problem-detail").textContent = [code, message].filter((part) => typeof part === "string" && part).join(": ");
  byId("retry").hidden = !isWorthAgain;
  say("");
  show("problem");
}

function refuse(title, text) {
  stop();
  clear();
  byId("problem-title").textContent = title;
  byId("problem-text").textContent = text;
  byId("problem-detail").textContent = "";
  byId("retry").hidden = true;
  show("problem");
}

// ---- the answer ----

function clear() {
  state.answer = null;
  document.title = "repcount";
  player.pause();
  const before = player.getAttribute("src");
  player.removeAttribute("src");
  player.load();
  if (before) URL.revokeObjectURL(before);
  for (const cue of [...(cues.cues ?? [])]) cues.removeCue(cue);
  say("");
  show();
}

function showAnswer(answer, asked) {
  state.answer = answer;
  state.timeSec = 0;
  state.offsetSec = answer.first_frame_sec ?? 0;
  const shown = shownName(asked);
  const counted = answer.count_rounded;
  byId("title").textContent = shown;
  byId("count").textContent = whole(counted);
  byId("count-unit").textContent = counted === 1 ? "repetition" : "repetitions";
  document.title = `${counted} – ${shown} – repcount`;
  byId("remarks").replaceChildren(...answer.flags.map((flag) => element("li", { textContent: explain("flag", flag) ?? flag })));
  showNumbers(answer);
  byId("unplayable").hidden = true;
  byId("answer").classList.toggle("bare", !asked.file);
  if (asked.file) player.src = URL.createObjectURL(asked.file);
  show("answer");
  addCues(answer);
  listRepetitions(byId("repetitions"), answer.repetition_times_sec, seek);
  drawPlot();
  showTime();
  byId("title").focus();
  say(`${counted} ${byId("count-unit").textContent} in ${shown}`);
}

function showNumbers(n) {
  const rows = [["Exact count", n.count.toFixed(2)]];
  const add = (name, value, text) => value !== null && value !== undefined && rows.push([name, text(value)]);
  add("Within one with probability", n.certainty, percent);
  add("Confidence", n.confidence, (value) => value.toFixed(2));
  add("Rate", n.mean_rate_hz, (value) => `${(60 * value).toFixed(1)} a minute`);
  add("Mean repetition", n.mean_period_sec, (value) => `${value.toFixed(2)} s`);
  if (n.segments.length) {
    const sets = n.segments.map((set) => `${set.count.toFixed(1)} from ${time(set.start_sec)} to ${time(set.end_sec)}`);
    rows.push([sets.length === 1 ? "Set" : "Sets", sets.join("\n")]);
  }
  add("Duration", n.duration_sec, (value) => time(value));
  const fps = n.fps === null ? "" : `, ${Number(n.fps.toFixed(2))} frames/s`;
  rows.push(["Picture", `${n.width}×${n.height}${fps}${n.codec ? `, ${n.codec}` : ""}`]);
  const wall = n.wall_sec === null ? "" : ` in ${n.wall_sec.toFixed(1)} s`;
  rows.push(["Source", n.source === "tables" ? "counted before" : `counted now${wall}`], ["Model", n.model]);
  showPairs(byId("numbers"), rows);
}

function thinned(answer) {
  const step = Math.ceil(answer.times_sec.length / PLOT_POINTS) || 1;
  const some = (values) => values.filter((_, index) => index % step === 0 || index === values.length - 1);
  const [time_sec, counts] = [some(answer.times_sec), some(answer.curve)];
  return { time_sec, count: counts, periodicity: some(answer.periodicity), period_sec: some(answer.period_sec) };
}

function drawPlot() {
  const plot = makePlot(state.answer, thinned(state.answer), durationSec(), byId("plot").clientWidth, seek);
  byId("plot").replaceChildren(plot.svg);
  state.moveCursor = plot.moveCursor;
  state.moveCursor(state.timeSec);
}

function addCues({ repetition_times_sec: times }) {
  times.forEach((sec, index) => {
    const cue = new VTTCue(sec + state.offsetSec, (times[index + 1] ?? 1e6) + state.offsetSec, String(index + 1));
    cue.line = 0;
    cues.addCue(cue);
  });
}

// ---- time: seconds from the first frame ----

function durationSec() {
  const { duration_sec: duration, times_sec: times } = state.answer;
  const played = Number.isFinite(player.duration) ? player.duration - state.offsetSec : 0;
  return Math.max(duration ?? 0, times.at(-1) ?? 0, played, 0.001);
}

function seek(sec) {
  if (!state.answer) return;
  state.timeSec = Math.min(Math.max(sec, 0), durationSec());
  if (player.readyState > 0) player.currentTime = state.timeSec + state.offsetSec;
  showTime();
}

function showTime() {
  if (!state.answer) return;
  const done = state.answer.repetition_times_sec.filter((sec) => sec <= state.timeSec + 0.01).length;
  byId("badge").textContent = whole(done);
  byId("now").textContent = `${whole(done)} by ${time(state.timeSec)} of ${time(durationSec())}`;
  state.moveCursor(state.timeSec);
  markRepetition(byId("repetitions"), done);
}

function takeTime() {
  if (player.readyState === 0) return;
  state.timeSec = Math.max(0, player.currentTime - state.offsetSec);
  showTime();
}

function followPlayer() {
  takeTime();
  if (!player.paused && !player.ended) requestAnimationFrame(followPlayer);
}

// ---- events ----

function take(files, hasFolder = false) {
  if (hasFolder) refuse("This is a folder", "Drop one video.");
  else if (files.length > 1) refuse("One video at a time", `You gave ${files.length} files.`);
  else if (files.length === 1) count({ file: files[0] });
}

const isFile = (event) => event.dataTransfer?.types.includes("Files");

// A file that is dropped beside the zone would otherwise replace the page.
for (const name of ["dragenter", "dragover"]) {
  document.addEventListener(name, (event) => {
    if (!isFile(event)) return;
    event.preventDefault();
    byId("zone").classList.add("over");
  });
}
document.addEventListener("dragleave", (event) => {
  if (event.relatedTarget === null) byId("zone").classList.remove("over");
});
document.addEventListener("drop", (event) => {
  if (!isFile(event)) return;
  event.preventDefault();
  byId("zone").classList.remove("over");
  const hasFolder = [...event.dataTransfer.items].some((item) => item.webkitGetAsEntry?.()?.isDirectory);
  take(event.dataTransfer.files, hasFolder);
});
byId("file").addEventListener("change", () => {
  const files = [...byId("file").files];
  byId("file").value = ""; // so that the same file may be chosen again
  take(files);
});
byId("by-name")?.addEventListener("submit", (event) => {
  event.preventDefault();
  count({ name: byId("name").value });
});
byId("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const token = byId("token").value.trim();
  byId("token").value = "";
  if (!/^[!-~]+$/.test(token)) {
    askForToken("A token has visible ASCII characters only.");
    return;
  }
  state.token = token;
  count(state.asked);
});
byId("cancel").addEventListener("click", () => {
  stop();
  clear();
  say("Cancelled");
});
byId("retry").addEventListener("click", () => count(state.asked));

player.addEventListener("play", followPlayer);
for (const name of ["timeupdate", "seeking", "seeked"]) player.addEventListener(name, takeTime);
player.addEventListener("loadedmetadata", () => {
  if (!state.answer) return;
  if (state.timeSec) player.currentTime = state.timeSec + state.offsetSec;
  drawPlot();
});
player.addEventListener("error", () => {
  if (!state.answer || !player.getAttribute("src")) return;
  const { codec } = state.answer;
  byId("unplayable").textContent = `This browser cannot play this video${codec ? ` (${codec})` : ""}. The curve works without it.`;
  byId("unplayable").hidden = false;
  byId("answer").classList.add("bare");
});
document.addEventListener("fullscreenchange", () => {
  cues.mode = document.fullscreenElement === player ? "showing" : "hidden";
});
new ResizeObserver(() => state.answer && drawPlot()).observe(byId("plot"));

byId("limit").prepend(`Up to ${bytes(maxUploadBytes)}. `);
