// The page of `repcount view`. Names of files are strangers' text: they reach the page as text only, never as HTML.

import { byId, element, listRepetitions, makePlot, markRepetition, percent, showPairs, time, whole } from "./plot.js";

const player = byId("player");
const countField = byId("count");

const PAGE_ROWS = 50; // as the server sends

const state = {
  offset: 0, // of the list's page
  total: 0, // videos that the list finds
  current: null, // the shown video, as the server describes it
  timeSec: 0, // where the cursor is, also if the browser cannot play the video
  moveCursor: () => {}, // set by drawPlot
  visited: [], // numbers of the videos shown before, the latest last
  leaving: null, // the video that the user was asked about: its count is not saved
};

async function ask(path, options) {
  const response = await fetch(path, options);
  const isJson = (response.headers.get("content-type") || "").includes("json");
  const answer = isJson ? await response.json() : { error: (await response.text()).trim() };
  if (!response.ok) throw new Error(answer.error || `The server answered ${response.status}.`);
  return answer;
}

function notice(text) {
  byId("notice").textContent = text;
  byId("notice").hidden = !text;
}

// Runs an action; what goes wrong is shown on the page.
function shown(action) {
  return async (...args) => {
    try {
      return await action(...args);
    } catch (error) {
      notice(error instanceof TypeError ? "The server does not answer. Is repcount view still running?" : error.message);
      return undefined;
    }
  };
}

// ---- the list ----

function listQuery() {
  const query = new URLSearchParams({ search: byId("search").value, order: byId("order").value });
  if (byId("unlabelled").checked) query.set("unlabelled", "1");
  return query;
}

let listed = 0; // number of the latest request, since answers may overtake each other

const loadList = shown(async () => {
  listed += 1;
  const mine = listed;
  const query = listQuery();
  query.set("offset", state.offset);
  const page = await ask(`api/videos?${query}`);
  if (mine !== listed) return null;
  if (!page.videos.length && state.offset > 0) {
    // The list has become shorter, as when the only video of the last page without a label got one.
    state.offset = Math.max(0, Math.floor((page.total - 1) / PAGE_ROWS) * PAGE_ROWS);
    return loadList();
  }
  state.total = page.total;
  byId("list").replaceChildren(...page.videos.map(listItem));
  byId("empty").hidden = page.total > 0;
  const last = page.offset + page.videos.length;
  byId("range").textContent = page.total ? `${whole(page.offset + 1)}–${whole(last)} of ${whole(page.total)}` : "";
  byId("page-before").disabled = page.offset === 0;
  byId("page-after").disabled = last >= page.total;
  byId("page-after").dataset.next = last;
  markCurrent();
  return page;
});

function listItem(video) {
  const remarks = [];
  if (video.review !== null && video.label === null) remarks.push("to review");
  if (video.label !== null) remarks.push(`✓ labelled ${video.label}`);
  if (video.certainty !== null) remarks.push(`${percent(video.certainty)} certain`);
  remarks.push(...video.flags);
  const link = element("a", { href: `#${video.number}` });
  link.append(
    element("span", { className: "name", textContent: video.name }),
    element("span", { className: "number", textContent: whole(video.count_rounded) }),
    element("span", { className: "more", textContent: remarks.join(" · ") }),
  );
  link.dataset.number = video.number;
  return element("li", {}, link);
}

function markCurrent() {
  for (const link of byId("list").querySelectorAll("a")) {
    const isCurrent = state.current !== null && Number(link.dataset.number) === state.current.number;
    if (isCurrent) {
      link.setAttribute("aria-current", "true");
      link.scrollIntoView({ block: "nearest" });
    } else {
      link.removeAttribute("aria-current");
    }
  }
}

function searchAnew() {
  state.offset = 0;
  loadList();
}

// ---- one video ----

let opened = 0;

