import assert from "node:assert/strict";
import { beforeEach, mock, test } from "node:test";

import { ConnectionLost, RealtimeError, UnauthorizedError } from "../../quart_realtime/static/index.js";
import { FakeSocket, connected, makeClient, settled } from "./fake_socket.js";

/** Let time pass on a connection that the server pings. */
async function passWith(socket, milliseconds) {
  for (let left = milliseconds; left > 0; left -= 25_000) {
    socket.say({ type: "ping" });
    await pass(Math.min(25_000, left));
  }
}

/** Let time pass, in steps of a second, so that what is due in between comes in its turn. */
async function pass(milliseconds) {
  for (let left = milliseconds; left > 0; left -= 1_000) {
    mock.timers.tick(Math.min(1_000, left));
    await settled();
  }
}

beforeEach(() => {
  mock.timers.reset();
  mock.timers.enable({ apis: ["setTimeout", "setInterval", "Date"], now: 1_800_000_000_000 });
  FakeSocket.made = [];
  FakeSocket.complaints = [];
});

const codes = (errors) => errors.map((error) => error.code);

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
  const { client } = makeClient();
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

// Tokens

test("who logs in after another gets a token of their own", async () => {
  let user = "ana";
  let finish = null;
  const { client } = await connected(() => (finish ? new Promise((done) => finish(done)) : `of-${user}`));
  client.disconnect();
  user = "eve";
  client.connect();
  await settled();
  assert.equal(FakeSocket.last.token, "of-eve");
  client.disconnect();

  // Nor does one that comes late for the first.
  const late = [];
  finish = (done) => late.push(done);
  client.connect();
  await settled();
  client.disconnect();
  client.connect();
  await settled();
  late[0]("of-ana");
  await settled();
  late[1]("of-eve");
  await settled();
  assert.equal(FakeSocket.last.token, "of-eve");
  client.disconnect();
});

test("a fresh token that comes while the connection is lost is shown on the next", async () => {
  let give = null;
  const getToken = (reason) => (reason === "refresh" ? new Promise((done) => (give = done)) : "first");
  const { client, socket } = await connected(getToken, { expires_at: Date.now() / 1000 + 60 });
  await passWith(socket, 49_000);
  socket.end(1006);
  await pass(2_000);
  const next = FakeSocket.last.greet({ expires_at: Date.now() / 1000 + 10 });
  assert.equal(next.token, "first");
  give("second");
  await settled();
  assert.deepEqual(next.asked("auth").payload, { token: "second" });
  client.disconnect();
});

test("a single token that was refused isn't sent by the next connect either", async () => {
  const { client } = makeClient("stale");
  client.connect();
  await settled();
  FakeSocket.last.end(4500, "unknown key");
  await assert.rejects(client.connect(), /refused before/);
  assert.equal(FakeSocket.made.length, 1);
});

const numbered = (calls) => (reason) => `token-${calls.push(reason)}`;

test("a token that expired is never sent again, and one call gets the next", async () => {
  const calls = [];
  const { socket } = await connected(numbered(calls));
  socket.end(4001);
  await pass(1_000);
  assert.deepEqual(calls, ["connect", "expired"]);
  assert.equal(FakeSocket.last.token, "token-2");
  FakeSocket.last.greet();
  FakeSocket.last.end(1006);
  await pass(1_000);
  assert.deepEqual(calls, ["connect", "expired"]);
  assert.equal(FakeSocket.last.token, "token-2");
});

test("three fresh tokens refused in a row are enough", async () => {
  const calls = [];
  const { client, of } = makeClient(numbered(calls));
  client.connect();
  for (let attempt = 0; attempt < 3; attempt++) {
    await pass(3_000);
    FakeSocket.last.end(4500, "unknown key");
  }
  await pass(120_000);
  assert.equal(calls.length, 3);
  assert.equal(client.state, "disconnected");
  assert.deepEqual(codes(of("error")).at(-1), "unauthorized");
});

test("a single token that is refused is final", async () => {
  const { client, of } = makeClient("stale");
  const outcome = assert.rejects(client.connect(), UnauthorizedError);
  await settled();
  FakeSocket.last.open();
  FakeSocket.last.say({ type: "error", id: null, payload: { code: "unauthorized", message: "expired" } });
  FakeSocket.last.end(4001, "expired");
  await outcome;
  assert.equal(client.state, "disconnected");
  assert.deepEqual(codes(of("error")), ["unauthorized"]); // Once, however often the server says it.
  assert.deepEqual(of("disconnect"), [{ code: 4001, reason: "expired", reconnecting: false }]);
});

