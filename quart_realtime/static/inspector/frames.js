/** Frames as they go by. However many come, so many are kept, and no more are in the page. */

import { $, clock, el, number, size, write } from "./dom.js";
import { short } from "./lists.js";

/** How many rows there are at most. */
export const KEPT = 300;

/** The types of frames that there are; what a client makes up is `malformed`, or found by "all". */
const TYPES = ["request", "response", "error", "event", "subscribe", "unsubscribe", "auth", "connected", "ping", "pong",
  "closing", "malformed"];

/**
 * See `Sighting.told` in `inspector.py`.
 *
 * @typedef {{ type: string, name: string, room: string | null, id: string | null, text: string, size: number, at: number,
 *   direction: "in" | "out", connection: string | null, user: string | null, receivers: number }} Shown
 */

export class Frames {
  #list = $("frames");
  #seen = 0;
  #dropped = 0;
  /** @type {Shown[]} */
  #waiting = [];
  #drawing = false;
  /** The requests that wait for their answer: what they ask for, and since when. @type {Map<string, Shown>} */
  #asked = new Map();
  #wish;
  #changed;

  /**
   * @param {import("./live.js").Wish} wish Changed here as the filters are.
   * @param {() => void} changed Called after that.
   */
  constructor(wish, changed) {
    this.#wish = wish;
    this.#changed = changed;
    $("filter-type").append(...TYPES.map((type) => el("option", { value: type }, type)));
    $("filters").addEventListener("input", () => this.#readFilters());
    $("filters").addEventListener("submit", (/** @type {Event} */ event) => event.preventDefault());
    $("filters").addEventListener("reset", () => setTimeout(() => this.#readFilters()));
    $("pause").addEventListener("click", () => this.#pause());
    $("clear").addEventListener("click", () => this.#clear());
    this.#list.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => this.#move(event));
  }

  /** Show what is of one connection, or one room, alone. @param {{ connection?: string, room?: string }} chosen */
  choose({ connection = "", room = "" }) {
    $("filter-connection").value = connection;
    $("filter-room").value = room;
    this.#readFilters();
  }

  #readFilters() {
    this.#wish.direction = $("filter-direction").value || null;
    this.#wish.type = $("filter-type").value || null;
    this.#wish.room = $("filter-room").value || null;
    this.#wish.connection = $("filter-connection").value.trim() || null;
    for (const row of [...this.#list.children]) if (!this.#wanted(row.frame)) row.remove();
    this.#count();
    this.#changed();
  }

  /** @param {Shown} frame */
  #wanted(frame) {
    const { direction, type, room, connection } = this.#wish;
    // Whose the frame of a whole room was isn't known any more.
    return (direction === null || direction === frame.direction) && (type === null || type === frame.type) &&
      (room === null || room === frame.room) && (connection === null || connection === frame.connection);
  }

  #pause() {
    this.#wish.paused = !this.#wish.paused;
    $("pause").setAttribute("aria-pressed", String(this.#wish.paused));
    write($("pause"), this.#wish.paused ? "Go on" : "Pause");
    this.#changed();
  }

  #clear() {
    this.#waiting = [];
    this.#dropped = 0;
    this.#list.replaceChildren();
    this.#count();
  }

  /**
   * @param {Shown[]} frames
   * @param {number} dropped How many the server didn't tell of, since there were too many.
   */
  add(frames, dropped) {
    if (this.#wish.paused) return;
    this.#seen += frames.length;
    this.#dropped += dropped;
    for (const frame of frames) this.#pair(frame);
    this.#waiting = [...this.#waiting, ...frames].slice(-KEPT);
    if (this.#drawing) return;
    this.#drawing = true;
    // A page that nobody sees draws nothing, and keeps the newest.
    requestAnimationFrame(() => this.#draw());
  }

  /** Have an answer bear the name of what was asked, and how long that took. @param {Shown} frame */
  #pair(frame) {
    const key = `${frame.connection} ${frame.id}`;
    if (frame.direction === "in" && frame.id !== null) {
      this.#asked.set(key, frame);
      if (this.#asked.size > KEPT) this.#asked.delete(/** @type {string} */ (this.#asked.keys().next().value));
    }
    const asked = frame.direction === "out" && frame.id !== null ? this.#asked.get(key) : undefined;
    if (asked === undefined) return;
    this.#asked.delete(key);
    const milliseconds = Math.max(0, (frame.at - asked.at) * 1000);
    const took = `${milliseconds.toFixed(milliseconds < 10 ? 1 : 0)} ms`;
    frame.name = [frame.name, asked.name, took].filter((part) => part !== "").join(" · ");
  }

  #draw() {
    this.#drawing = false;
    const rows = this.#waiting.map((frame) => this.#row(frame)).reverse();
    this.#waiting = [];
    const top = this.#list.scrollTop;
    const height = this.#list.scrollHeight;
    this.#list.prepend(...rows);
    // Who has scrolled down to read goes on to see the same.
    if (top > 0) this.#list.scrollTop = top + this.#list.scrollHeight - height;
    while (this.#list.children.length > KEPT) this.#list.lastElementChild.remove();
    this.#count();
  }

  #count() {
    const shown = this.#list.children.length;
    $("frames-empty").hidden = shown > 0;
    write($("frames-count"), shown < this.#seen ? `the last ${number(shown)} of ${number(this.#seen)}` : number(shown));
    write($("dropped"), this.#dropped > 0 ? `${number(this.#dropped)} too fast to show` : "");
    const reachable = this.#list.querySelector('button[tabindex="0"]');
    if (reachable === null) this.#list.querySelector("button")?.setAttribute("tabindex", "0");
  }

  /** @param {Shown} frame */
  #row(frame) {
    const about = frame.connection === null
      ? `${frame.room ?? ""} · ${number(frame.receivers)} member${frame.receivers === 1 ? "" : "s"}`
      : `${frame.user ?? "not logged in"} · ${short(frame.connection)}`;
    const button = el("button", { className: "frame", "aria-expanded": "false", "data-direction": frame.direction,
      "data-type": frame.type, tabIndex: -1 },
      el("span", { className: "at" }, clock(frame.at)),
      el("span", { className: "arrow", role: "img", "aria-label": frame.direction === "in" ? "from a client" : "to clients" },
        frame.direction === "in" ? "→" : "←"),
      el("span", { className: "type" }, frame.type),
      el("span", { className: "name" }, frame.name),
      el("span", { className: "about" }, about),
      el("span", { className: "size" }, size(frame.size)));
    const row = el("li", {}, button);
    row.frame = frame;
    button.addEventListener("click", () => toggle(row, button, frame));
    return row;
  }

  /** Arrows go from row to row: three hundred stops of the Tab key would be too many. @param {KeyboardEvent} event */
  #move(event) {
    const row = /** @type {HTMLElement} */ (event.target).closest("li");
    const to = { ArrowDown: row?.nextElementSibling, ArrowUp: row?.previousElementSibling,
      Home: this.#list.firstElementChild, End: this.#list.lastElementChild }[event.key];
    const button = to?.querySelector("button");
    if (!button) return;
    event.preventDefault();
    this.#list.querySelector('button[tabindex="0"]')?.setAttribute("tabindex", "-1");
    button.setAttribute("tabindex", "0");
    button.focus();
  }
}

/** @param {HTMLElement} row @param {HTMLElement} button @param {Shown} frame */
function toggle(row, button, frame) {
  const open = button.getAttribute("aria-expanded") === "true";
  button.setAttribute("aria-expanded", String(!open));
  if (open) row.lastElementChild?.remove();
  else row.append(el("pre", { tabIndex: 0, "aria-label": "The frame" }, pretty(frame)));
}

/** @param {Shown} frame */
function pretty(frame) {
  if (frame.type === "malformed") return "It can't be read, and so it can't be told whether a token is in it.";
  try {
    return JSON.stringify(JSON.parse(frame.text), null, 2);
  } catch {
    return frame.text; // Cut off.
  }
}
