/** A stream over HTTP in place of a websocket, against a server that the test plays. */

import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";

import "../../quart_realtime/static/fallback.js";
import { FakeSocket, beginAnew, makeClient, pass, settled } from "./fake_socket.js";

const { fetch } = globalThis;

/** What was fetched, the newest last: streams, and messages that were posted. */
let streams;
let posts;

class FakeResponse {
  constructor(url, options) {
    Object.assign(this, { url: url.href, options });
    this.answer = new Promise((resolve, reject) => Object.assign(this, { resolve, reject }));
    options.signal.addEventListener("abort", () => {
      this.isAborted = true;
      this.reject(options.signal.reason);
      this.controller?.error(options.signal.reason);
    });
    this.answer.catch(() => {});
  }

  get frame() {
    return JSON.parse(this.options.body);
  }

  /** Answer a stream's request. */
  async open(status = 200, type = "text/event-stream; charset=utf-8") {
    const body = new ReadableStream({ start: (controller) => (this.controller = controller) });
    this.resolve(new Response(body, { status, headers: { "Content-Type": type } }));
    await settled();
  }

  async say(frame) {
    await this.write(`id: x\ndata: ${JSON.stringify(frame)}\n\n`);
  }

  async write(text) {
    this.controller.enqueue(new TextEncoder().encode(text));
    await settled();
  }

  async greet(id = "k1") {
    await this.open();
    const payload = { connection_id: id, user_id: "ana", ping_interval: 25, expires_at: null, rooms: [] };
    await this.say({ type: "connected", payload });
    return this;
  }

  async end() {
    this.controller.close();
    await settled();
  }

  /** Answer what was posted. */
  async reply(frame, status = 200) {
    this.resolve(new Response(frame === null ? null : JSON.stringify(frame), { status }));
    await settled();
  }
}

beforeEach(() => {
  beginAnew();
  [streams, posts] = [[], []];
  globalThis.fetch = (url, options) => {
    const response = new FakeResponse(url, options);
    (options.method === "POST" ? posts : streams).push(response);
    return response.answer;
  };
});

afterEach(() => {
  globalThis.fetch = fetch;
  mock.timers.reset();
});

/** A client whose websockets fail until it has asked for a stream. */
async function blocked(options = {}, token = "good") {
  const made = makeClient(token, options);
  made.client.connect();
  for (let failures = 0; failures < 3; failures++) {
    await settled();
    FakeSocket.last.end();
    await pass(3_000);
  }
  return made;
}

/** A client that is connected by a stream. */
async function streaming(options = {}, token = "good") {
  const made = await blocked(options, token);
  assert.equal(made.client.state, "connecting");
  return { ...made, stream: await streams.at(-1).greet() };
}

/** Let time pass on a stream that the server pings. */
async function passPinged(stream, milliseconds) {
  for (let left = milliseconds; left > 0; left -= 20_000) {
    if (!stream.isAborted) await stream.say({ type: "ping" });
    await pass(Math.min(20_000, left));
  }
}

const event = (offset, data = offset) =>
  ({ type: "event", id: `evt-${offset}`, payload: { type: "number", data }, room: "r", epoch: "e", offset });
const place = (offset, more = {}) => ({ room: "r", epoch: "e", offset, recovered: true, events: [], ...more });

test("after three handshakes without an answer a stream stands in, its token in no address", async () => {
  const { client, stream } = await streaming();
  assert.equal(client.state, "connected");
  assert.equal(client.connectionId, "k1");
  assert.equal(FakeSocket.made.length, 3);
  assert.equal(stream.url, "http://server/ws/events");
  assert.equal(stream.options.headers.get("Authorization"), "Bearer good");
  client.disconnect();
  assert.equal(stream.isAborted, true);
});

test("events come, in whatever pieces, and requests are posted and answered", async () => {
  const { client, stream } = await streaming();
  const heard = [];
  client.on("number", (data) => heard.push(data));
  const text = `data: ${JSON.stringify(event(1, "é"))}\n\n`;
  const bytes = new TextEncoder().encode(text);
  for (const byte of bytes) stream.controller.enqueue(Uint8Array.of(byte));
  await settled();
  assert.deepEqual(heard, ["é"]);
  const answer = client.send("echo", "say", { text: "hi" });
  await settled();
  const [post] = posts;
  assert.equal(post.url, "http://server/ws/requests");
  assert.equal(post.options.headers.get("X-Realtime-Connection"), "k1");
  assert.equal(post.options.headers.get("Authorization"), "Bearer good");
  await post.reply({ type: "response", id: post.frame.id, payload: "hi" });
  assert.equal(await answer, "hi");
  const refused = assert.rejects(client.send("echo", "say", {}), { code: "validation_error" });
  await settled();
  const error = { code: "validation_error", message: "text: is missing", details: {} };
  await posts.at(-1).reply({ type: "error", id: posts.at(-1).frame.id, payload: error }, 422);
  await refused;
  client.disconnect();
});

test("what is about the stream itself is posted in its order, and answered on it", async () => {
  const { client, stream } = await streaming();
  const room = client.subscribe("r");
  room.unsubscribe();
  const other = client.subscribe("r");
  await settled();
  assert.deepEqual(posts.map(({ frame }) => frame.type), ["subscribe"]);
  await posts[0].reply(null, 202);
  await posts[1].reply(null, 202);
  assert.deepEqual(posts.map(({ frame }) => frame.type), ["subscribe", "unsubscribe", "subscribe"]);
  await posts[2].reply(null, 202);
  await stream.say({ type: "response", id: posts[2].frame.id, payload: { rooms: [place(0)] } });
  await other.ready;
  await stream.say({ type: "ping" });
  assert.equal(posts.length, 3);
  client.disconnect();
});

