/** A client of the app's own: requests are sent and events watched as any page does it. */

import { createWebSocketClient } from "../client/index.js";
import { $, clock, el, write } from "./dom.js";

/** How many entries there are at most. */
const KEPT = 200;
const STATES = { disconnected: "not connected", connecting: "connecting", connected: "connected", waiting: "waiting" };

/**
 * @typedef {{ name: string, resource: string, action: string, login: boolean, route: string | null,
 *   arguments: string[] }} Action
 */

export class Console {
  /** @type {import("../client.js").Client | null} */
  #client = null;
  /** @type {Map<string, any>} */
  #rooms = new Map();
  /** @type {Set<string>} */
  #events = new Set();
  /** @type {Action[]} */
  #actions = [];
  #log = $("console-log");

  constructor() {
    /** @param {string} form @param {() => void} act */
    const on = (form, act) =>
      $(form).addEventListener("submit", (/** @type {Event} */ event) => {
        event.preventDefault();
        act();
      });
    on("console-login", () => (this.#client === null ? this.connect($("console-token").value.trim()) : this.#leave()));
    on("console-request", () => this.#send());
    on("console-watch", () => this.#watch($("console-room").value.trim()));
    $("console-action").addEventListener("change", () => this.#template());
    $("console-payload").addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) $("console-request").requestSubmit();
    });
  }

  /** Offer what the app answers, and hear what it tells. @param {{ actions: Action[], events: string[] }} about */
  offer({ actions, events }) {
    const chosen = $("console-action").value;
    this.#actions = actions;
    $("console-action").replaceChildren(
      ...actions.map(({ name, route }) => el("option", { value: name }, route === null ? name : `${name} (${route})`)));
    if (actions.some(({ name }) => name === chosen)) $("console-action").value = chosen;
    else this.#template();
    for (const event of [...events, "presence_join", "presence_leave", "room_joined", "room_left"]) this.hear(event);
  }

  /** Log events of that type too. @param {string} type */
  hear(type) {
    if (this.#events.has(type) || this.#events.size > 500) return;
    this.#events.add(type);
    this.#client?.on(type, (data, event) => this.#told(data, event));
  }

  /** @param {string} token */
  connect(token) {
    if (token === "") {
      write($("console-failure"), "Paste a token to connect with.");
      return;
    }
    write($("console-failure"), "");
    const client = createWebSocketClient(token, { WebSocket: this.#listening() });
    this.#client = client;
    client.onStateChange = (state) => this.#state(state);
    client.onError = (error) => this.#add("error", "connection", error.message);
    client.onDisconnect = ({ code, reason, reconnecting }) => {
      this.#add("end", `closed ${code}`, reason);
      if (!reconnecting && this.#client === client) this.#forget();
    };
    client.onConnect = ({ user_id: user }) => this.#add("start", "connected", `as ${user}`);
    for (const type of this.#events) client.on(type, (data, event) => this.#told(data, event));
    client.connect().catch(() => {}); // onDisconnect has told why.
  }

  /**
   * A websocket that is listened to before the client hears it: the client tells of events by type,
   * and here all are to be seen, whatever their type is.
   */
  #listening() {
    const hear = (/** @type {MessageEvent} */ { data }) => {
      for (const type of typesIn(data)) this.hear(type);
    };
    return class extends WebSocket {
      /** @param {string | URL} url @param {string | string[]} [protocols] */
      constructor(url, protocols) {
        super(url, protocols);
        this.addEventListener("message", hear);
      }
    };
  }

  #leave() {
    const client = this.#client;
    this.#forget();
    client?.disconnect();
  }

  #forget() {
    this.#client = null;
    this.#rooms.clear();
    this.#chips();
    this.#state("disconnected");
  }

  /** @param {keyof typeof STATES} state */
  #state(state) {
    $("console-state").dataset.state = state;
    write($("console-state"), STATES[state]);
    write($("console-connect"), this.#client === null ? "Connect" : "Disconnect");
    $("console-token").hidden = this.#client !== null;
  }

  #template() {
    const action = this.#actions.find(({ name }) => name === $("console-action").value);
    const payload = Object.fromEntries((action?.arguments ?? []).map((name) => [name, name === "data" ? {} : ""]));
    $("console-payload").value = JSON.stringify(payload, null, 2);
  }

  async #send() {
    const chosen = this.#actions.find(({ name }) => name === $("console-action").value);
    if (chosen === undefined) return;
    let payload;
    try {
      payload = JSON.parse($("console-payload").value || "{}");
      if (payload === null || typeof payload !== "object" || Array.isArray(payload)) throw new TypeError("write an object, {…}");
    } catch (error) {
      write($("console-failure"), `The payload is no JSON: ${/** @type {Error} */ (error).message}`);
      $("console-payload").focus();
      return;
    }
    if (this.#client === null) {
      write($("console-failure"), "Connect first, with a token.");
      return;
    }
    write($("console-failure"), "");
    const began = performance.now();
    const { name } = chosen;
    try {
      const answer = await this.#client.send(chosen.resource, chosen.action, payload);
      this.#add("response", `${name} · ${Math.round(performance.now() - began)} ms`, answer);
    } catch (error) {
      const { code, message, details } = /** @type {any} */ (error);
      this.#add("error", `${name} · ${code}`, details && Object.keys(details).length > 0 ? { message, details } : message);
    }
  }

  /** @param {string} name */
  #watch(name) {
    if (name === "" || this.#rooms.has(name)) return;
    if (this.#client === null) {
      write($("console-failure"), "Connect first, with a token.");
      return;
    }
    try {
      const room = this.#client.subscribe(name);
      this.#rooms.set(name, room);
      room.ready.then(
        () => this.#add("start", name, "watched from now on"),
        () => {
          // Why, onError has told.
          if (this.#rooms.get(name) === room) this.#rooms.delete(name);
          this.#chips();
        });
    } catch (error) {
      this.#add("error", name, /** @type {Error} */ (error).message);
    }
    $("console-room").value = "";
    this.#chips();
  }

  #chips() {
    $("console-rooms").replaceChildren(
      ...[...this.#rooms].map(([name, room]) =>
        el("li", {}, name, el("button", { className: "link", "aria-label": `Watch ${name} no longer`, onclick: () => {
          room.unsubscribe();
          this.#rooms.delete(name);
          this.#chips();
        } }, "×"))));
  }

  /** @param {any} data @param {any} event */
  #told(data, event) {
    const place = event.offset == null ? event.room : `${event.room} ${event.offset}`;
    this.#add("event", place ? `${event.type} · ${place}` : event.type, data);
  }

  /** @param {string} kind @param {string} title @param {any} body */
  #add(kind, title, body) {
    const text = typeof body === "string" ? body : JSON.stringify(body, null, 2);
    const shown = text.length > 20_000 ? `${text.slice(0, 20_000)}…` : text;
    this.#log.prepend(el("li", { "data-kind": kind },
      el("p", {}, el("span", { className: "at" }, clock(Date.now() / 1000)), " ", el("b", {}, title)),
      el("pre", {}, shown)));
    while (this.#log.children.length > KEPT) this.#log.lastElementChild.remove();
  }
}

/**
 * The types of the events that a frame tells of: its own, or those that were missed.
 *
 * @param {string} text
 * @returns {string[]}
 */
function typesIn(text) {
  const { type, payload } = JSON.parse(text);
  const missed = type === "response" && Array.isArray(payload?.rooms) ? payload.rooms : [];
  const events = type === "event" ? [{ payload }] : missed.flatMap((/** @type {any} */ room) => room.events ?? []);
  return events.map((/** @type {any} */ event) => String(event.payload?.type));
}
