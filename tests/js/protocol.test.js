import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import * as protocol from "../../quart_realtime/static/protocol.js";

// The server's side of the same file is tests/unit/test_frame_vectors.py.
const vectors = JSON.parse(readFileSync(new URL("../frames.json", import.meta.url)));

test("what the client sends is what the server reads", () => {
  for (const { js: [name, ...values], frame } of vectors.from_client) {
    const made = protocol[name];
    assert.deepEqual(JSON.parse(typeof made === "function" ? made(...values) : made), frame);
  }
});

test("what the server sends is read as it stands", () => {
  for (const { frame } of vectors.from_server) {
    assert.deepEqual(protocol.decode(JSON.stringify(frame)), frame);
  }
});

test("what is no frame is none", () => {
  for (const text of vectors.not_from_server) assert.equal(protocol.decode(text), null, text);
  for (const data of [undefined, null, 1, new ArrayBuffer(2)]) assert.equal(protocol.decode(data), null);
});

test("close codes mean the same on both sides", () => {
  assert.deepEqual({ ...protocol.CloseCode }, vectors.close_codes);
  for (const code of vectors.come_back) assert.ok(protocol.mayReconnect(code), code);
  for (const code of vectors.stay_away) assert.ok(!protocol.mayReconnect(code), code);
});

test("rooms are named the same on both sides", () => {
  for (const name of vectors.rooms) assert.ok(protocol.isRoomName(name), name);
  for (const name of [...vectors.no_rooms, "x".repeat(257), 1, null]) assert.ok(!protocol.isRoomName(name));
  assert.ok(protocol.isRoomName("😀".repeat(256)));
});