test("getToken may fail three times and then work", async () => {
  let failures = 0;
  const { client, of } = makeClient(async () => {
    if (++failures <= 3) throw new Error("the server for logins is away");
    return "good";
  });
  client.connect();
  await pass(10_000);
  assert.equal(FakeSocket.made.length, 1);
  assert.equal(of("error").length, 3);
});

test("getToken's own UnauthorizedError is final", async () => {
  const { client } = makeClient(() => {
    throw new UnauthorizedError("log in first");
  });
  await assert.rejects(client.connect(), /log in first/);
  assert.equal(client.state, "disconnected");
});

test("before it expires a fresh token is shown on the live connection", async () => {
  const calls = [];
  const seconds = () => Date.now() / 1000;
  const { client, socket } = await connected(numbered(calls), { expires_at: seconds() + 100 });
  await passWith(socket, 79_000);
  assert.deepEqual(calls, ["connect"]);
  await passWith(socket, 6_000);
  assert.deepEqual(calls, ["connect", "refresh"]);
  assert.deepEqual(socket.asked("auth").payload, { token: "token-2" });
  socket.answer({ user_id: "ana", expires_at: seconds() + 100 }, socket.asked("auth"));
  await passWith(socket, 70_000);
  assert.equal(calls.length, 2);
  assert.equal(client.state, "connected");
});

test("a refresh that fails is tried again", async () => {
  let calls = 0;
  const getToken = () => {
    if (++calls === 2) throw new Error("away");
    return `token-${calls}`;
  };
  const { client, socket } = await connected(getToken, { expires_at: Date.now() / 1000 + 60 });
  await passWith(socket, 63_000);
  assert.equal(calls, 3);
  assert.equal(socket.asked("auth").payload.token, "token-3");
  client.disconnect();
});

test("an answer about a token that isn't the latest shown any longer comes too late", async () => {
  let calls = 0;
  const { client, socket, of } = await connected(() => `token-${++calls}`, { expires_at: Date.now() / 1000 + 60 });
  await passWith(socket, 49_000);
  const first = socket.asked("auth");
  await passWith(socket, 11_000);
  assert.notEqual(socket.asked("auth"), first);
  socket.refuse("unauthorized", first);
  assert.deepEqual(of("error"), []);
  client.disconnect();
});

test("a token good for a year sets off no timer early", async () => {
  const calls = [];
  const { client, socket } = await connected(numbered(calls), {
    expires_at: Date.now() / 1000 + 31_536_000,
  });
  await passWith(socket, 3_600_000);
  assert.equal(calls.length, 1);
  assert.equal(client.state, "connected");
});

// Requests

test("what is asked before the connection waits for it, in order", async () => {
  const { client } = makeClient();
  client.connect();
  const answers = [client.send("a", "get"), client.send("b", "get")];
  await settled();
  const socket = FakeSocket.last.greet();
  assert.deepEqual(socket.sent.map(({ resource }) => resource), ["a", "b"]);
  for (const frame of [...socket.sent]) socket.answer({ of: frame.resource }, frame);
  assert.deepEqual(await Promise.all(answers), [{ of: "a" }, { of: "b" }]);
});

test("what waited goes out eighty a second, and what follows it behind", async () => {
  const { client } = makeClient();
  client.connect();
  for (let number = 0; number < 60; number++) client.send("a", "get", { number }).catch(() => {});
  await settled();
  const socket = FakeSocket.last.greet();
  client.send("a", "get", { number: 60 }).catch(() => {});
  assert.equal(socket.sent.length, 8);
  for (let tenth = 0; tenth < 7; tenth++) await pass(100);
  assert.deepEqual(socket.sent.map(({ payload }) => payload.number), Array.from({ length: 61 }, (_, n) => n));
  client.send("a", "get", { number: 61 }).catch(() => {});
  assert.equal(socket.sent.length, 62);
  client.disconnect();
});

