import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { FakeSocket, beginAnew, connected, makeClient, pass, settled } from "./fake_socket.js";

beforeEach(beginAnew);

/** Answer the last subscribe with an outcome for each room. */
function enter(socket, more = {}) {
  const frame = socket.asked("subscribe");
  const rooms = frame.payload.rooms.map((place) => ({
    room: place.room ?? place,
    epoch: "e1",
    offset: 0,
    recovered: place.epoch === "e1",
    events: [],
    ...more,
  }));
  socket.answer({ rooms }, frame);
}

const numbered = (offset, epoch = "e1") => ({ room: "hall", offset, epoch });
const missed = (...offsets) =>
  offsets.map((offset) => ({ type: "event", payload: { type: "said", data: offset }, ...numbered(offset) }));

/** A client that is in "hall", and what it hears there. */
async function inHall(more) {
  const made = await connected();
  const room = made.client.subscribe("hall");
  const heard = [];
  room.on("said", (data) => heard.push(data));
  room.onRecovered = (recovered) => heard.push({ recovered });
  enter(made.socket, more);
  await room.ready;
  return { ...made, room, heard };
}

async function comeBack() {
  await pass(1_000);
  return FakeSocket.last.greet();
}

test("a room may be subscribed to before the connection", async () => {
  const { client } = makeClient();
  const room = client.subscribe("hall");
  client.connect();
  await settled();
  const socket = FakeSocket.last.greet();
  assert.deepEqual(socket.asked("subscribe").payload, { rooms: ["hall"] });
  enter(socket);
  assert.equal(await room.ready, room);
});

test("a handler hears its room alone, and the client's hears all", async () => {
  const { client, socket, heard } = await inHall();
  const everywhere = [];
  client.on("said", (data, event) => everywhere.push([data, event.room]));
  socket.event("said", 1, numbered(1));
  socket.event("said", "elsewhere", { room: "yard" });
  socket.event("said", "to all");
  assert.deepEqual(heard, [1]);
  assert.deepEqual(everywhere, [[1, "hall"], ["elsewhere", "yard"], ["to all", "everyone"]]);
});

test("a return resumes all rooms from their positions, in one message", async () => {
  const { client, socket, heard, of } = await inHall();
  const yard = client.subscribe("yard");
  enter(socket);
  socket.event("said", 1, numbered(1));
  socket.end(1006);
  const next = await comeBack();
  assert.deepEqual(next.sent.map((frame) => frame.payload.rooms), [
    [{ room: "hall", epoch: "e1", offset: 1 }, { room: "yard", epoch: "e1", offset: 0 }],
  ]);
  const frame = next.asked("subscribe");
  next.event("said", 3, numbered(3));
  next.answer({
    rooms: [
      { room: "hall", epoch: "e1", offset: 2, recovered: true, events: missed(2) },
      { room: "yard", epoch: "e1", offset: 0, recovered: true, events: [] },
    ],
  }, frame);
  assert.deepEqual(heard, [1, 2, { recovered: true }, 3]);
  assert.deepEqual(of("recovered"), [
    { room: "hall", recovered: true },
    { room: "yard", recovered: true },
  ]);
  assert.equal(yard.recovered, true);
  client.disconnect();
});

test("doubled events are dropped, and a gap is filled before what follows it", async () => {
  const { client, socket, heard } = await inHall();
  socket.event("said", 1, numbered(1));
  socket.event("said", 1, numbered(1));
  socket.event("said", 4, numbered(4));
  socket.event("said", 5, numbered(5));
  assert.deepEqual(heard, [1]);
  assert.deepEqual(socket.asked("subscribe").payload.rooms, [{ room: "hall", epoch: "e1", offset: 1 }]);
  const rooms = [{ room: "hall", epoch: "e1", offset: 4, recovered: true, events: missed(2, 3, 4) }];
  socket.answer({ rooms }, socket.asked("subscribe"));
  assert.deepEqual(heard, [1, 2, 3, 4, { recovered: true }, 5]);
  client.disconnect();
});

