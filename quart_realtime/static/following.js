/** All rooms that a client follows: subscribing, resuming after a return, and what comes in. */

import { ConnectionLost, RealtimeError, toError } from "./errors.js";
import {
  EVERYONE,
  ROOM_JOINED,
  ROOM_LEFT,
  SKIPPED,
  isEventFrame,
  isPosition,
  subscribeFrame,
  unsubscribeFrame,
} from "./protocol.js";
import { Room, Track } from "./rooms.js";
import { after } from "./timing.js";

/**
 * @typedef {import("./link.js").Link} Link
 * @typedef {import("./protocol.js").EventFrame} EventFrame
 * @typedef {import("./protocol.js").Position} Position
 * @typedef {import("./rooms.js").RealtimeEvent} RealtimeEvent
 * @typedef {{ room: string, recovered: boolean }} Recovery A room was resumed; `recovered` is
 *   false where events were missed and can't be had.
 */

/** The errors of a room that won't pass by asking again. */
const HOPELESS = ["bad_request", "validation_error", "unauthorized", "forbidden", "not_found"];
/** How large one `subscribe` may be; the server closes on a message of more than 64 KiB. */
const SUBSCRIBE_SIZE = 16 * 1024;
/** How many rooms one may name; the server takes a thousand. */
const SUBSCRIBE_ROOMS = 500;

export class Following {
  /** @type {Map<string, Track>} */
  #tracks = new Map();
  /** @type {Link | null} */
  #link = null;
  /** @type {Set<ReturnType<typeof setTimeout>>} */
  #timers = new Set();
  #deliver;
  #recovered;
  #failedForGood;
  #nextId;
  #backoff;
  #timeout;

  /**
   * @param {object} options
   * @param {(event: RealtimeEvent) => void} options.deliver Hands an event to the client's handlers.
   * @param {(recovery: Recovery) => void} options.recovered Is told of each return to a room.
   * @param {(error: RealtimeError) => void} options.failed Is told of each room given up.
   * @param {() => string} options.nextId
   * @param {import("./backoff.js").Backoff} options.backoff How long a room that failed waits.
   * @param {number} options.timeout How long an answer may take, in milliseconds.
   */
  constructor({ deliver, recovered, failed, nextId, backoff, timeout }) {
    this.#deliver = deliver;
    this.#recovered = recovered;
    this.#failedForGood = failed;
    this.#nextId = nextId;
    this.#backoff = backoff;
    this.#timeout = timeout;
  }

