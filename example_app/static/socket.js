/**
 * A websocket that comes back by itself, misses nothing, and keeps its token fresh.
 * It is all that the rest of the page knows of the wire.
 */

const REQUEST_TIMEOUT = 10_000;
const CONNECT_TIMEOUT = 10_000;
const STABLE_AFTER = 5_000;
const LONGEST_TIMER = 2 ** 31 - 1;

export class RequestError extends Error {
  constructor({ code, message, details }) {
    super(message);
    this.code = code;
    this.details = details ?? {};
  }
}

const lost = (message) => new RequestError({ code: "connection_lost", message });
const isFinal = (code) => [1000, 1007, 1009].includes(code) || code >= 4500;

export class Socket {
  /** Called with "connecting", "connected", "waiting" or "closed", and with details of it. */
  onstate = () => {};
  /** Called with a room and whether all that was missed in it has been told. */
  onresume = () => {};
  userId = null;

  #url;
  #getToken;
  #socket = null;
  #handlers = new Map();
  #pending = new Map();
  #rooms = new Map(); // name → { epoch, offset, held: null or the events that wait }
  #lastId = 0;
  #timers = {};
  #failures = 0;
  #refusals = 0;
  #reason = "connect";
  #retryAfter = null;
  #heard = 0;
  #silenceAllowed = Infinity;
  #stopped = true;
  #attempt = 0;

  /**
   * `getToken(reason)` returns a promise of a token: for "connect" the one there is, for "expired"
   * and "refresh" a fresh one. A LoginError that it throws is final.
   */
  constructor(url, getToken) {
    this.#url = url;
    this.#getToken = getToken;
  }

  connect() {
    this.#stopped = false;
    addEventListener("online", this.#wake);
    document.addEventListener("visibilitychange", this.#wake);
    this.#open();
  }

  disconnect() {
    this.#stop({ code: 1000, reason: "" });
  }

  /** Ask `resource` to do `action`; a promise of the answer. */
  request(resource, action, payload = {}) {
    return this.#ask({ type: "request", resource }, { ...payload, action });
  }

  /** Call `handler(data, room)` with each event of that type. */
  on(event, handler) {
    this.#handlers.set(event, [...(this.#handlers.get(event) ?? []), handler]);
  }

  /** Join a room, or ask who is in it; a promise of the server's answer. */
  async subscribe(room) {
    const [answer] = await this.#resume([room]);
    if (answer.error) throw new RequestError(answer.error);
    return answer;
  }

  // Coming and going

  async #open() {
    const attempt = ++this.#attempt;
    this.#clearTimers();
    this.onstate("connecting");
    let token;
    try {
      token = await this.#getToken(this.#reason);
    } catch (error) {
      if (attempt !== this.#attempt) return;
      if (error.name === "LoginError") this.#stop({ code: 4500, reason: error.message });
      else this.#wait();
      return;
    }
    if (attempt !== this.#attempt) return;
    const socket = new WebSocket(this.#url, ["realtime.v1", `bearer.${token}`]);
    this.#socket = socket;
    this.#timers.connect = setTimeout(() => this.#drop(socket), CONNECT_TIMEOUT);
    socket.onmessage = ({ data }) => this.#socket === socket && this.#take(JSON.parse(data));
    socket.onclose = ({ code, reason }) => this.#socket === socket && this.#closed(code, reason);
  }

  /** Give up on a socket that is silent, without waiting for its goodbye. */
  #drop(socket) {
    if (socket === null || this.#socket !== socket) return;
    this.#closed(1006, "silent");
    socket.close();
  }

  #closed(code, reason) {
    this.#socket = null;
    this.#rejectAll();
    if (code === 4001 || code === 4500) {
      this.#refusals += 1;
      this.#reason = "expired";
      if (this.#refusals > 1) this.#stop({ code, reason });
      else this.#open();
    } else if (isFinal(code)) {
      this.#stop({ code, reason });
    } else {
      this.#wait();
    }
  }

  #wait() {
    this.#clearTimers();
    const exponential = Math.min(20_000, 500 * 2 ** this.#failures++);
    const delay =
      this.#retryAfter === null
        ? Math.min(20_000, 500 + Math.random() * exponential)
        : Math.random() * Math.min(60_000, this.#retryAfter);
    this.#retryAfter = null;
    this.onstate("waiting", { delay });
    this.#timers.wait = setTimeout(() => this.#open(), delay);
  }

  #stop(detail) {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#attempt += 1;
    this.#clearTimers();
    removeEventListener("online", this.#wake);
    document.removeEventListener("visibilitychange", this.#wake);
    const socket = this.#socket;
    this.#socket = null;
    this.#rejectAll();
    socket?.close(1000);
    this.onstate("closed", detail);
  }

  /** Don't sit out a delay, nor trust a socket, after the network or the page was away. */
  #wake = () => {
    if (document.visibilityState === "hidden") return;
    if (this.#timers.wait) this.#open();
    else if (this.#socket?.readyState === WebSocket.OPEN) this.#probe(this.#socket);
  };

  #probe(socket) {
    const asked = Date.now();
    this.#send({ type: "ping" });
    setTimeout(() => this.#heard < asked && this.#drop(socket), 3_000);
  }

  #clearTimers() {
    for (const timer of Object.values(this.#timers)) clearTimeout(timer);
    this.#timers = {};
  }

  // What goes out

  #send(frame) {
    this.#socket.send(JSON.stringify(frame));
  }

  #ask(frame, payload) {
    if (this.#socket?.readyState !== WebSocket.OPEN) {
      return Promise.reject(lost("You are offline."));
    }
    const id = `c${++this.#lastId}`;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#pending.delete(id);
        reject(new RequestError({ code: "timeout", message: "The server took too long." }));
      }, REQUEST_TIMEOUT);
      this.#pending.set(id, { resolve, reject, timer });
      this.#send({ ...frame, id, payload });
    });
  }

  #rejectAll() {
    for (const { reject, timer } of this.#pending.values()) {
      clearTimeout(timer);
      reject(lost("The connection was lost before the answer came."));
    }
    this.#pending.clear();
    for (const place of this.#rooms.values()) place.held = null;
  }

  // What comes in

  #take(frame) {
    this.#heard = Date.now();
    const waiting = this.#pending.get(frame.id);
    if (frame.type === "ping") this.#send({ type: "pong" });
    else if (frame.type === "connected") this.#greet(frame.payload);
    else if (frame.type === "event") this.#event(frame);
    else if (frame.type === "closing") this.#retryAfter = frame.payload.retry_after_ms;
    else if (waiting) {
      clearTimeout(waiting.timer);
      this.#pending.delete(frame.id);
      if (frame.type === "error") waiting.reject(new RequestError(frame.payload));
      else waiting.resolve(frame.payload);
    }
  }

  #greet(payload) {
    this.#clearTimers();
    this.userId = payload.user_id;
    this.#refusals = 0;
    this.#reason = "connect";
    this.#silenceAllowed = (payload.ping_interval + 10) * 1000;
    this.#timers.stable = setTimeout(() => (this.#failures = 0), STABLE_AFTER);
    this.#listenForSilence();
    this.#planRefresh(payload.expires_at);
    const known = [...this.#rooms.keys()];
    for (const { room, epoch, offset } of payload.rooms) {
      if (!this.#rooms.has(room)) this.#rooms.set(room, { epoch, offset, held: null });
    }
    this.onstate("connected");
    if (known.length > 0) this.#resume(known).catch(() => {});
  }

  #listenForSilence() {
    const socket = this.#socket;
    this.#timers.silence = setInterval(() => {
      // By the clock: a timer alone would not notice that the computer was asleep.
      if (Date.now() - this.#heard > this.#silenceAllowed) this.#drop(socket);
    }, 5_000);
  }