test("a server that never fills a gap isn't asked ever faster", async () => {
  const { client, socket } = await inHall();
  const asked = () => socket.sent.filter(({ type }) => type === "subscribe").length;
  let answered = asked();
  for (let round = 0; round < 600; round++) {
    socket.event("said", 9, numbered(9));
    if (asked() > answered) enter(socket, { recovered: true });
    answered += Number(asked() > answered);
    await pass(100);
    socket.say({ type: "ping" });
  }
  assert.ok(asked() > 2 && asked() < 12, `${asked()}`);
  client.disconnect();
});

test("of more live events than can wait for an answer, none is missed", async () => {
  const { client, socket, heard } = await inHall();
  socket.event("said", 2, numbered(2));
  for (let offset = 3; offset <= 1_500; offset++) socket.event("said", offset, numbered(offset));
  const first = socket.asked("subscribe");
  socket.answer({ rooms: [{ room: "hall", epoch: "e1", offset: 2, recovered: true, events: missed(1, 2) }] }, first);
  await pass(1_000);
  const again = socket.asked("subscribe");
  assert.notEqual(again, first);
  const { offset } = again.payload.rooms[0];
  const rest = Array.from({ length: 1_500 - offset }, (_, index) => offset + 1 + index);
  socket.answer({ rooms: [{ room: "hall", epoch: "e1", offset: 1_500, recovered: true, events: missed(...rest) }] }, again);
  const numbers = heard.filter((told) => typeof told === "number");
  assert.deepEqual(numbers, Array.from({ length: 1_500 }, (_, index) => index + 1));
  client.disconnect();
});

test("who subscribes again whenever a room ends can disconnect all the same", async () => {
  const { client, room } = await inHall();
  let ends = 0;
  const follow = (ended) => {
    ended.onEnd = () => {
      ends += 1;
      follow(client.subscribe("hall"));
    };
  };
  follow(room);
  client.disconnect();
  assert.equal(ends, 1);
});

test("a room left while its message is refused isn't asked for again", async () => {
  const { client, socket } = await connected();
  socket.end(1006);
  const rooms = ["a", "b"].map((name) => client.subscribe(name));
  const next = await comeBack();
  rooms[0].unsubscribe();
  next.refuse("internal_error", next.asked("subscribe"));
  const asked = next.sent.filter(({ type }) => type === "subscribe").slice(1);
  assert.deepEqual(asked.map(({ payload }) => payload.rooms), [["b"]]);
  client.disconnect();
});

test("a room that the server doesn't put us in again is left when the app leaves it", async () => {
  const { client, socket } = await connected("good", { rooms: [{ room: "hall", epoch: "e1", offset: 3 }] });
  const room = client.subscribe("hall");
  enter(socket);
  socket.end(1006);
  const next = await comeBack();
  enter(next);
  room.unsubscribe();
  assert.deepEqual(next.asked("unsubscribe").payload, { rooms: ["hall"] });
  assert.deepEqual(client.rooms, []);
  client.disconnect();
});

test("a new epoch is told as not recovered", async () => {
  const { client, socket, room, heard } = await inHall();
  socket.event("said", 1, numbered(1));
  socket.end(1006);
  const next = await comeBack();
  enter(next, { epoch: "e2", offset: 7, recovered: false });
  next.event("said", 8, numbered(8, "e2"));
  assert.deepEqual(heard, [1, { recovered: false }, 8]);
  assert.equal(room.recovered, false);
  client.disconnect();
});

test("after a resync positions are void", async () => {
  const { client, socket } = await inHall();
  socket.end(4007);
  const next = await comeBack();
  assert.deepEqual(next.asked("subscribe").payload.rooms, ["hall"]);
  client.disconnect();
});

test("a room that is refused is told, and asked for no more", async () => {
  const { client, socket, of } = await connected();
  const room = client.subscribe("secret");
  enter(socket, { error: { code: "forbidden", message: "not yours" } });
  await assert.rejects(room.ready, { code: "forbidden", details: { room: "secret" } });
  assert.deepEqual(of("error").map((error) => error.code), ["forbidden"]);
  socket.end(1006);
  const next = await comeBack();
  assert.equal(next.asked("subscribe"), undefined);
  client.disconnect();
});