test("offline at most a hundred messages and 256 KiB wait", async () => {
  const { client } = makeClient();
  client.connect();
  const answers = Array.from({ length: 100 }, () => client.send("a", "get"));
  await assert.rejects(client.send("a", "get"), { code: "queue_full" });
  client.disconnect();
  const outcomes = await Promise.allSettled(answers);
  assert.ok(outcomes.every(({ reason }) => reason instanceof ConnectionLost && !reason.maybeProcessed));

  client.connect();
  const large = client.send("a", "put", { text: "x".repeat(200_000) });
  await assert.rejects(client.send("a", "put", { text: "x".repeat(100_000) }), { code: "queue_full" });
  client.disconnect();
  await assert.rejects(large, ConnectionLost);
});

test("a request whose answer was lost is rejected, or asked again under its key", async () => {
  const { client, socket } = await connected();
  const once = client.send("a", "create");
  const again = client.send("b", "create", {}, { retry: true });
  await settled();
  const { key } = socket.asked("request");
  assert.match(key, /^[0-9a-f]{32}$/);
  socket.end(1006);
  await assert.rejects(once, (error) => error instanceof ConnectionLost && error.maybeProcessed);
  await pass(1_000);
  const next = FakeSocket.last.greet();
  assert.deepEqual(next.sent.map((frame) => [frame.resource, frame.key]), [["b", key]]);
  next.answer({ id: 1 });
  assert.deepEqual(await again, { id: 1 });
  client.disconnect();
});

test("an answer may take so long, time offline included, and comes too late after that", async () => {
  const { client, socket } = await connected();
  const slow = client.send("a", "get", {}, { timeout: 3_000, retry: true });
  const outcome = assert.rejects(slow, { code: "timeout", message: "a.get: no answer within 3 s" });
  await settled();
  socket.end(1006);
  await pass(3_000);
  await outcome;
  FakeSocket.last.greet();
  assert.deepEqual(FakeSocket.last.sent, []);
  client.disconnect();
});

test("a request isn't sent again when the server may have forgotten its key", async () => {
  const { client, socket } = await connected();
  const answer = client.send("a", "create", {}, { retry: true, timeout: 600_000 });
  const outcome = assert.rejects(answer, (error) => error instanceof ConnectionLost && error.maybeProcessed);
  await settled();
  socket.end(1006);
  await pass(9_000);
  FakeSocket.last.end(1006);
  mock.timers.tick(110_000);
  await pass(20_000);
  FakeSocket.last.greet();
  await outcome;
  assert.deepEqual(FakeSocket.last.sent, []);
  client.disconnect();
});

test("what is too large for the server is refused here", async () => {
  const { client, socket } = await connected("good", { max_message_size: 100 });
  await assert.rejects(client.send("a", "put", { text: "é".repeat(50) }), { code: "payload_too_large" });
  assert.deepEqual(socket.sent, []);
  client.disconnect();
});

test("an error has its code, message and details", async () => {
  const { client, socket } = await connected();
  const answer = client.send("conversations", "get", { id: "conv999" });
  await settled();
  const payload = { code: "not_found", message: "No", details: { conversation_id: "conv999" } };
  socket.say({ type: "error", id: socket.sent[0].id, payload });
  await assert.rejects(answer, (error) => {
    assert.ok(error instanceof RealtimeError);
    assert.deepEqual({ code: error.code, message: error.message, details: error.details }, payload);
    return true;
  });
});

test("what waits on a connection for its turn is bounded too", async () => {
  const { client } = makeClient();
  client.connect();
  const ask = () => client.send("a", "get").then(() => "answered", ({ code }) => code);
  const outcomes = Array.from({ length: 100 }, ask);
  await settled();
  FakeSocket.last.greet();
  outcomes.push(...Array.from({ length: 9 }, ask));
  assert.equal(await Promise.race([outcomes.at(-1), settled()]), "queue_full");
  client.disconnect();
  const codes = await Promise.all(outcomes);
  assert.equal(codes.filter((code) => code === "queue_full").length, 1);
});

test("a payload can't have an action of its own", async () => {
  const { client } = await connected();
  await assert.rejects(client.send("a", "get", { action: "put" }), TypeError);
});

test("without a connection to hope for, a request is refused at once", async () => {
  const { client } = makeClient();
  await assert.rejects(client.send("a", "get"), ConnectionLost);
});

test("what one user asked isn't sent as another", async () => {
  const { client, socket } = await connected();
  socket.end(1006);
  const asked = client.send("notes", "create", {}, { retry: true });
  const outcome = assert.rejects(asked, ConnectionLost);
  await pass(1_000);
  FakeSocket.last.greet({ user_id: "eve" });
  await outcome;
  assert.deepEqual(FakeSocket.last.sent, []);
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
