/** Plots of the last minutes, drawn by hand: an area for each figure, a gap where nobody looked. */

import { $, el, number, write } from "./dom.js";

const SVG = "http://www.w3.org/2000/svg";
const SECONDS = 300;
const [WIDTH, HEIGHT] = [300, 56];

/**
 * One second; see `Sample` in `inspector.py`.
 *
 * @typedef {{ at: number, connections: number, messages: number | null, deliveries: number | null,
 *   closes: number, lag: number }} Sample
 */

/** @type {{ key: string, title: string, unit: string, of: (sample: Sample) => number | null, least: number }[]} */
const FIGURES = [
  { key: "connections", title: "Connections", unit: "", of: (sample) => sample.connections, least: 4 },
  { key: "messages", title: "Messages in", unit: "/s", of: (sample) => sample.messages, least: 4 },
  { key: "deliveries", title: "Events delivered", unit: "/s", of: (sample) => sample.deliveries, least: 4 },
  { key: "closes", title: "Closes", unit: "/s", of: (sample) => sample.closes, least: 4 },
  { key: "lag", title: "Event loop lag", unit: " ms", of: (sample) => sample.lag * 1000, least: 10 },
];

/** @param {string} tag @param {Record<string, string | number>} attributes */
function shape(tag, attributes) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  return element;
}

/** A round number of 1, 2 or 5 tens that is `value` or more. @param {number} value */
function roundUp(value) {
  const ten = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * ten).find((step) => step >= value - 1e-9) ?? value;
}

/** @param {number} value */
const figure = (value) => (value < 10 && value % 1 ? value.toFixed(1) : number(Math.round(value)));

/**
 * The areas under `points`, which are `[x, y]`, or null where there is a gap.
 *
 * @param {([number, number] | null)[]} points
 */
function paths(points) {
  let area = "";
  let line = "";
  /** @type {[number, number][]} */
  let run = [];
  for (const point of [...points, null]) {
    if (point !== null) run.push(point);
    else if (run.length > 0) {
      const drawn = run.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L");
      line += `M${drawn}`;
      area += `M${run[0][0].toFixed(1)} ${HEIGHT}L${drawn}L${run[run.length - 1][0].toFixed(1)} ${HEIGHT}Z`;
      run = [];
    }
  }
  return { area, line };
}

class Plot {
  /** @param {typeof FIGURES[number]} figure */
  constructor(figure) {
    this.figure = figure;
    this.value = el("strong", { className: "value" }, "–");
    this.top = el("span", { className: "scale" });
    this.area = shape("path", { class: "area" });
    this.line = shape("path", { class: "line", "vector-effect": "non-scaling-stroke" });
    this.svg = shape("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" });
    this.svg.append(this.area, this.line);
    const head = el("p", { className: "title" }, el("span", {}, figure.title), this.value);
    this.element = el("div", { className: "plot", "data-figure": figure.key }, head, this.top, this.svg);
  }

  /** @param {Sample[]} samples */
  draw(samples) {
    const { of, unit, title, least } = this.figure;
    const values = samples.map(of);
    const newest = values.length > 0 ? values[values.length - 1] : null;
    const most = Math.max(least, ...values.map((value) => value ?? 0));
    const scale = roundUp(most);
    const end = samples.length > 0 ? samples[samples.length - 1].at : 0;
    /** @type {([number, number] | null)[]} */
    const points = samples.map((sample, index) => {
      const value = values[index];
      if (value === null) return null;
      return [WIDTH * (1 - (end - sample.at) / SECONDS), HEIGHT - (value / scale) * (HEIGHT - 2)];
    });
    const drawn = paths(points);
    this.area.setAttribute("d", drawn.area);
    this.line.setAttribute("d", drawn.line);
    write(this.value, newest === null ? "–" : `${figure(newest)}${unit}`);
    write(this.top, `${figure(scale)}${unit}`);
    const peak = values.some((value) => value !== null) ? figure(Math.max(...values.map((value) => value ?? 0))) : "none";
    this.svg.setAttribute("aria-label", `${title} in the last five minutes: at most ${peak}${unit}`);
  }
}

export class Plots {
  /** @type {Sample[]} */
  #samples = [];
  #plots = FIGURES.map((figure) => new Plot(figure));

  constructor() {
    $("plots").append(...this.#plots.map((plot) => plot.element));
  }

  /** @param {Sample[]} samples */
  add(samples) {
    const known = this.#samples.length > 0 ? this.#samples[this.#samples.length - 1].at : 0;
    this.#samples.push(...samples.filter((sample) => sample.at > known));
    const newest = this.#samples.length > 0 ? this.#samples[this.#samples.length - 1].at : 0;
    this.#samples = this.#samples.filter((sample) => sample.at > newest - SECONDS);
    for (const plot of this.#plots) plot.draw(this.#samples);
  }
}