test("a room that failed for now retries alone", async () => {
  const { client, socket } = await connected();
  const room = client.subscribe("hall");
  client.subscribe("yard");
  const [hall, yard] = socket.sent;
  socket.answer({ rooms: [{ room: "yard", epoch: "e1", offset: 0, events: [] }] }, yard);
  socket.refuse("unavailable", hall);
  await pass(800);
  assert.deepEqual(socket.asked("subscribe").payload.rooms, ["hall"]);
  enter(socket);
  await room.ready;
  client.disconnect();
});

test("an answer to a subscribe that never comes is asked for again", async () => {
  const { client, socket } = await connected();
  client.subscribe("hall");
  await pass(10_000);
  await pass(800);
  assert.equal(socket.sent.filter(({ type }) => type === "subscribe").length, 2);
  client.disconnect();
});

test("who leaves while missed events are told hears no more of them", async () => {
  const ways = [
    [({ room }) => room.unsubscribe(), [1]],
    [({ client }) => client.disconnect(), []],
  ];
  for (const [leave, rest] of ways) {
    const made = await inHall();
    const { client, socket, room } = made;
    const heard = [];
    client.on("said", (data) => heard.push(data));
    room.on("said", () => leave(made));
    socket.event("said", 4, numbered(4));
    const rooms = [{ room: "hall", epoch: "e1", offset: 4, recovered: true, events: missed(1, 2, 3) }];
    socket.answer({ rooms }, socket.asked("subscribe"));
    assert.deepEqual(heard, rest);
    client.disconnect();
  }
});

test("two who follow a room share it, and the last to leave ends it", async () => {
  const { client, socket, room } = await inHall();
  const second = client.subscribe("hall");
  await second.ready;
  assert.equal(socket.sent.filter(({ type }) => type === "subscribe").length, 1);
  const heard = [];
  second.on("said", (data) => heard.push(data));
  room.unsubscribe();
  room.unsubscribe();
  assert.equal(socket.asked("unsubscribe"), undefined);
  socket.event("said", 1, numbered(1));
  second.unsubscribe();
  assert.deepEqual(socket.asked("unsubscribe").payload, { rooms: ["hall"] });
  socket.event("said", 2, numbered(2));
  assert.deepEqual(heard, [1]);
});

test("presence follows who comes and goes, in a new array each time", async () => {
  const { socket, room } = await inHall({ presence: [{ user_id: "ana", connections: 2 }] });
  const seen = [];
  room.onPresence = (presence) => seen.push(presence.map(({ user_id }) => user_id));
  const before = room.presence;
  socket.event("presence_join", { user_id: "luis" }, { room: "hall" });
  socket.event("presence_join", { user_id: "luis" }, { room: "hall" });
  socket.event("presence_leave", { user_id: "ana" }, { room: "hall" });
  assert.deepEqual(seen, [["ana", "luis"], ["luis"]]);
  assert.deepEqual(before, [{ user_id: "ana", connections: 2 }]);
  assert.deepEqual(room.presence, [{ user_id: "luis", connections: 1 }]);
});

test("rooms that the server put us in are resumed too", async () => {
  const rooms = [{ room: "user:ana", epoch: "e1", offset: 3 }, { room: "everyone" }];
  const { client, socket, of } = await connected("good", { rooms });
  const heard = [];
  client.on("said", (data) => heard.push(data));
  assert.deepEqual(client.rooms, ["user:ana", "everyone"]);
  socket.event("said", 4, { room: "user:ana", epoch: "e1", offset: 4 });
  socket.event("room_joined", { room: "hall", epoch: "e1", offset: 0 });
  socket.event("room_left", { room: "hall" });
  socket.end(1006);
  await pass(1_000);
  const next = FakeSocket.last.greet({ rooms });
  assert.deepEqual(next.asked("subscribe").payload.rooms, [{ room: "user:ana", epoch: "e1", offset: 4 }]);
  next.answer({
    rooms: [{
      room: "user:ana", epoch: "e1", offset: 5, recovered: true,
      events: [{ type: "event", payload: { type: "said", data: 5 }, room: "user:ana", epoch: "e1", offset: 5 }],
    }],
  });
  assert.deepEqual(heard, [4, 5]);
  assert.deepEqual(of("recovered"), [
    { room: "everyone", recovered: false },
    { room: "user:ana", recovered: true },
  ]);
  client.disconnect();
});