  #planRefresh(expiresAt) {
    if (expiresAt === null) return;
    const life = expiresAt * 1000 - Date.now();
    this.#refreshIn(life - Math.max(10_000, 0.2 * life));
  }

  #refreshIn(delay) {
    const wait = Math.min(LONGEST_TIMER, Math.max(0, delay));
    clearTimeout(this.#timers.refresh);
    this.#timers.refresh = setTimeout(() => this.#refresh(), wait);
  }

  async #refresh() {
    const socket = this.#socket;
    try {
      const token = await this.#getToken("refresh");
      if (this.#socket !== socket) return;
      const answer = await this.#ask({ type: "auth" }, { token });
      this.#planRefresh(answer.expires_at);
    } catch (error) {
      if (this.#socket !== socket) return;
      if (error.name === "LoginError") this.#stop({ code: 4500, reason: error.message });
      else this.#refreshIn(5_000 + Math.random() * 5_000);
    }
  }

  // Rooms: where we stand in each, and what we missed

  #event(frame) {
    const { type, data } = frame.payload;
    if (type === "room_joined") {
      this.#rooms.set(data.room, { epoch: data.epoch, offset: data.offset, held: null });
    } else if (type === "room_left") {
      this.#rooms.delete(data.room);
    }
    const place = this.#rooms.get(frame.room);
    if (frame.offset === undefined || place === undefined) {
      this.#tell(frame);
    } else if (place.held !== null) {
      place.held.push(frame);
    } else if (frame.epoch !== place.epoch || frame.offset > place.offset + 1) {
      this.#resume([frame.room], frame).catch(() => {});
    } else if (frame.offset > place.offset) {
      place.offset = frame.offset;
      this.#tell(frame);
    }
  }

  #tell(frame) {
    const { type, data } = frame.payload;
    for (const handler of this.#handlers.get(type) ?? []) handler(data, frame.room);
  }

  /** Subscribe to rooms from where we stand in them. Live events wait until that is answered. */
  async #resume(names, ...held) {
    const rooms = names.map((room) => {
      const place = this.#rooms.get(room);
      if (place === undefined) return room;
      place.held ??= [];
      place.held.push(...held);
      return { room, epoch: place.epoch, offset: place.offset };
    });
    const socket = this.#socket;
    try {
      const answer = await this.#ask({ type: "subscribe" }, { rooms });
      answer.rooms.forEach((told) => this.#resumed(told));
      return answer.rooms;
    } catch (error) {
      this.#drop(socket); // What is held would wait for ever; a new connection asks again.
      throw error;
    }
  }

  #resumed(told) {
    const { room, epoch, offset, error } = told;
    const place = this.#rooms.get(room);
    if (error) {
      this.#rooms.delete(room);
      if (place) this.#tell({ room, payload: { type: "room_left", data: { room } } });
      return;
    }
    const held = place?.held ?? [];
    this.#rooms.set(room, { epoch, offset, held: null });
    told.events.forEach((frame) => this.#tell(frame));
    for (const frame of held) this.#event(frame);
    if (place) this.onresume(room, told.recovered);
    if (told.presence) {
      this.#tell({ room, payload: { type: "presence", data: { users: told.presence } } });
    }
  }
}
