import assert from "node:assert/strict";
import { beforeEach, mock, test } from "node:test";

import { ConnectionLost } from "../../quart_realtime/static/index.js";
import { beginAnew, codes, connected, FakeSocket, makeClient, pass, passWith, settled } from "./fake_socket.js";

beforeEach(beginAnew);

// Coming and going

test("the token travels as a subprotocol, and the greeting makes it connected", async () => {
  const { client, of } = makeClient("a.b.c");
  const greeted = client.connect();
  await settled();
  assert.deepEqual(FakeSocket.last.protocols, ["realtime.v1", "bearer.a.b.c"]);
  FakeSocket.last.greet({ user_id: "luis" });
  assert.equal((await greeted).user_id, "luis");
  assert.equal(client.userId, "luis");
  assert.equal(client.state, "connected");
  assert.deepEqual(of("state"), ["connecting", "connected"]);
});

test("a server that speaks another version is told of, and not asked again", async () => {
  const { client, of } = makeClient();
  const greeted = client.connect();
  await settled();
  FakeSocket.last.greet({ protocol: 2 });
  await assert.rejects(greeted, { code: "closed", closeCode: 4501, message: "the server doesn't speak realtime.v1" });
  assert.equal(client.state, "disconnected");
  assert.equal(of("error").length, 1);
  assert.equal(FakeSocket.last.closedWith, 1000);
});

test("the snippets of the module that this replaces run as they stand", async () => {
  const { client } = makeClient("mi-token-jwt");
  const said = [];
  client.connect();
  client.onConnect = (data) => said.push(["Conectado", data.user_id]);
  client.onDisconnect = (data) => said.push(["Desconectado", data.code]);
  client.onError = (error) => said.push(["Error", error.code]);
  client.on("new_message", (message) => said.push(["Nuevo mensaje", message.content]));
  await settled();
  const socket = FakeSocket.last.greet();
  client.send("conversations", "get_all", { user_id: "user123" }, (data, error) => {
    said.push(["Conversaciones", data.conversations, error]);
  });
  client.send("messages", "create", { message: {} }, (data, error) => said.push(["no", data, error.code]));
  const [first, second] = socket.sent;
  assert.deepEqual(first.payload, { action: "get_all", user_id: "user123" });
  socket.answer({ conversations: [] }, first);
  socket.refuse("validation_error", second);
  socket.event("new_message", { content: "Hola mundo" });
  await settled();
  socket.end(1001);
  assert.deepEqual(said, [
    ["Conectado", "ana"],
    ["Nuevo mensaje", "Hola mundo"],
    ["Conversaciones", [], null],
    ["no", null, "validation_error"],
    ["Desconectado", 1001],
  ]);
});

test("who is sent away for good stays away, and who is not comes back", async () => {
  for (const code of [1000, 1007, 1009, 4501, 4502, 4503]) {
    const { client, socket, of } = await connected();
    socket.end(code);
    assert.equal(client.state, "disconnected");
    assert.deepEqual(of("disconnect").at(-1), { code, reason: "", reconnecting: false });
  }
  for (const code of [1001, 1006, 1011, 1012, 1013, 4002, 4003, 4004, 4005, 4006, 4007]) {
    const { client, socket } = await connected();
    socket.end(code);
    assert.equal(client.state, "waiting");
    await pass(1_000);
    assert.notEqual(FakeSocket.last, socket);
    client.disconnect();
  }
});

test("waits grow while nobody answers, and begin anew after five seconds connected", async () => {
  const { client } = makeClient("good", { fallback: false });
  client.connect();
  const waits = [];
  for (let attempt = 0; attempt < 8; attempt++) {
    await settled();
    const { length } = FakeSocket.made;
    FakeSocket.last.end();
    let waited = 0;
    while (FakeSocket.made.length === length) {
      mock.timers.tick(250);
      await settled();
      waited += 250;
    }
    waits.push(waited);
  }
  assert.deepEqual(waits, [750, 1_000, 1_500, 2_500, 4_500, 8_500, 10_500, 10_500]);
  FakeSocket.last.greet();
  await pass(4_000);
  FakeSocket.last.end();
  await pass(10_000);
  assert.equal(client.state, "waiting", "four seconds prove nothing");
  await pass(1_000);
  FakeSocket.last.greet();
  await pass(5_000);
  FakeSocket.last.end();
  await pass(1_000);
  assert.equal(client.state, "connecting");
});

test("a server that stops spreads the return over the time it names", async () => {
  const { client, socket } = await connected();
  socket.closing(1012, { retry_after_ms: 8_000 });
  await pass(3_900);
  assert.equal(client.state, "waiting");
  await pass(200);
  assert.equal(client.state, "connecting");
});

