/**
 * The wire, version 1, as a client sees it; the server's side is protocol.py. No I/O.
 *
 * @typedef {{ room: string, epoch?: string | null, offset?: number }} Position
 * @typedef {{ user_id: string, connections: number }} Present
 * @typedef {{ type: "event", id?: string, room?: string, offset?: number, epoch?: string,
 *   payload: { type: string, data?: any } }} EventFrame
 * @typedef {{ type: "response", id: string, payload?: any }} ResponseFrame
 * @typedef {{ type: "error", id?: string | null, payload?: any }} ErrorFrame
 * @typedef {{ type: "connected", payload: Greeting }} ConnectedFrame
 * @typedef {{ type: "closing", payload: Closing }} ClosingFrame
 * @typedef {EventFrame | ResponseFrame | ErrorFrame | ConnectedFrame | ClosingFrame
 *   | { type: "ping" } | { type: "pong" }} ServerFrame
 * @typedef {{ connection_id?: string, user_id?: string | null, protocol?: number, ping_interval?: number | null,
 *   idle_timeout?: number | null, max_message_size?: number, expires_at?: number | null,
 *   rooms?: Position[] }} Greeting
 * @typedef {{ code?: string, reconnect?: boolean, retry_after_ms?: number | null }} Closing
 */

export const PROTOCOL_VERSION = 1;
export const SUBPROTOCOL = "realtime.v1";
export const BEARER_PREFIX = "bearer.";

/** The room that each logged-in connection is in; an event without a room goes there. */
export const EVERYONE = "everyone";

export const PRESENCE_JOIN = "presence_join";
export const PRESENCE_LEAVE = "presence_leave";
export const ROOM_JOINED = "room_joined";
export const ROOM_LEFT = "room_left";

/** Stands for an event that its own connection isn't told, so that the numbers have no gap. */
export const SKIPPED = "skipped";

/** Why a connection ended. RFC 6455, section 7.4, gives those below 4000 their meaning. */
export const CloseCode = Object.freeze({
  normal: 1000,
  going_away: 1001,
  abnormal: 1006,
  message_too_big: 1009,
  internal_error: 1011,
  restart: 1012,
  try_later: 1013,
  token_expired: 4001,
  auth_timeout: 4002,
  idle_timeout: 4003,
  heartbeat_timeout: 4004,
  slow_consumer: 4005,
  rate_limited: 4006,
  resync: 4007,
  unauthorized: 4500,
  protocol_error: 4501,
  disconnected: 4502,
  too_many_connections: 4503,
});

/**
 * Whether a client that was closed with `code` should come back by itself.
 *
 * @param {number} code
 */
export function mayReconnect(code) {
  return [1001, 1006, 1011, 1012, 1013].includes(code) || (code >= 4000 && code < 4500);
}

const PRINTABLE = /^(?: |[^\p{C}\p{Z}])+$/u;

/**
 * Whether `name` can name a room: 1 to 256 printable characters.
 *
 * @param {unknown} name
 * @returns {name is string}
 */
export function isRoomName(name) {
  return typeof name === "string" && [...name].length <= 256 && PRINTABLE.test(name);
}

/**
 * @param {string} id
 * @param {string} resource
 * @param {string} action
 * @param {object | null} payload
 * @param {string} [key] Makes it run once, however often it is sent.
 */
export function requestFrame(id, resource, action, payload, key) {
  return JSON.stringify({ type: "request", id, resource, payload: { ...payload, action }, key });
}

/**
 * @param {string} id
 * @param {(string | Position)[]} rooms Names, or places to resume from.
 */
export function subscribeFrame(id, rooms) {
  return JSON.stringify({ type: "subscribe", id, payload: { rooms } });
}

/**
 * @param {string} id
 * @param {string[]} rooms
 */
export function unsubscribeFrame(id, rooms) {
  return JSON.stringify({ type: "unsubscribe", id, payload: { rooms } });
}

/**
 * @param {string} id
 * @param {string} token
 */
export function authFrame(id, token) {
  return JSON.stringify({ type: "auth", id, payload: { token } });
}

export const PING = '{"type":"ping"}';
export const PONG = '{"type":"pong"}';

/** @type {(value: any) => boolean} */
const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
/** @type {(value: any) => boolean} */
const isString = (value) => typeof value === "string";
/** @type {(value: any) => boolean} */
const isStringOrNone = (value) => value === undefined || value === null || isString(value);
/** @type {(value: any) => boolean} */
const isOffsetOrNone = (value) => value === undefined || value === null || Number.isInteger(value);

/** @type {(frame: any) => boolean} */
export const isEventFrame = (frame) =>
  isObject(frame) &&
  isObject(frame.payload) &&
  isString(frame.payload.type) &&
  isStringOrNone(frame.room) &&
  isStringOrNone(frame.epoch) &&
  isOffsetOrNone(frame.offset);

/** @type {(position: any) => boolean} */
export const isPosition = (position) =>
  isObject(position) &&
  isString(position.room) &&
  isStringOrNone(position.epoch) &&
  isOffsetOrNone(position.offset);

/** @type {Record<string, (frame: any) => boolean>} */
const SHAPES = {
  connected: (frame) => isObject(frame.payload),
  response: (frame) => isString(frame.id),
  error: (frame) => isStringOrNone(frame.id),
  event: isEventFrame,
  closing: (frame) => isObject(frame.payload),
  ping: () => true,
  pong: () => true,
};

/**
 * Read what the server sent; null where it is no frame of this protocol, to be passed over.
 *
 * @param {unknown} text
 * @returns {ServerFrame | null}
 */
export function decode(text) {
  if (typeof text !== "string") return null;
  let frame;
  try {
    frame = JSON.parse(text);
  } catch {
    return null;
  }
  if (!isObject(frame) || !Object.hasOwn(SHAPES, frame.type)) return null;
  return SHAPES[frame.type](frame) ? frame : null;
}
