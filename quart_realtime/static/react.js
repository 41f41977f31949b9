"use client";

/**
 * React hooks over a client that lives outside of React, so that what mounts twice connects once.
 *
 *     import { RealtimeProvider, useEvent, useRequest } from "quart-realtime/react";
 */

import {
  createContext,
  createElement,
  useCallback,
  useContext,
  useEffect,
  useLayoutEffect,
  useRef,
  useState,
  useSyncExternalStore,
} from "react";

import { createWebSocketClient } from "./client.js";

/**
 * @typedef {import("./client.js").Client<any>} AnyClient
 * @typedef {import("./protocol.js").Present} Present
 * @typedef {import("./rooms.js").RealtimeEvent} RealtimeEvent
 * @typedef {(data: any, event: RealtimeEvent) => unknown} Handler
 */

/** For how many milliseconds a client stays connected after the last provider has gone. */
const LINGER = 1_000;

/** Where there is no page, nothing is laid out either, and older Reacts complain. */
const useEarlyEffect = typeof document === "undefined" ? useEffect : useLayoutEffect;

/** @type {import("react").Context<AnyClient | null>} */
const Context = createContext(/** @type {AnyClient | null} */ (null));

/** Clients that providers hold. @type {WeakMap<AnyClient, { count: number, timer?: any }>} */
const holders = new WeakMap();

/**
 * Have `client` connected until the returned function is called, and a little longer.
 *
 * @param {AnyClient} client
 */
function hold(client) {
  const held = holders.get(client) ?? { count: 0 };
  holders.set(client, held);
  held.count += 1;
  clearTimeout(held.timer);
  client.connect();
  return () => {
    held.count -= 1;
    if (held.count === 0) held.timer = setTimeout(() => client.disconnect(), LINGER);
  };
}

/**
 * Connects a client for as long as it is mounted, and hands it to the hooks below it.
 *
 * @param {object} props
 * @param {AnyClient} [props.client] A client of the app's own; another one is for another user.
 * @param {ConstructorParameters<typeof import("./client.js").Client>[0]} [props.token] Or what to
 *   make one of; as it was at first.
 * @param {import("./types.js").ClientOptions} [props.options]
 * @param {import("react").ReactNode} [props.children]
 */
export function RealtimeProvider({ client, token, options, children }) {
  const [own] = useState(() => client ?? createWebSocketClient(token, options));
  const value = client ?? own;
  // Before the effects of those inside, which may ask something at once.
  useEarlyEffect(() => hold(value), [value]);
  return createElement(Context.Provider, { value }, children);
}

/**
 * The client.
 *
 * @template {import("./types.js").Api} [A=import("./types.js").Api]
 * @returns {import("./client.js").Client<A>}
 */
export function useRealtime() {
  const client = useContext(Context);
  if (client === null) throw new Error("put a <RealtimeProvider> around what uses Realtime's hooks");
  return client;
}

/** Where the client stands: `"disconnected"`, `"connecting"`, `"connected"` or `"waiting"`. */
export function useConnectionState() {
  const client = useRealtime();
  const subscribe = useCallback(
    (/** @type {() => void} */ changed) => client.listen("state", changed),
    [client],
  );
  return useSyncExternalStore(
    subscribe,
    () => client.state,
    // What is rendered on a server is about to connect in the browser.
    () => /** @type {import("./types.js").ConnectionState} */ ("connecting"),
  );
}

/**
 * Always the latest of what a component was rendered with.
 *
 * @template T
 * @param {T} value
 */
function useLatest(value) {
  const latest = useRef(value);
  useEarlyEffect(() => {
    latest.current = value;
  });
  return latest;
}

/**
 * Call `handler(data, event)` with each event of that type, of any room.
 *
 * @param {string} type
 * @param {Handler} handler May be another at each render.
 */
export function useEvent(type, handler) {
  const client = useRealtime();
  const latest = useLatest(handler);
  useEffect(() => client.on(type, (data, event) => latest.current(data, event)), [client, type, latest]);
}

/**
 * @template [T=any]
 * @typedef {{ data: T | undefined, error: Error | null, isLoading: boolean }} Answer
 */

/** @type {Answer} */
const NOTHING = Object.freeze({ data: undefined, error: null, isLoading: true });

/** The errors of a request that may do better on the next connection. */
const PASSING = ["connection_lost", "timeout", "queue_full"];

/**
 * Ask for something, when mounted and whenever what is asked changes; and once more at the next
 * connect, where there was no connection to be answered on.
 *
 * @template [T=any]
 * @param {string} resource
 * @param {string} action
 * @param {Record<string, any>} [payload] Compared by what it says, not by identity.
 * @param {import("./types.js").RequestOptions & { enabled?: boolean }} [options] With `enabled` false
 *   nothing is asked.
 * @returns {Answer<T> & { reload: () => void }} The last answer stays until the next has come. While
 *   one is on its way, `reload` waits for it, and then asks once more.
 */