test("a stream that is cut is followed by another, which resumes the rooms", async () => {
  const { client, stream, of } = await streaming();
  const heard = [];
  client.subscribe("r").on("number", (data) => heard.push(data));
  await settled();
  await posts[0].reply(null, 202);
  await stream.say({ type: "response", id: posts[0].frame.id, payload: { rooms: [place(0)] } });
  await stream.say(event(1));
  await stream.end();
  assert.equal(client.state, "waiting");
  await pass(6_000);
  const next = await streams.at(-1).greet("k2");
  assert.notEqual(next, stream);
  assert.deepEqual(posts[1].frame.payload.rooms, [{ room: "r", epoch: "e", offset: 1 }]);
  assert.equal(posts[1].options.headers.get("X-Realtime-Connection"), "k2");
  const missed = place(3, { events: [event(2), event(3)] });
  await next.say({ type: "response", id: posts[1].frame.id, payload: { rooms: [missed] } });
  await next.say(event(3));
  await next.say(event(4));
  assert.deepEqual(heard, [1, 2, 3, 4]);
  assert.deepEqual(of("recovered"), [{ room: "r", recovered: true }]);
  assert.equal(FakeSocket.made.length, 3);
  client.disconnect();
});

test("it returns to a websocket that opens, when all that was asked is answered", async () => {
  const { client, stream, of } = await streaming({ fallback: 60_000 });
  await passPinged(stream, 55_000);
  const request = client.send("echo", "say", { text: "hi" });
  await pass(5_000);
  const trial = FakeSocket.last;
  assert.deepEqual(trial.protocols, ["realtime.v1"]);
  trial.open();
  await settled();
  assert.equal(trial.closedWith, 1000);
  assert.equal(client.state, "connected");
  await posts[0].reply({ type: "response", id: posts[0].frame.id, payload: "hi" });
  assert.equal(await request, "hi");
  await pass(1);
  assert.equal(stream.isAborted, true);
  assert.notEqual(FakeSocket.last, trial);
  assert.equal(FakeSocket.last.token, "good");
  FakeSocket.last.greet({ connection_id: "k3" });
  assert.equal(client.connectionId, "k3");
  assert.equal(streams.length, 1);
  assert.deepEqual(of("error").length, 3);
  client.disconnect();
});

test("websockets are tried again and again, and nothing is left of a trial", async () => {
  const { client, stream } = await streaming({ fallback: 60_000 });
  for (let trial = 0; trial < 3; trial++) {
    await passPinged(stream, 60_000);
    assert.equal(FakeSocket.made.length, 4 + trial);
    if (trial < 2) FakeSocket.last.end();
  }
  client.disconnect();
  assert.deepEqual(FakeSocket.complaints, []);
  FakeSocket.last.open();
  assert.equal(FakeSocket.last.closedWith, 1000);
  await pass(120_000);
  assert.equal(FakeSocket.made.length, 6);
});

test("where neither gets through they are tried in turn", async () => {
  const { client } = await blocked();
  for (let round = 1; round <= 2; round++) {
    assert.equal(streams.length, round);
    // A page of whatever stands between is no stream.
    await streams.at(-1).open(200, "text/html");
    await pass(25_000);
    assert.equal(FakeSocket.made.length, 3 + round);
    FakeSocket.last.end();
    await pass(25_000);
  }
  client.disconnect();
});

test("a stream is refused as a socket is, and a fresh token tried on another", async () => {
  const tokens = ["old", "new"];
  const { client } = await blocked({}, () => tokens.shift());
  const stream = streams.at(-1);
  await stream.open(401);
  await stream.say({ type: "error", id: null, payload: { code: "unauthorized", message: "expired", details: {} } });
  const payload = { code: "token_expired", reconnect: true, retry_after_ms: null };
  await stream.say({ type: "closing", payload });
  await stream.end();
  await pass(6_000);
  assert.equal(streams.length, 2);
  assert.notEqual(streams[1].options.headers.get("Authorization"), stream.options.headers.get("Authorization"));
  client.disconnect();
});

test("a message that gets no answer of the server's ends the stream, as a break ends a socket", async () => {
  const { client } = await streaming();
  const error = { code: "connection_lost", maybeProcessed: true };
  const lost = assert.rejects(client.send("echo", "say", { text: "hi" }), error);
  await settled();
  posts[0].resolve(new Response("<h1>Bad Gateway</h1>", { status: 502 }));
  await lost;
  assert.equal(client.state, "waiting");
  client.disconnect();
});

test("a fresh token is shown on a new stream", async () => {
  let count = 0;
  const { client, of } = await blocked({}, () => `t${++count}`);
  const stream = streams.at(-1);
  await stream.open();
  const expires_at = Date.now() / 1000 + 60;
  const greeting = { connection_id: "k1", user_id: "ana", ping_interval: 25, expires_at, rooms: [] };
  await stream.say({ type: "connected", payload: greeting });
  await passPinged(stream, 50_000);
  assert.equal(streams.length, 2);
  assert.equal(streams[1].options.headers.get("Authorization"), `Bearer t${count}`);
  await streams[1].greet("k2");
  assert.equal(client.state, "connected");
  assert.equal(of("disconnect").at(-1).reconnecting, true);
  client.disconnect();
});

test("no stream is opened where the app wants none", async () => {
  const { client } = await blocked({ fallback: false });
  await pass(10_000);
  assert.equal(streams.length, 0);
  client.disconnect();
});