const open = shown(async (number) => {
  opened += 1;
  const mine = opened;
  const video = await ask(`api/videos/${number}`);
  if (mine !== opened) return;
  notice("");
  if (state.current && state.current.number !== number) state.visited.push(state.current.number);
  state.current = video;
  state.timeSec = 0;
  state.leaving = null;
  byId("video").hidden = false;
  byId("name").textContent = video.name;
  byId("name").title = video.uri;
  document.title = `${video.name} – repcount view`;
  byId("problem").textContent = video.problem;
  byId("problem").hidden = !video.problem;
  byId("review").textContent = video.review;
  byId("review").hidden = video.review === null;
  byId("total").textContent = whole(video.count_rounded);
  byId("unplayable").hidden = true;
  byId("video").classList.remove("bare");
  player.src = `video/${number}`;
  player.playbackRate = Number(byId("speed").value);
  byId("list-panel").classList.remove("open");
  byId("list-toggle").setAttribute("aria-expanded", "false");
  showNumbers(video);
  showLabel();
  drawPlot();
  listRepetitions(byId("repetitions"), video.numbers.repetition_times_sec, seek);
  markCurrent();
  showTime();
});

function showNumbers({ numbers: n, count }) {
  const rows = [["Count", count.toFixed(2)]];
  const add = (name, value, text) => value !== null && value !== undefined && rows.push([name, text(value)]);
  add("Probability of being within one", n.certainty, percent);
  add("Confidence that something repeats", n.confidence, (value) => value.toFixed(2));
  add("Rate", n.mean_rate_hz, (value) => `${(60 * value).toFixed(1)} a minute`);
  add("Mean repetition", n.mean_period_sec, (value) => `${value.toFixed(2)} s`);
  if (n.segments.length) {
    const sets = n.segments.map((set) => `${set.count.toFixed(1)} from ${time(set.start_sec)} to ${time(set.end_sec)}`);
    rows.push([n.segments.length === 1 ? "Set" : "Sets", sets.join("\n")]);
  }
  if (n.flags.length) rows.push(["Flags", n.flags.join(", ")]);
  add("Duration", n.duration_sec, (value) => time(value));
  const fps = n.fps === null ? "" : `, ${n.fps.toFixed(n.fps % 1 ? 2 : 0)} frames/s`;
  rows.push(["Picture", `${n.width}×${n.height}${fps}${n.codec ? `, ${n.codec}` : ""}`]);
  rows.push(["File", `${(n.size_bytes / 1e6).toFixed(1)} MB`]);
  rows.push(["Counted", `${n.run_started.slice(0, 16).replace("T", " ")} UTC with ${n.model}`]);
  showPairs(byId("numbers"), rows);
}

// ---- time ----

// The player's time of the first frame, which all times of a count start from: later than 0 if the sound begins before.
function offsetSec() {
  return state.current?.numbers.first_frame_sec ?? 0;
}

function durationSec() {
  const { numbers, curve } = state.current;
  const played = Number.isFinite(player.duration) ? player.duration - offsetSec() : 0;
  const ends = [numbers.duration_sec ?? 0, curve.time_sec.at(-1) ?? 0, played];
  return Math.max(...ends, 0.001);
}

function seek(sec) {
  if (!state.current) return;
  state.timeSec = Math.min(Math.max(sec, 0), durationSec());
  if (player.readyState > 0) player.currentTime = state.timeSec + offsetSec();
  showTime();
}

function showTime() {
  if (!state.current) return;
  const times = state.current.numbers.repetition_times_sec;
  const done = times.filter((sec) => sec <= state.timeSec + 0.01).length;
  byId("now-count").textContent = whole(done);
  const digits = durationSec() < 3600 ? 1 : 0;
  byId("now-time").textContent = `${time(state.timeSec, digits)} / ${time(durationSec(), digits)}`;
  state.moveCursor(state.timeSec);
  markRepetition(byId("repetitions"), done);
}

function readPlayer() {
  state.timeSec = Math.max(0, player.currentTime - offsetSec());
}