  /** The rooms that the server put this client in. */
  get joined() {
    return [...this.#tracks.values()].filter((track) => track.joined).map((track) => track.name);
  }

  // The connection's coming and going

  /**
   * Resume on `link` all rooms with a position or a holder.
   *
   * @param {Link} link
   * @param {Position[]} joined The rooms that the server has put us in.
   */
  greeted(link, joined) {
    this.#link = link;
    const given = new Set(joined.map(({ room }) => room));
    const resumed = [];
    const missed = [];
    for (const track of [...this.#tracks.values()]) {
      // What the app holds it may let go of; the rest is ours only by the server's will.
      track.joined &&= track.rooms.size === 0;
      if (track.rooms.size > 0 || track.epoch !== null) {
        resumed.push(track);
        continue;
      }
      // It keeps no history, so whatever happened in the meantime can't be told.
      this.#tracks.delete(track.name);
      if (given.has(track.name)) missed.push(track);
    }
    for (const position of joined) this.#join(position);
    this.#ask(resumed);
    for (const track of missed) if (this.#link === link) this.#tellRecovery(track, false);
  }

  /**
   * Note that the connection ended.
   *
   * @param {boolean} positionsAreVoid
   */
  lost(positionsAreVoid) {
    this.#link = null;
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
    for (const track of this.#tracks.values()) {
      track.returning ||= track.joined || track.subscribed;
      track.loseConnection();
      if (positionsAreVoid) [track.epoch, track.offset] = [null, 0];
    }
  }

  /** Forget what the server did for the one who was logged in before. */
  forgetUser() {
    for (const track of [...this.#tracks.values()]) {
      track.joined = false;
      if (track.rooms.size === 0) this.#tracks.delete(track.name);
    }
  }

  /**
   * Let go of all rooms, for good.
   *
   * @param {Error} error Why.
   */
  end(error) {
    this.lost(true);
    // Whoever subscribes at once when a room ends does so for the next connect.
    const tracks = this.#tracks;
    this.#tracks = new Map();
    for (const track of tracks.values()) for (const room of track.rooms) room.end(error);
  }

  // What the app wishes

  /**
   * Follow the room `name`, from now or from the next connection on.
   *
   * @param {string} name
   */
  subscribe(name) {
    let track = this.#tracks.get(name);
    if (track === undefined) this.#tracks.set(name, (track = new Track(name)));
    const room = new Room(track, (left) => this.#leave(left));
    track.rooms.add(room);
    if (track.subscribed && !track.awaiting) room.resumed(true);
    else if (!track.awaiting) this.#ask([track]);
    return room;
  }

  /** @param {Room<any>} room */
  #leave(room) {
    const track = this.#tracks.get(room.name);
    if (!track?.rooms.delete(room)) return;
    room.end(new ConnectionLost(false));
    if (track.rooms.size > 0 || track.joined) return;
    this.#tracks.delete(room.name);
    const id = this.#nextId();
    // Whatever goes wrong: the next connection isn't asked for the room.
    this.#link?.ask(id, unsubscribeFrame(id, [room.name]), () => {});
  }

  // Subscribing and resuming

  /**
   * Subscribe to `tracks` in one message, unless that were too large for the server.
   *
   * @param {Track[]} tracks
   */
  #ask(tracks) {
    if (this.#link === null) return; // The next connection asks for all rooms.
    /** @type {Track[]} */
    let batch = [];
    let size = 0;
    for (const track of tracks) {
      track.awaiting = true;
      const length = JSON.stringify(track.place()).length;
      const isFull = size + length > SUBSCRIBE_SIZE || batch.length === SUBSCRIBE_ROOMS;
      if (batch.length > 0 && isFull) {
        this.#subscribe(this.#link, batch);
        [batch, size] = [[], 0];
      }
      batch.push(track);
      size += length;
    }
    if (batch.length > 0) this.#subscribe(this.#link, batch);
  }

  /**
   * @param {Link} link
   * @param {Track[]} tracks
   */
  #subscribe(link, tracks) {
    const id = this.#nextId();
    const timer = this.#later(this.#timeout, () => {
      link.forget(id);
      const error = new RealtimeError("timeout", `no answer within ${this.#timeout / 1000} s`);
      for (const track of tracks) this.#failed(track, error);
    });
    link.ask(id, subscribeFrame(id, tracks.map((track) => track.place())), (payload, error) => {
      clearTimeout(timer);
      this.#timers.delete(timer);
      if (error instanceof ConnectionLost) return; // The next connection asks for all rooms.
      if (error === null) this.#answered(tracks, payload);
      else if (tracks.length > 1) {
        for (const track of tracks) if (this.#follows(track)) this.#subscribe(link, [track]);
      }
      else for (const track of tracks) this.#failed(track, error);
    });
  }

  /**
   * @param {number} delay
   * @param {() => void} work
   */
  #later(delay, work) {
    const timer = after(delay, () => {
      this.#timers.delete(timer);
      work();
    });
    this.#timers.add(timer);
    return timer;
  }

  /**
   * Take the answer to a subscribe, before the live events that follow it.
   *
   * @param {Track[]} tracks
   * @param {any} payload
   */
  #answered(tracks, payload) {
    const asked = new Map(tracks.map((track) => [track.name, track]));
    for (const answer of Array.isArray(payload?.rooms) ? payload.rooms : []) {
      const track = isPosition(answer) ? asked.get(answer.room) : undefined;
      if (track === undefined) continue;
      asked.delete(track.name);
      if (!this.#follows(track)) continue;
      if (answer.error) this.#failed(track, toError(answer.error));
      else this.#enter(track, answer);
    }
    const silent = new RealtimeError("internal_error", "the answer says nothing");
    for (const track of asked.values()) this.#failed(track, silent);
  }

  /**
   * @param {Track} track
   * @param {any} answer
   */
  #enter(track, answer) {
    const events = Array.isArray(answer.events) ? answer.events.filter(isEventFrame) : [];
    const presence = Array.isArray(answer.presence) ? answer.presence : undefined;
    // Whatever a callback does to the room, or to the client, ends what is still to be told.
    for (const frame of track.take({ ...answer, events, presence })) {
      if (this.#follows(track)) this.#handOut(frame, track);
    }
    if (this.#follows(track)) this.#tellRecovery(track, answer.recovered === true);
    for (const frame of track.release()) {
      const isOfBefore = frame.epoch && track.epoch && frame.epoch !== track.epoch;
      if (this.#follows(track) && !isOfBefore) this.take(frame);
    }
  }

  /**
   * @param {Track} track
   * @param {boolean} recovered
   */
  #tellRecovery(track, recovered) {
    const isReturn = track.returning;
    track.returning = true;
    for (const room of [...track.rooms]) room.resumed(recovered);
    if (isReturn) this.#recovered({ room: track.name, recovered });
  }

  /**
   * Try `track` again, alone; or give it up where `error` is one to stay.
   *
   * @param {Track} track
   * @param {RealtimeError} error
   */
  #failed(track, error) {
    if (!this.#follows(track)) return;
    if (HOPELESS.includes(error.code)) {
      const refusal = new RealtimeError(error.code, error.message, { room: track.name });
      this.#tracks.delete(track.name);
      for (const room of track.rooms) room.end(refusal);
      this.#failedForGood(refusal);
      return;
    }
    this.#askAgain(track, false);
  }

  /**
   * Ask for `track` once more, and the later the more often there was reason to.
   *
   * @param {Track} track
   * @param {boolean} atOnce Whether the first time needn't wait.
   */
  #askAgain(track, atOnce) {
    if (Date.now() - track.calmSince >= this.#backoff.stableAfter) track.failures = 0;
    track.calmSince = Infinity;
    track.awaiting = true;
    const earlier = track.failures++ - Number(atOnce);
    const ask = () => {
      if (this.#follows(track) && this.#link !== null) this.#subscribe(this.#link, [track]);
    };
    if (earlier < 0) ask();
    else this.#later(this.#backoff.delay(earlier), ask);
  }

  /** @param {Track} track */
  #follows(track) {
    return this.#tracks.get(track.name) === track;
  }

  // What the server says

  /**
   * Hand an event to the app, unless it was before, or others have to come first.
   *
   * @param {EventFrame} frame
   */
  take(frame) {
    // A notice about our own rooms is no event of the room it came with.
    const isNotice = (frame.offset ?? null) === null && this.#isNotice(frame);
    const track = isNotice ? undefined : this.#tracks.get(frame.room ?? EVERYONE);
    switch (track?.judge(frame)) {
      case "drop":
        return;
      case "hold":
        return track?.hold(frame);
      case "gap":
        if (track === undefined) return;
        track.hold(frame);
        track.returning = true;
        return this.#askAgain(track, true);
      case "new epoch":
        if (track === undefined) return;
        track.returning = true;
        this.#tellRecovery(track, false);
        if (!this.#follows(track)) return;
    }
    this.#handOut(frame, track);
  }

  /** @param {EventFrame} frame */
  #isNotice({ payload: { type, data } }) {
    if (type === ROOM_JOINED && isPosition(data)) this.#join(data);
    else if (type === ROOM_LEFT && isPosition(data)) this.#putOut(data.room);
    else return false;
    return true;
  }

  /**
   * Note that the server put us in a room; our own position there counts more than its.
   *
   * @param {Position} position
   */
  #join({ room, epoch, offset }) {
    let track = this.#tracks.get(room);
    if (track === undefined) {
      track = new Track(room, epoch, offset ?? 0);
      this.#tracks.set(room, track);
    }
    track.joined = true;
  }

  /** @param {string} name */
  #putOut(name) {
    const track = this.#tracks.get(name);
    this.#tracks.delete(name);
    const error = new RealtimeError("forbidden", "the server took us out of the room", { room: name });
    for (const room of track?.rooms ?? []) room.end(error);
  }

  /**
   * @param {EventFrame} frame
   * @param {Track | undefined} track
   */
  #handOut(frame, track) {
    const { payload, id, offset, epoch } = frame;
    if (payload.type === SKIPPED) return;
    const event = { type: payload.type, data: payload.data, room: frame.room ?? EVERYONE, id, offset, epoch };
    if (track !== undefined) {
      if ((offset ?? null) === null) track.notePresence(event.type, event.data);
      for (const room of [...track.rooms]) room.deliver(event);
    }
    if (this.#link !== null) this.#deliver(event); // Unless a handler has disconnected.
  }
}