test("a server that sends everybody away at once isn't asked ever faster", async () => {
  const { client, socket } = await connected();
  socket.closing(1012, { retry_after_ms: 0 });
  await pass(20_000);
  for (let round = 0; round < 20; round++) {
    if (FakeSocket.last.readyState === 0) FakeSocket.last.greet().closing(1012, { retry_after_ms: 0 });
    await pass(1_000);
  }
  assert.ok(FakeSocket.made.length < 9, `${FakeSocket.made.length}`);
  client.disconnect();
});

test("an attempt that isn't greeted in time is given up, so that the next doesn't wait for it", async () => {
  const { client, of } = makeClient();
  client.connect();
  await settled();
  const first = FakeSocket.last;
  await pass(10_000);
  assert.deepEqual(codes(of("error")), ["timeout"]);
  await pass(1_000);
  assert.notEqual(FakeSocket.last, first);
  assert.equal(first.readyState, 2);
  client.disconnect();
});

test("who connects next, by whichever client, doesn't wait for a socket given up while it opened", async () => {
  const { client } = makeClient();
  client.connect();
  await settled();
  const first = FakeSocket.last;
  client.disconnect();
  assert.equal(first.readyState, 0);
  const { client: another } = makeClient();
  another.connect();
  await settled();
  assert.equal(first.readyState, 2);
  another.disconnect();
});

test("disconnect ends it in every state, and leaves no socket or timer behind", async () => {
  const ways = {
    "before the token": () => {},
    connecting: async () => settled(),
    connected: async () => (await settled(), FakeSocket.last.greet()),
    waiting: async () => (await settled(), FakeSocket.last.end()),
  };
  for (const [name, way] of Object.entries(ways)) {
    const { client } = makeClient();
    const outcome = assert.rejects(client.connect(), ConnectionLost).catch((error) => error);
    await way();
    FakeSocket.complaints = []; // Of what earlier clients have left opening.
    client.disconnect();
    const { length } = FakeSocket.made;
    const last = FakeSocket.last;
    if (last?.readyState === 0) last.open();
    assert.notEqual(last?.readyState, 1, name);
    assert.deepEqual(FakeSocket.complaints, [], name);
    await pass(120_000);
    assert.equal(FakeSocket.made.length, length, name);
    assert.equal(client.state, "disconnected");
    if (name !== "connected") assert.equal(await outcome, undefined, name);
    FakeSocket.made = [];
  }
});

test("what comes late from an old socket is ignored", async () => {
  const { client, socket } = await connected();
  const heard = [];
  client.on("news", (data) => heard.push(data));
  const { onmessage, onclose } = socket;
  socket.end(1006);
  await pass(1_000);
  const next = FakeSocket.last.greet();
  onmessage({ data: JSON.stringify({ type: "event", payload: { type: "news", data: "late" } }) });
  onclose({ code: 4502, reason: "" });
  next.event("news", "live");
  assert.deepEqual(heard, ["live"]);
  assert.equal(client.state, "connected");
});

test("a callback may disconnect, whenever it is called", async () => {
  const rooms = [{ room: "everyone" }];
  for (const hook of ["state", "connect", "recovered", "disconnect", "error"]) {
    const { client, socket, told } = await connected("good", { rooms });
    socket.end(1006);
    await pass(1_000);
    client.listen(hook, () => client.disconnect());
    const asked = client.send("a", "get").catch((error) => error.code);
    told.length = 0;
    if (hook === "disconnect" || hook === "error") FakeSocket.last.end(1006);
    else FakeSocket.last.greet({ rooms });
    if (hook === "disconnect") client.disconnect();
    assert.equal(await asked, "connection_lost", hook);
    assert.equal(client.state, "disconnected", hook);
    assert.equal(client.userId, null);
    assert.deepEqual(told.at(-1), ["disconnect", { code: 1000, reason: "", reconnecting: false }], hook);
    const { length } = told;
    await pass(120_000);
    assert.equal(told.length, length, hook);
    assert.notEqual(FakeSocket.last.readyState, 1, hook);
  }
});

test("the next user's requests are sent, though the one before used the same client", async () => {
  const { client } = await connected();
  client.disconnect();
  client.connect();
  const answer = client.send("a", "get");
  await settled();
  const socket = FakeSocket.last.greet({ user_id: "eve" });
  socket.answer({ n: 1 });
  assert.deepEqual(await answer, { n: 1 });
  client.disconnect();
});

// Heartbeats

test("the server's pings are answered", async () => {
  const { socket } = await connected();
  socket.say({ type: "ping" });
  assert.deepEqual(socket.sent, [{ type: "pong" }]);
});

test("a server that says nothing for a ping interval and ten seconds is gone", async () => {
  const { client, socket } = await connected();
  await pass(34_000);
  socket.say({ type: "ping" });
  await pass(34_000);
  assert.equal(client.state, "connected");
  await pass(2_000);
  assert.equal(socket.closedWith, 1000);
  await pass(1_000);
  assert.notEqual(FakeSocket.last, socket);
});