function followPlayer() {
  readPlayer();
  showTime();
  if (!player.paused && !player.ended) requestAnimationFrame(followPlayer);
}

function step(direction) {
  const times = state.current.numbers.repetition_times_sec;
  const found = direction > 0
    ? times.find((sec) => sec > state.timeSec + 0.02)
    : times.findLast((sec) => sec < state.timeSec - 0.02) ?? 0;
  if (found !== undefined) seek(found);
}

function playOrPause() {
  if (!player.paused) player.pause();
  else player.play().catch(() => {}); // the error event has said why
}

// ---- repetitions ----

function drawPlot() {
  const { numbers, curve } = state.current;
  const plot = makePlot(numbers, curve, durationSec(), byId("plot").clientWidth, seek);
  byId("plot").replaceChildren(plot.svg);
  state.moveCursor = plot.moveCursor;
  state.moveCursor(state.timeSec);
}

// ---- the true count ----

function showLabel(message) {
  const { label, count_rounded: counted, can_label: canLabel } = state.current;
  countField.value = label ?? counted;
  for (const control of byId("label-form").elements) control.disabled = !canLabel;
  byId("delete-label").hidden = label === null;
  const known = label === null ? "No label yet." : `Labelled: ${label}.`;
  say(message ?? (canLabel ? known : "Not below the folder of the labels; start repcount view with --videos."));
}

function say(text, isBad = false) {
  byId("label-state").textContent = text;
  byId("label-state").classList.toggle("bad", isBad);
}

const typedCount = () => {
  const text = countField.value.trim().replace(",", ".");
  return /^\d+(\.\d*)?$/.test(text) ? Number(text) : null;
};

const isChanged = () => state.current !== null && typedCount() !== (state.current.label ?? state.current.count_rounded);

async function store(count) {
  const video = state.current;
  try {
    const options = { method: "PUT", headers: { "content-type": "application/json" }, body: JSON.stringify({ count }) };
    const { label } = await ask(`api/videos/${video.number}/label`, options);
    video.label = label;
    if (state.current === video) showLabel(label === null ? "Label deleted." : `Saved: ${label}.`);
    loadList();
  } catch (error) {
    say(error instanceof TypeError ? "Not saved: the server does not answer." : `Not saved: ${error.message}`, true);
  }
}

function save() {
  if (!state.current?.can_label) return;
  const count = typedCount();
  if (count === null) say("The true count must be a number such as 8 or 8.5.", true);
  else store(count);
}

function change(by) {
  if (!state.current?.can_label) return;
  countField.value = Math.max(0, (typedCount() ?? state.current.count_rounded) + by);
  noteChange();
}

function noteChange() {
  state.leaving = null;
  say("Not saved yet.");
}

// ---- going on ----

// Asks once before a typed count is lost.
function mayLeave() {
  if (!isChanged() || state.leaving === state.current) return true;
  state.leaving = state.current;
  say(`${countField.value} is not saved. Save it, or go on once more to leave it.`, true);
  return false;
}

const goToNext = shown(async () => {
  if (!state.current || !mayLeave()) return;
  const query = listQuery();
  query.set("order", "review");
  const { number } = await ask(`api/videos/${state.current.number}/next?${query}`);
  if (number === null) notice("Every other video that the list finds has a label.");
  else location.hash = number;
});

function goBack() {
  if (!state.visited.length || !mayLeave()) return;
  const before = state.visited.pop();
  state.current = null; // so that it is not noted as a video before
  location.hash = before;
}

function followHash() {
  const number = /^#(\d+)$/.exec(location.hash);
  if (!number) return;
  if (mayLeave()) open(Number(number[1]));
  else history.pushState(null, "", `#${state.current.number}`); // which is no hashchange
}

function toggleList() {
  const isOpen = byId("list-panel").classList.toggle("open");
  byId("list-toggle").setAttribute("aria-expanded", String(isOpen));
}

