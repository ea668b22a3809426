// What the pages of `repcount serve` and `repcount view` share. The curve of a video: its count so far, its periodicity and,
// where it is known, its period over time, with a mark for each repetition.

const SVG = "http://www.w3.org/2000/svg";

// Returns seconds as "1:02.5".
export const time = (sec, digits = 1) => {
  const units = 10 ** digits;
  const rounded = Math.round(sec * units) / units;
  const rest = (rounded % 60).toFixed(digits).padStart(digits ? digits + 3 : 2, "0");
  const minutes = Math.floor(rounded / 60);
  return minutes < 60 ? `${minutes}:${rest}` : `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, "0")}:${rest}`;
};
export const whole = (number) => number.toLocaleString("en");
export const percent = (share) => `${Math.round(100 * share)} %`;
export const byId = (id) => document.getElementById(id);

export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function draw(tag, attributes, text) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

// Returns about `most` round numbers from 0 to `end`.
function ticks(end, most, steps) {
  const step = steps.find((candidate) => end / candidate <= most) ?? steps.at(-1) * Math.ceil(end / most / steps.at(-1));
  return Array.from({ length: Math.floor(end / step + 1e-9) + 1 }, (_, index) => index * step);
}

// Returns the path of a line that is interrupted where a value is null.
function pathWithGaps(values, x, y) {
  const step = (value, index) => {
    if (value === null) return "";
    const isFirst = index === 0 || values[index - 1] === null;
    return `${isFirst ? "M" : "L"}${x(index).toFixed(1)},${y(value).toFixed(1)}`;
  };
  return values.map(step).join("");
}