test("after a sleep the server is asked, and given up when it doesn't answer", async (t) => {
  const { client, socket } = await connected();
  const now = Date.now.bind(Date);
  let slept = 3_600_000;
  t.mock.method(Date, "now", () => now() + slept);
  await pass(2_000);
  assert.deepEqual(socket.asked("ping"), { type: "ping" });
  socket.say({ type: "pong" });
  await pass(5_000);
  assert.equal(client.state, "connected");

  slept *= 2;
  await pass(3_000);
  assert.equal(client.state, "connected");
  await pass(2_000);
  assert.notEqual(client.state, "connected");
  await pass(1_000);
  assert.notEqual(FakeSocket.last, socket);
});

test("a clock that was set back doesn't hide a silent server", async (t) => {
  const { client } = await connected();
  const now = Date.now.bind(Date);
  t.mock.method(Date, "now", () => now() - 3_600_000);
  await pass(5_000);
  assert.notEqual(client.state, "connected");
  client.disconnect();
});

test("timers that are longer than any are none", async () => {
  const { client, socket, of } = await connected("good", {}, { connectTimeout: Infinity });
  const answer = client.send("a", "get", {}, { timeout: Infinity });
  await passWith(socket, 100_000);
  socket.answer(1, socket.asked("request"));
  assert.equal(await answer, 1);
  assert.deepEqual(of("error"), []);
  client.disconnect();
});

// Pages

test("a page that leaves the cache, or is woken again and again, connects, but not faster", async (t) => {
  const listeners = new Map();
  globalThis.addEventListener = (type, listener) => listeners.set(type, listener);
  globalThis.removeEventListener = (type) => listeners.delete(type);
  t.after(() => {
    delete globalThis.addEventListener;
    delete globalThis.removeEventListener;
  });
  const { client, socket, of } = await connected();
  listeners.get("pagehide")({ persisted: true });
  assert.equal(socket.closedWith, 1000);
  assert.deepEqual(of("disconnect").at(-1).reconnecting, true);
  await pass(60_000);
  assert.equal(client.state, "waiting");
  listeners.get("pageshow")({ persisted: true });
  await pass(1);
  FakeSocket.last.greet();
  assert.equal(client.state, "connected");

  FakeSocket.made = [FakeSocket.last];
  for (let round = 0; round < 50; round++) {
    FakeSocket.last.end(1006);
    listeners.get("focus")({});
    await pass(10);
  }
  assert.ok(FakeSocket.made.length < 4, `${FakeSocket.made.length}`);
  client.disconnect();
  assert.equal(listeners.size, 0);
});

// A server that talks nonsense

test("nonsense never reaches the app, nor ends the connection", async () => {
  const { client, socket, told } = await connected();
  const before = told.length;
  const nonsense = [
    "", "{", "null", "1", "[]", '"event"', "{}", { type: "dance" }, { type: ["event"] }, { type: "__proto__" },
    { type: "event" }, { type: "event", payload: null }, { type: "event", payload: { type: 1 } },
    { type: "event", payload: { type: "a" }, offset: "1" }, { type: "response", id: "unknown" },
    { type: "response" }, { type: "error", id: 7 }, { type: "closing" }, { type: "connected", payload: {} },
    { type: "event", payload: { type: "room_joined", data: null } },
    { type: "event", payload: { type: "presence_join", data: 3 } },
  ];
  for (const frame of nonsense) socket.say(frame);
  socket.onmessage({ data: new ArrayBuffer(4) });
  assert.equal(told.length, before);
  assert.equal(client.state, "connected");
});

test("an odd greeting connects all the same", async () => {
  for (const payload of [{ rooms: "all" }, { rooms: [null, 1, {}] }, { ping_interval: "often" }, { user_id: undefined }]) {
    const { client } = await connected("good", payload);
    assert.equal(client.state, "connected");
    client.disconnect();
  }
});

test("a callback that throws is reported, and stops no other", async (t) => {
  const reported = [];
  t.mock.method(console, "error", (error) => reported.push(error.message));
  const { client, socket } = await connected();
  const heard = [];
  const fail = (name) => () => {
    throw new Error(name);
  };
  client.on("news", fail("handler"));
  client.on("news", (data) => heard.push(data));
  client.onDisconnect = fail("hook");
  const undo = client.on("news", fail("never"));
  undo();
  socket.event("news", 1);
  client.send("a", "get", {}, fail("callback"));
  await settled();
  socket.answer({});
  await settled();
  client.disconnect();
  assert.deepEqual(heard, [1]);
  assert.deepEqual(reported, ["handler", "callback", "hook"]);
});

test("a URL may be relative to nothing only with a scheme, and http is as good as ws", () => {
  assert.throws(() => makeClient("good", { url: "/ws" }).client.connect(), /pass \{ url/);
  assert.throws(() => makeClient("good", { url: "ftp://server/" }), /no websocket/);
  assert.throws(() => makeClient("two words"), /without spaces/);
  const { client } = makeClient("good", { url: "https://server/chat/ws#top" });
  client.connect();
  return settled().then(() => assert.equal(FakeSocket.last.url, "wss://server/chat/ws"));
});
