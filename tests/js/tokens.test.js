import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { UnauthorizedError } from "../../quart_realtime/static/index.js";
import { beginAnew, codes, connected, FakeSocket, makeClient, pass, passWith, settled } from "./fake_socket.js";

beforeEach(beginAnew);

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
