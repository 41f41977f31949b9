/** Rooms: where the client stands in each, and what the app holds of it. */

import { call, Listeners } from "./listeners.js";
import { PRESENCE_JOIN, PRESENCE_LEAVE } from "./protocol.js";
import { deferred } from "./timing.js";

/**
 * @typedef {import("./protocol.js").EventFrame} EventFrame
 * @typedef {import("./protocol.js").Present} Present
 * @typedef {import("./listeners.js").Undo} Undo
 * @typedef {{ type: string, data: any, room: string, id?: string, offset?: number,
 *   epoch?: string }} RealtimeEvent
 */

/** How many live events may wait for a room's answer; those that don't fit are resumed. */
const MOST_HELD = 1_000;

/**
 * What to do with an event, by its place in its room. `"drop"`: it was delivered before. `"hold"`:
 * it is ahead of an answer that is on its way, and may be in there. `"gap"`: events before it are
 * missing. `"new epoch"`: the room's history began anew, and what was missed can't be told.
 *
 * @typedef {"deliver" | "drop" | "hold" | "gap" | "new epoch"} Verdict
 */

/** Where the client stands in one room. */
export class Track {
  /** Whether the server put us in. */
  joined = false;
  /** Whether a subscribe of ours was answered on this connection. */
  subscribed = false;
  /** Whether one is on its way, or about to be tried again. */
  awaiting = false;
  /** Whether we were in there before, so that an answer tells of a return. */
  returning = false;
  /** How often it failed, or showed a gap, without a calm time in between. */
  failures = 0;
  /** Since when it has been without a failure; Infinity: it hasn't. */
  calmSince = Infinity;
  /** Live events that wait for its answer. @type {EventFrame[]} */
  held = [];
  /** @type {readonly Present[]} */
  presence = Object.freeze([]);
  /** What the app holds of it. @type {Set<Room>} */
  rooms = new Set();

  /**
   * @param {string} name
   * @param {string | null} [epoch]
   * @param {number} [offset]
   */
  constructor(name, epoch = null, offset = 0) {
    this.name = name;
    this.epoch = epoch;
    this.offset = offset;
  }

  /** The room as a `subscribe` names it, with its position if there is one. */
  place() {
    const { name: room, epoch, offset } = this;
    return epoch === null ? room : { room, epoch, offset };
  }

  /** Forget what held for one connection only. */
  loseConnection() {
    this.subscribed = this.awaiting = false;
    this.failures = 0;
    this.calmSince = Infinity;
    this.held = [];
  }

  /**
   * What to do with a live event; the position moves with what is to be delivered.
   *
   * @param {EventFrame} frame
   * @returns {Verdict}
   */
  judge(frame) {
    const offset = frame.offset ?? null;
    const epoch = frame.epoch ?? null;
    if (offset === null) return "deliver";
    const same = epoch === null || epoch === this.epoch;
    if (this.epoch !== null && same) {
      if (offset <= this.offset) return "drop";
      if (offset > this.offset + 1) return this.awaiting ? "hold" : "gap";
    } else if (this.awaiting) {
      return "hold";
    }
    const verdict = same || this.epoch === null ? "deliver" : "new epoch";
    if (!same) this.epoch = epoch;
    this.offset = offset;
    return verdict;
  }

  /** @param {EventFrame} frame */
  hold(frame) {
    if (this.held.length === MOST_HELD) this.held.pop(); // The last one shows what is missing.
    this.held.push(frame);
  }

  /** What was held, which is no longer. */
  release() {
    const { held } = this;
    this.held = [];
    return held;
  }

  /**
   * Stand where `answer` says; returns the missed events that weren't delivered before.
   *
   * @param {{ epoch?: string | null, offset?: number | null, recovered?: boolean,
   *   events: EventFrame[], presence?: Present[] }} answer
   */
  take({ epoch = null, offset, recovered, events, presence }) {
    const same = epoch === this.epoch;
    const missed = recovered && same ? events.filter((frame) => (frame.offset ?? 0) > this.offset) : [];
    // A live event may have come before the answer, and after it was made.
    this.offset = same ? Math.max(this.offset, offset ?? 0) : (offset ?? 0);
    this.epoch = epoch;
    if (presence) this.#present(presence);
    this.awaiting = false;
    this.subscribed = true;
    this.calmSince = Date.now();
    return missed;
  }