test("another user hears nothing of what the first was in", async () => {
  const { client, socket } = await connected("good", { rooms: [{ room: "user:ana", epoch: "e1", offset: 3 }] });
  socket.end(1006);
  await pass(1_000);
  const next = FakeSocket.last.greet({ user_id: "luis", rooms: [{ room: "user:luis", epoch: "e2", offset: 0 }] });
  assert.deepEqual(next.sent, []);
  assert.deepEqual(client.rooms, ["user:luis"]);
  client.disconnect();
});

test("an event that is not for us keeps the numbers without a gap", async () => {
  const { client, socket, heard } = await inHall();
  const everywhere = [];
  client.on("skipped", (data) => everywhere.push(data));
  socket.event("skipped", null, numbered(1));
  socket.event("said", 2, numbered(2));
  assert.deepEqual(heard, [2]);
  assert.deepEqual(everywhere, []);
});

test("the answer to a subscribe may be nonsense", async () => {
  for (const payload of [null, [], { rooms: 1 }, { rooms: [null, { room: 1 }, { room: "other" }] }]) {
    const { client, socket } = await connected();
    const room = client.subscribe("hall");
    socket.answer(payload, socket.asked("subscribe"));
    await pass(800);
    enter(socket);
    await room.ready;
    client.disconnect();
  }
});

test("a room joined by the server and subscribed to for the first time is no return", async () => {
  const { client, socket, of } = await connected("good", { rooms: [{ room: "hall", epoch: null }] });
  client.subscribe("hall");
  enter(socket, { recovered: false });
  assert.deepEqual(of("recovered"), []);
  client.disconnect();
});

test("what was held of an epoch that has ended isn't told after the new one", async () => {
  const { client, socket, heard } = await inHall();
  socket.event("said", 1, numbered(1));
  socket.event("said", 4, numbered(4));
  enter(socket, { epoch: "e2", offset: 7, recovered: false });
  socket.event("said", 8, numbered(8, "e2"));
  assert.deepEqual(heard, [1, { recovered: false }, 8]);
  client.disconnect();
});

test("a message that is refused as a whole gives up no room but the one at fault", async () => {
  const { client } = makeClient();
  const rooms = ["hall", "yard"].map((name) => client.subscribe(name));
  client.connect();
  await settled();
  const socket = FakeSocket.last.greet();
  socket.refuse("bad_request");
  const [, hall, yard] = socket.sent;
  assert.deepEqual(hall.payload.rooms, ["hall"]);
  socket.refuse("bad_request", hall);
  socket.answer({ rooms: [{ room: "yard", epoch: "e1", offset: 0, events: [] }] }, yard);
  await assert.rejects(rooms[0].ready, { code: "bad_request" });
  assert.equal(await rooms[1].ready, rooms[1]);
  client.disconnect();
});

test("a room that the server took us out of says so", async () => {
  const { client, socket, room } = await inHall();
  const ends = [];
  room.onEnd = (error) => ends.push(error.code);
  socket.event("room_left", { room: "hall" });
  assert.deepEqual(ends, ["forbidden"]);
  client.disconnect();
});

test("many rooms are resumed in messages that the server takes", async () => {
  const { client } = makeClient();
  const names = Array.from({ length: 300 }, (_, number) => `${number}`.padStart(200, "r"));
  for (const name of names) client.subscribe(name);
  client.connect();
  await settled();
  const { sent } = FakeSocket.last.greet();
  assert.ok(sent.length > 3 && sent.every((frame) => JSON.stringify(frame).length < 32 * 1024));
  assert.deepEqual(sent.flatMap((frame) => frame.payload.rooms), names);
  client.disconnect();
});

test("a name that can't name a room is refused at once", () => {
  const { client } = makeClient();
  for (const name of ["", "x".repeat(257), "a\nb", null, undefined]) {
    assert.throws(() => client.subscribe(name), /can't name a room/);
  }
});