export function useRequest(resource, action, payload = {}, options = {}) {
  const client = useRealtime();
  const latest = useLatest(options);
  const { enabled = true } = options;
  const asked = JSON.stringify(payload);
  const [round, setRound] = useState(0);
  const under = useRef({ way: false, again: false });
  const reload = useCallback(() => {
    if (under.current.way) under.current.again = true;
    else setRound((before) => before + 1);
  }, []);
  const [answer, setAnswer] = useState(/** @type {Answer & { of: AnyClient }} */ ({ ...NOTHING, of: client }));
  useEffect(() => {
    if (!enabled) return undefined;
    let current = true;
    // Another client may be another user's.
    setAnswer((before) => ({ ...(before.of === client ? before : NOTHING), of: client, isLoading: true }));
    let again = () => {};
    /** @param {(before: Answer) => Answer} change */
    const settle = (change) => {
      if (!current) return false;
      setAnswer((before) => ({ ...change(before), of: client }));
      const isAwaited = under.current.again;
      under.current = { way: false, again: false };
      if (isAwaited) reload();
      return !isAwaited;
    };
    /** @param {any} error */
    const failed = (error) => {
      const isLast = settle(({ data }) => ({ data, error, isLoading: false }));
      if (!isLast || !PASSING.includes(error.code)) return;
      again = client.listen("connect", reload);
      // What another user asked was refused at a connect, and that has just been told.
      if (error.code === "connection_lost" && client.state === "connected") reload();
    };
    under.current = { way: true, again: false };
    const { timeout, retry } = latest.current;
    client
      .send(resource, action, JSON.parse(asked), { timeout, retry })
      .then((data) => settle(() => ({ data, error: null, isLoading: false })), failed);
    return () => {
      current = false;
      under.current = { way: false, again: false };
      again();
    };
  }, [client, resource, action, asked, enabled, round, reload, latest]);
  const { data, error, isLoading } = answer.of === client ? answer : NOTHING;
  return { data, error, isLoading: enabled && isLoading, reload };
}

/**
 * @typedef {{ isReady: boolean, recovered: boolean, error: Error | null,
 *   presence: readonly Present[] }} RoomState
 */

/** @type {RoomState} */
const OUTSIDE = Object.freeze({
  isReady: false,
  recovered: true,
  error: null,
  presence: Object.freeze(/** @type {Present[]} */ ([])),
});

/**
 * Follow a room.
 *
 * @param {string | null | undefined} name None to follow no room.
 * @param {Record<string, Handler>} [handlers] Called with the room's events, by their type; may be
 *   others at each render.
 * @param {{ onRecovered?: (recovered: boolean) => unknown }} [options] `onRecovered` is called
 *   after each return to the room; with false where what is shown has to be loaded again.
 * @returns {RoomState} Whether we are in, whether the last return missed nothing, why we were
 *   refused, and who is there.
 */
export function useRoom(name, handlers = {}, options = {}) {
  const client = useRealtime();
  const latest = useLatest({ handlers, options });
  const [round, setRound] = useState(0);
  // The room that we were put out of.
  const left = useRef(/** @type {string | null} */ (null));
  const [state, setState] = useState(OUTSIDE);
  useEffect(() => {
    if (name === null || name === undefined) return undefined;
    const room = client.subscribe(name);
    const isReturn = left.current === name;
    left.current = null;
    let current = true;
    /** @param {Partial<RoomState>} change */
    const set = (change) => current && setState((before) => ({ ...before, ...change }));
    room.onEvent = (event) => {
      const own = latest.current.handlers;
      if (Object.hasOwn(own, event.type)) own[event.type]?.(event.data, event);
    };
    room.onPresence = (presence) => set({ presence });
    room.onRecovered = (recovered) => {
      set({ recovered });
      latest.current.options.onRecovered?.(recovered);
    };
    room.ready.then(
      () => {
        set({ isReady: true, presence: room.presence });
        // Whatever was told meanwhile was told to nobody.
        if (isReturn) room.onRecovered?.(false);
      },
      () => {},
    );
    let again = () => {};
    room.onEnd = (error) => {
      set({ isReady: false, error });
      left.current = name;
      // A client that was sent away, or a room refused, may do better at the next connect.
      again = client.listen("connect", () => setRound((before) => before + 1));
    };
    return () => {
      current = false;
      again();
      room.unsubscribe();
      setState(OUTSIDE);
    };
  }, [client, name, round, latest]);
  return state;
}

/**
 * Who is in a room; a new array at each change.
 *
 * @param {string | null | undefined} name
 */
export function usePresence(name) {
  return useRoom(name).presence;
}

/**
 * @template {import("./types.js").Api} A
 * @template {keyof A["requests"] & string} R
 * @template {keyof A["requests"][R] & string} C
 * @typedef {{} extends A["requests"][R][C]["payload"]
 *   ? [payload?: A["requests"][R][C]["payload"], options?: import("./types.js").RequestOptions & { enabled?: boolean }]
 *   : [payload: A["requests"][R][C]["payload"], options?: import("./types.js").RequestOptions & { enabled?: boolean }]
 * } Asking What follows resource and action; a payload that has to say something can't be left out.
 */

/**
 * @template {import("./types.js").Api} A
 * @typedef {{
 *   useRealtime: () => import("./client.js").Client<A>,
 *   useEvent: <E extends keyof A["events"] & string>(type: E,
 *     handler: (data: A["events"][E], event: RealtimeEvent) => unknown) => void,
 *   useRequest: <R extends keyof A["requests"] & string, C extends keyof A["requests"][R] & string>(
 *     resource: R, action: C, ...asking: Asking<A, R, C>
 *   ) => Answer<A["requests"][R][C]["response"]> & { reload: () => void },
 *   useRoom: (name: string | null | undefined,
 *     handlers?: { [E in keyof A["events"]]?: (data: A["events"][E], event: RealtimeEvent) => unknown },
 *     options?: { onRecovered?: (recovered: boolean) => unknown }) => RoomState,
 * }} TypedHooks
 */

/**
 * The hooks as they are typed by what the server offers, for an app to export once:
 *
 *     export const { useEvent, useRealtime, useRequest, useRoom } = typedHooks<Api>();
 *
 * @template {import("./types.js").Api} A
 * @returns {TypedHooks<A>}
 */
export function typedHooks() {
  return /** @type {any} */ ({ useEvent, useRealtime, useRequest, useRoom });
}