// ---- events ----

const KEYS = {
  " ": playOrPause,
  k: playOrPause,
  ArrowLeft: () => step(-1),
  ArrowRight: () => step(1),
  ",": () => seek(state.timeSec - 1 / (state.current.numbers.fps || 25)),
  ".": () => seek(state.timeSec + 1 / (state.current.numbers.fps || 25)),
  "-": () => change(-1),
  "+": () => change(1),
  "=": () => change(1),
  c: () => countField.select(),
  s: save,
  n: goToNext,
  p: goBack,
};
const ANYWHERE = {
  "/": () => {
    byId("list-panel").classList.add("open");
    byId("search").focus();
  },
  "?": () => byId("help").showModal(),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || byId("help").open) return;
  const { target, key } = event;
  if (key === "Escape" && target.matches("input")) target.blur();
  if (target === countField) {
    // Letters are no part of a number, so their keys work here too.
    if (key === "ArrowUp" || key === "ArrowDown") change(key === "ArrowUp" ? 1 : -1);
    else if (!["s", "n", "p", "?"].includes(key)) return;
  } else if (target.matches("input, select, textarea") || (key === " " && target.matches("button, a"))) {
    return;
  }
  const action = ANYWHERE[key] ?? (state.current ? KEYS[key] : undefined);
  if (!action && !key.startsWith("Arrow")) return;
  if (!action && target !== countField) return;
  event.preventDefault();
  event.stopPropagation();
  action?.();
}, true);

player.addEventListener("play", followPlayer);
for (const name of ["timeupdate", "seeking", "seeked"]) {
  player.addEventListener(name, () => {
    if (player.readyState > 0) {
      readPlayer();
      showTime();
    }
  });
}
player.addEventListener("loadedmetadata", () => {
  if (state.timeSec || offsetSec()) player.currentTime = state.timeSec + offsetSec();
  if (state.current) drawPlot();
});
player.addEventListener("error", () => {
  if (!state.current || !player.getAttribute("src")) return;
  const { numbers: { codec }, has_video: hasVideo } = state.current;
  byId("unplayable").textContent = `This browser cannot play this video${codec ? ` (${codec})` : ""}. The curve and the numbers work without it.`;
  byId("unplayable").hidden = !hasVideo; // else the page has said why
  byId("video").classList.add("bare");
});
byId("speed").addEventListener("change", () => { player.playbackRate = Number(byId("speed").value); });
byId("label-form").addEventListener("submit", (event) => {
  event.preventDefault();
  save();
});
countField.addEventListener("input", noteChange);
byId("less").addEventListener("click", () => change(-1));
byId("more").addEventListener("click", () => change(1));
byId("delete-label").addEventListener("click", () => store(null));
byId("next-video").addEventListener("click", goToNext);
byId("find").addEventListener("submit", (event) => event.preventDefault());
let waiting;
byId("search").addEventListener("input", () => {
  clearTimeout(waiting);
  waiting = setTimeout(searchAnew, 150);
});
byId("order").addEventListener("change", searchAnew);
byId("unlabelled").addEventListener("change", searchAnew);
byId("page-before").addEventListener("click", () => {
  state.offset = Math.max(0, state.offset - PAGE_ROWS);
  loadList();
});
byId("page-after").addEventListener("click", () => {
  state.offset = Number(byId("page-after").dataset.next);
  loadList();
});
byId("list-toggle").addEventListener("click", toggleList);
byId("help-button").addEventListener("click", () => byId("help").showModal());
window.addEventListener("hashchange", followHash);
window.addEventListener("beforeunload", (event) => {
  if (isChanged()) event.preventDefault();
});
new ResizeObserver(() => state.current && drawPlot()).observe(byId("plot"));

const page = await loadList();
if (/^#\d+$/.test(location.hash)) followHash();
else if (page?.videos.length) location.replace(`#${page.videos[0].number}`);
