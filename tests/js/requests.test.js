import assert from "node:assert/strict";
import { beforeEach, mock, test } from "node:test";

import { ConnectionLost, RealtimeError } from "../../quart_realtime/static/index.js";
import { beginAnew, codes, connected, FakeSocket, makeClient, pass, settled } from "./fake_socket.js";

beforeEach(beginAnew);

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