// Returns `svg`, and `moveCursor`, which takes a time in seconds.
//
// numbers: `count_rounded`, `segments` and `repetition_times_sec`, as the server describes a video.
// curve: lists with a value for each time: `time_sec`, `count`, `periodicity`, and maybe `period_sec`, null where nothing repeats.
// endSec: where the axis ends, in seconds.
// outerWidth: width of the picture in CSS pixels.
// seek: called with a time in seconds when a person clicks on it.
export function makePlot(numbers, curve, endSec, outerWidth, seek) {
  const width = Math.max(outerWidth, 200);
  const longest = (curve.period_sec ?? []).reduce((most, sec) => Math.max(most, sec ?? 0), 0);
  const [left, right, top, countBottom, low, periodicityBottom] = [38, 12, 14, 180, 200, 262];
  const bottom = longest ? 330 : periodicityBottom;
  const height = bottom + 28;
  const most = Math.max(1, numbers.count_rounded, ...curve.count.slice(-1));
  const x = (sec) => left + (sec / endSec) * (width - left - right);
  const y = (count) => countBottom - (count / most) * (countBottom - top);
  const p = (share) => periodicityBottom - share * (periodicityBottom - low);
  const q = (sec) => bottom - (sec / longest) * (bottom - 284);
  const shown = longest ? "Count so far, periodicity and seconds a repetition" : "Count so far and periodicity";
  const label = `${shown} over ${time(endSec)}; ${numbers.repetition_times_sec.length} repetitions`;
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "img", "aria-label": label });

  for (const set of numbers.segments) {
    const box = { x: x(set.start_sec), width: Math.max(1, x(set.end_sec) - x(set.start_sec)), y: top, height: bottom - top };
    svg.append(draw("rect", { class: "segment", ...box }));
  }
  for (const count of ticks(most, 6, [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000])) {
    svg.append(draw("line", { class: "grid", x1: left, x2: width - right, y1: y(count), y2: y(count) }));
    svg.append(draw("text", { x: left - 6, y: y(count) + 4, "text-anchor": "end" }, whole(count)));
  }
  for (const share of [0, 1]) {
    svg.append(draw("line", { class: "grid", x1: left, x2: width - right, y1: p(share), y2: p(share) }));
    svg.append(draw("text", { x: left - 6, y: p(share) + 4, "text-anchor": "end" }, share));
  }
  for (const sec of longest ? [0, longest] : []) {
    svg.append(draw("line", { class: "grid", x1: left, x2: width - right, y1: q(sec), y2: q(sec) }));
    svg.append(draw("text", { x: left - 6, y: q(sec) + 4, "text-anchor": "end" }, sec ? `${sec.toFixed(sec < 10 ? 1 : 0)} s` : 0));
  }
  for (const sec of ticks(endSec, width / 80, [0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600])) {
    const anchor = x(sec) > width - 30 ? "end" : "middle";
    svg.append(draw("text", { x: anchor === "end" ? width - 2 : x(sec), y: height - 8, "text-anchor": anchor }, time(sec, sec % 1 ? 1 : 0)));
    svg.append(draw("line", { class: "grid", x1: x(sec), x2: x(sec), y1: bottom, y2: bottom + 5 }));
  }
  const points = (values, place) => values.map((value, index) => `${x(curve.time_sec[index]).toFixed(1)},${place(value).toFixed(1)}`);
  if (curve.time_sec.length) {
    const [first, last] = [x(curve.time_sec[0]), x(curve.time_sec.at(-1))].map((place) => place.toFixed(1));
    const area = `M${first},${periodicityBottom} L${points(curve.periodicity, p).join(" ")} L${last},${periodicityBottom} Z`;
    svg.append(draw("path", { class: "periodicity", d: area }));
    svg.append(draw("polyline", { class: "count", points: points(curve.count, y).join(" ") }));
    if (longest) svg.append(draw("path", { class: "period", d: pathWithGaps(curve.period_sec, (index) => x(curve.time_sec[index]), q) }));
  }
  const isDense = numbers.repetition_times_sec.length * 12 > width;
  numbers.repetition_times_sec.forEach((sec, index) => {
    const mark = draw("circle", { class: isDense ? "repetition dense" : "repetition", cx: x(sec), cy: y(index + 1), r: isDense ? 2 : 5 });
    mark.append(draw("title", {}, `repetition ${index + 1} at ${time(sec)}`));
    mark.dataset.sec = sec;
    svg.append(mark);
  });
  const cursor = draw("line", { class: "cursor", y1: top - 8, y2: bottom });
  svg.append(cursor);
  const moveCursor = (sec) => {
    cursor.setAttribute("x1", x(sec));
    cursor.setAttribute("x2", x(sec));
  };
  svg.addEventListener("click", (event) => {
    const place = event.clientX - svg.getBoundingClientRect().left;
    seek(event.target.dataset.sec ? Number(event.target.dataset.sec) : ((place - left) / (width - left - right)) * endSec);
  });
  return { svg, moveCursor };
}

// Fills a list of names with their values.
export function showPairs(list, rows) {
  list.replaceChildren(
    ...rows.map(([name, text]) => element("div", {}, element("dt", { textContent: name }), element("dd", { textContent: text }))),
  );
}

// Fills a list with a button for each repetition, which calls `seek` with its time in seconds.
export function listRepetitions(list, times, seek) {
  const buttons = times.map((sec, index) => {
    const button = element("button", { type: "button" }, element("b", { textContent: index + 1 }), ` ${time(sec)}`);
    button.setAttribute("aria-label", `Repetition ${index + 1} at ${time(sec)}`);
    button.addEventListener("click", () => seek(sec));
    return element("li", {}, button);
  });
  list.replaceChildren(...buttons);
}

// Marks the button of the last repetition that is done in a list of one button each, and scrolls it into view.
export function markRepetition(list, done) {
  const button = list.querySelectorAll("button")[done - 1];
  const before = list.querySelector("[aria-current]");
  if (button === before) return;
  before?.removeAttribute("aria-current");
  button?.setAttribute("aria-current", "true");
  if (button) list.scrollTop = button.offsetTop - (list.clientHeight - button.offsetHeight) / 2;
}
