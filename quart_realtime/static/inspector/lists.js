/** The connections and rooms that there are. */

import { $, ago, el, keep, number, size, write } from "./dom.js";

/**
 * @typedef {{ id: string, user: string | null, address: string, since: number, rooms: string[],
 *   rooms_total: number, received: number, sent: number, waiting: number }} Connection
 * @typedef {{ room: string, members: number, epoch: string | null, offset: number | null }} Room
 */

/** What a connection is called where there is little room. @param {string} id */
export const short = (id) => id.slice(0, 8);

/** @param {string} title @param {string} text @param {() => void} click */
function cellButton(title, text, click) {
  return el("button", { className: "link", title, onclick: click }, text);
}

export class Lists {
  #choose;

  /**
   * @param {{ connection: (id: string) => void, room: (room: string) => void,
   *   open: (room: string | null) => void }} choose What a click asks for.
   */
  constructor(choose) {
    this.#choose = choose;
  }

  /** @param {any} state */
  show(state) {
    const { connections, rooms } = state;
    write($("connections-count"), counted(state.connections_found, state.connections_total, connections.length));
    write($("rooms-count"), counted(state.rooms_found, state.rooms_total, rooms.length));
    $("connections-empty").hidden = connections.length > 0;
    $("rooms-empty").hidden = rooms.length > 0;
    this.#connections(connections);
    this.#rooms(rooms, state.opened?.room);
    this.#opened(state.opened);
    keep($("room-names"), rooms.slice(0, 100), (/** @type {Room} */ room) => room.room,
      (/** @type {Room} */ room) => el("option", { value: room.room }), () => {});
  }

  /** @param {Connection[]} connections */
  #connections(connections) {
    const body = /** @type {HTMLElement} */ ($("connections").tBodies[0]);
    const make = (/** @type {Connection} */ one) =>
      el("tr", {},
        el("th", { scope: "row" },
          cellButton("Show the frames of this connection alone", "", () => this.#choose.connection(one.id)),
          el("span", { className: "under" })),
        el("td"), el("td", { className: "number" }), el("td", { className: "number" }), el("td", { className: "number" }));
    keep(body, connections, (one) => one.id, make, (row, one) => {
      const [who, since, received, sent, waiting] = row.children;
      write(who.children[0], one.user ?? "not logged in");
      const more = one.rooms_total > one.rooms.length ? ` and ${one.rooms_total - one.rooms.length} more` : "";
      const under = /** @type {HTMLElement} */ (who.children[1]);
      write(under, `${short(one.id)} · ${one.address} · ${one.rooms_total} room${one.rooms_total === 1 ? "" : "s"}`);
      under.title = `${one.id}\n${one.rooms.join("\n")}${more}`;
      write(since, ago(one.since));
      write(received, number(one.received));
      write(sent, number(one.sent));
      write(waiting, size(one.waiting));
      waiting.classList.toggle("warning", one.waiting > 65_536);
    });
  }

  /** @param {Room[]} rooms @param {string | undefined} opened */
  #rooms(rooms, opened) {
    const body = /** @type {HTMLElement} */ ($("rooms").tBodies[0]);
    const make = (/** @type {Room} */ one) =>
      el("tr", {},
        el("th", { scope: "row" }, cellButton("Show this room's events alone", one.room, () => this.#choose.room(one.room))),
        el("td", { className: "number" },
          el("button", { className: "link", "aria-expanded": "false", title: "Who is in it",
            onclick: (/** @type {Event} */ event) => {
              const open = /** @type {HTMLElement} */ (event.currentTarget).getAttribute("aria-expanded") === "true";
              this.#choose.open(open ? null : one.room);
            } }, el("span"), el("span", { className: "unseen" }, ` in ${one.room}`))),
        el("td", { className: "number" }));
    keep(body, rooms, (one) => one.room, make, (row, one) => {
      const members = row.children[1].children[0];
      write(members.children[0], number(one.members));
      members.setAttribute("aria-expanded", String(one.room === opened));
      write(row.children[2], one.offset === null ? "–" : number(one.offset));
      /** @type {HTMLElement} */ (row.children[2]).title = one.epoch === null ? "keeps no history" : `epoch ${one.epoch}`;
    });
  }

  /** @param {{ room: string, members: { id: string, user: string | null }[] } | null} opened */
  #opened(opened) {
    const panel = $("opened");
    panel.hidden = opened === null;
    if (opened === null) return;
    if (panel.dataset.room !== opened.room) {
      panel.dataset.room = opened.room;
      panel.replaceChildren(
        el("p", {}, "In ", el("b", {}, opened.room), ":"),
        el("ul", { className: "chips" }),
        el("button", { className: "small", onclick: () => this.#choose.open(null) }, "Close"));
    }
    keep(panel.children[1], opened.members, (one) => one.id,
      (one) => el("li", {}, cellButton("Show the frames of this connection alone", `${one.user ?? "?"} · ${short(one.id)}`,
        () => this.#choose.connection(one.id))), () => {});
  }
}

/** @param {number} found @param {number} total @param {number} shown */
function counted(found, total, shown) {
  const all = found === total ? number(total) : `${number(found)} of ${number(total)}`;
  return shown < found ? `${all}, the first ${shown} shown` : all;
}