  /**
   * Note who came or went.
   *
   * @param {string} type
   * @param {any} data
   */
  notePresence(type, data) {
    const user_id = data?.user_id;
    if (typeof user_id !== "string") return;
    const others = this.presence.filter((user) => user.user_id !== user_id);
    if (type === PRESENCE_LEAVE) this.#present(others);
    else if (type === PRESENCE_JOIN && others.length === this.presence.length) {
      this.#present([...others, { user_id, connections: 1 }]);
    }
  }

  /** @param {Present[]} presence */
  #present(presence) {
    this.presence = Object.freeze(presence);
    for (const room of [...this.rooms]) room.tellPresence(this.presence);
  }
}

/**
 * A room that the app follows until `unsubscribe`, through all reconnects.
 *
 * @template {Record<string, any>} [Events=Record<string, any>]
 */
export class Room {
  /** Called with whether nothing was missed, after each return to the room. @type {((recovered: boolean) => unknown) | null} */
  onRecovered = null;
  /** Called with who is in the room, whenever that changes. @type {((presence: readonly Present[]) => unknown) | null} */
  onPresence = null;
  /** Called with each event in the room. @type {((event: RealtimeEvent) => unknown) | null} */
  onEvent = null;
  /** Called where the client no longer follows the room, though it wasn't left. @type {((error: Error) => unknown) | null} */
  onEnd = null;
  /** Whether the last return to the room missed nothing. */
  recovered = true;
  /** Resolves when the server has put us in; rejects where it refused. @type {Promise<this>} */
  ready;
  #listeners = new Listeners();
  #track;
  #leave;
  #entering = deferred();
  #entered = false;

  /**
   * @param {Track} track
   * @param {(room: Room<any>) => void} leave
   */
  constructor(track, leave) {
    this.#track = track;
    this.#leave = leave;
    this.ready = this.#entering.promise;
  }

  get name() {
    return this.#track.name;
  }

  /** Who is in the room, each user once, with their connections; a new array at each change. */
  get presence() {
    return this.#track.presence;
  }

  /**
   * Call `handler(data, event)` with each event of that type in this room.
   *
   * @template {keyof Events & string} E
   * @param {E} type
   * @param {(data: Events[E], event: RealtimeEvent) => unknown} handler
   * @returns {Undo} Ends it.
   */
  on(type, handler) {
    return this.#listeners.add(type, handler);
  }

  /** Leave the room. */
  unsubscribe() {
    this.onEnd = null;
    this.#leave(this);
  }

  // What the client needs

  /**
   * Hand an event to the app.
   *
   * @internal
   * @param {RealtimeEvent} event
   */
  deliver(event) {
    this.#listeners.tell(event.type, event.data, event);
    call(this.onEvent, event);
  }

  /**
   * Take note of an answer: the first makes the room ready, the others tell of a return.
   *
   * @internal
   * @param {boolean} recovered
   */
  resumed(recovered) {
    if (!this.#entered) {
      this.#entered = true;
      this.#entering.resolve(this);
      return;
    }
    this.recovered = recovered;
    call(this.onRecovered, recovered);
  }

  /**
   * @internal
   * @param {readonly Present[]} presence
   */
  tellPresence(presence) {
    call(this.onPresence, presence);
  }

  /**
   * Tell no more.
   *
   * @internal
   * @param {Error} error Why `ready` won't be.
   */
  end(error) {
    this.#entering.reject(error);
    this.#listeners = new Listeners();
    this.onRecovered = this.onPresence = this.onEvent = null;
    const { onEnd } = this;
    this.onEnd = null;
    call(onEnd, error);
  }
}
