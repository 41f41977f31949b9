import assert from "node:assert/strict";
import { beforeEach, mock, test } from "node:test";

import { JSDOM } from "jsdom";

const { window } = new JSDOM("<!doctype html><div id='root'></div>", { url: "http://server/" });
const server = await import("react-dom/server"); // Before there is a page.
const { renderToString } = server;
const { RealtimeProvider: OnServer } = await import("../../quart_realtime/static/react.js?server");
globalThis.navigator ??= window.navigator;
Object.assign(globalThis, { window, document: window.document, IS_REACT_ACT_ENVIRONMENT: true });

const { StrictMode, act, createElement: h, useState } = await import("react");
const { createRoot } = await import("react-dom/client");
const { RealtimeProvider, useConnectionState, useEvent, usePresence, useRealtime, useRequest, useRoom } =
  await import("../../quart_realtime/static/react.js");
const { FakeSocket, beginAnew, makeClient, settled } = await import("./fake_socket.js");

let complaints = [];

beforeEach(() => {
  beginAnew();
  complaints = [];
  mock.method(console, "error", (...parts) => {
    const text = parts.join(" ");
    if (!text.includes("ExperimentalWarning")) complaints.push(text); // Node's, about its own timers.
  });
});

/** Show `element` in a strict app around a client; returns what there is to play with. */
async function show(Component, { strict = true, ...options } = {}) {
  const { client } = makeClient("good", options);
  const container = document.createElement("div");
  const root = createRoot(container);
  const inside = h(RealtimeProvider, { client }, h(Component));
  await act(async () => root.render(strict ? h(StrictMode, null, inside) : inside));
  await act(settled);
  return {
    client,
    text: () => container.textContent,
    socket: () => FakeSocket.last,
    close: () => act(async () => root.unmount()),
    happens: (work) => act(async () => (await work(), settled())),
  };
}

const State = () => h("p", null, useConnectionState());

test("what is mounted twice connects once, and disconnects when it has been gone for a second", async () => {
  const page = await show(State);
  assert.equal(FakeSocket.made.length, 1);
  assert.equal(page.text(), "connecting");
  await page.happens(() => page.socket().greet());
  assert.equal(page.text(), "connected");
  await page.close();
  assert.equal(page.client.state, "connected");
  mock.timers.tick(1_000);
  assert.equal(page.client.state, "disconnected");
  assert.equal(page.socket().closedWith, 1000);
  assert.deepEqual(complaints, []);
});

test("a hundred mounts leave no socket, listener or timer behind", async () => {
  const { client } = makeClient();
  for (let mount = 0; mount < 100; mount++) {
    const root = createRoot(document.createElement("div"));
    const inside = h(RealtimeProvider, { client }, h(State), h(Everything));
    await act(async () => root.render(h(StrictMode, null, inside)));
    await act(async () => root.unmount());
  }
  mock.timers.tick(1_000);
  await settled();
  for (const socket of FakeSocket.made) if (socket.readyState === 0) socket.open();
  assert.ok(FakeSocket.made.length <= 1);
  assert.ok(FakeSocket.made.every(({ closedWith }) => closedWith === 1000));
  mock.timers.tick(600_000);
  await settled();
  assert.ok(FakeSocket.made.length <= 1);
});

function Everything() {
  useEvent("news", () => {});
  useRoom("hall", { said: () => {} });
  useRequest("users", "get_all");
  return null;
}

test("a server renders it without a socket, a timer or a complaint", () => {
  const { client } = makeClient();
  const element = h(OnServer, { token: "good" }, h("p", null, "hello"));
  assert.equal(renderToString(element), "<p>hello</p>");
  assert.equal(renderToString(h(RealtimeProvider, { client }, h(State))), "<p>connecting</p>");
  assert.equal(FakeSocket.made.length, 0);
  assert.deepEqual(complaints, []);
});

test("an event reaches the handler of the latest render", async () => {
  const heard = [];
  let rounds = 0;
  function Listening() {
    const round = ++rounds;
    const state = useConnectionState();
    useEvent("news", (data) => heard.push([data, round]));
    return state;
  }
  const page = await show(Listening, { strict: false });
  await page.happens(() => page.socket().greet());
  await page.happens(() => page.socket().event("news", 1));
  assert.deepEqual(heard, [[1, rounds]]);
  await page.close();
  page.socket().event("news", 2);
  assert.equal(heard.length, 1);
});

test("a request is asked when mounted, and again when what is asked changes", async () => {
  let set;
  function Asking() {
    const { data, error, isLoading, reload } = useRequest("users", "get", { id: useRenamed() });
    set.reload = reload;
    return isLoading ? "loading" : (error?.code ?? data.name);
  }
  let id = "ana";
  const useRenamed = () => id;
  set = {};
  const page = await show(Asking, { strict: false });
  assert.equal(page.text(), "loading");
  await page.happens(() => page.socket().greet());
  assert.deepEqual(page.socket().sent.map(({ payload }) => payload), [{ action: "get", id: "ana" }]);
  await page.happens(() => page.socket().answer({ name: "Ana" }));
  assert.equal(page.text(), "Ana");
  id = "luis";
  await page.happens(() => set.reload());
  assert.deepEqual(page.socket().asked("request").payload, { action: "get", id: "luis" });
  await page.happens(() => page.socket().refuse("not_found"));
  assert.equal(page.text(), "not_found");
  await page.close();
});

test("what one client's user was told isn't shown to another's", async () => {
  const ana = makeClient().client;
  const eve = makeClient().client;
  const Asking = () => JSON.stringify(useRequest("notes", "get").data) ?? "nothing";
  const container = document.createElement("div");
  const root = createRoot(container);
  const render = (client) => act(async () => root.render(h(RealtimeProvider, { client }, h(Asking))));
  await render(ana);
  await act(settled);
  await act(async () => (FakeSocket.last.greet().answer("secret"), settled()));
  assert.equal(container.textContent, '"secret"');
  await render(eve);
  assert.equal(container.textContent, "nothing");
  await act(async () => root.unmount());
});

test("a request that isn't enabled isn't asked", async () => {
  const page = await show(() => String(useRequest("users", "get", {}, { enabled: false }).isLoading));
  await page.happens(() => page.socket().greet());
  assert.equal(page.text(), "false");
  assert.deepEqual(page.socket().sent, []);
  await page.close();
});

test("what there was no connection for is asked again at the next connect, and only then", async () => {
  function Users() {
    const { data, error } = useRequest("users", "get", {}, { timeout: 5_000 });
    return `${data?.count} ${error?.code}`;
  }
  const page = await show(Users, { strict: false });
  await page.happens(() => mock.timers.tick(5_000));
  assert.equal(page.text(), "undefined timeout");
  await page.happens(() => page.socket().greet());
  await page.happens(() => page.socket().answer({ count: 3 }));
  assert.equal(page.text(), "3 undefined");
  await page.happens(() => page.socket().end(1006));
  await page.happens(() => mock.timers.tick(1_000));
  await page.happens(() => page.socket().greet());
  assert.deepEqual(page.socket().sent, []);
  await page.close();
});

test("reloads that come faster than answers show each answer, and ask once more at the end", async () => {
  let again = () => {};
  const page = await show(() => {
    const { data, reload } = useRequest("users", "get");
    again = reload;
    return `${data?.count}`;
  }, { strict: false });
  await page.happens(() => page.socket().greet());
  for (let count = 1; count <= 3; count++) {
    await page.happens(() => again());
    await page.happens(() => again());
    assert.equal(page.socket().sent.length, count);
    await page.happens(() => page.socket().answer({ count }));
    assert.equal(page.text(), String(count));
  }
  await page.happens(() => page.socket().answer({ count: 4 }));
  assert.equal(page.text(), "4");
  assert.equal(page.socket().sent.length, 4);
  await page.close();
});

test("what was refused because another user came is asked again as theirs", async () => {
  const page = await show(() => {
    const { data, error } = useRequest("users", "get", {}, { retry: true });
    return `${data?.of} ${error?.code}`;
  }, { strict: false });
  await page.happens(() => page.socket().greet());
  await page.happens(() => page.socket().end(1006));
  await page.happens(() => mock.timers.tick(1_000));
  await page.happens(() => page.socket().greet({ user_id: "eva" }));
  await page.happens(() => page.socket().answer({ of: "eva" }));
  assert.equal(page.text(), "eva undefined");
  await page.close();
});

test("each return to a room is told, also where the last was like it", async () => {
  const told = [];
  function InHall() {
    useRoom("hall", {}, { onRecovered: (recovered) => told.push(recovered) });
    return null;
  }
  const page = await show(InHall, { strict: false });
  await page.happens(() => page.socket().greet());
  for (const epoch of ["e1", "e2", "e3"]) {
    const rooms = [{ room: "hall", epoch, offset: 0, recovered: false, events: [] }];
    await page.happens(() => page.socket().answer({ rooms }, page.socket().asked("subscribe")));
    await page.happens(() => page.socket().end(1006));
    await page.happens(() => mock.timers.tick(1_000));
    await page.happens(() => page.socket().greet());
  }
  assert.deepEqual(told, [false, false]);
  await page.close();
});

test("a room tells who is there, what is said, and whether anything was missed", async () => {
  const heard = [];
  function InHall() {
    const { isReady, recovered } = useRoom("hall", { said: (data) => heard.push(data) });
    const present = usePresence("hall").map(({ user_id }) => user_id);
    return `${isReady} ${recovered} ${present}`;
  }
  const page = await show(InHall);
  await page.happens(() => page.socket().greet());
  const place = { room: "hall", epoch: "e1", offset: 0, recovered: false, events: [] };
  const asked = page.socket().sent.findLast(({ type }) => type === "subscribe");
  await page.happens(() => page.socket().answer({ rooms: [{ ...place, presence: [{ user_id: "ana", connections: 1 }] }] }, asked));
  assert.equal(page.text(), "true true ana");
  await page.happens(() => page.socket().event("presence_join", { user_id: "luis" }, { room: "hall" }));
  assert.equal(page.text(), "true true ana,luis");
  await page.happens(() => page.socket().event("said", "hello", { room: "hall", epoch: "e1", offset: 1 }));
  assert.deepEqual(heard, ["hello"]);
  await page.happens(() => page.socket().end(1006));
  await page.happens(() => mock.timers.tick(1_000));
  await page.happens(() => page.socket().greet());
  const again = page.socket().asked("subscribe");
  await page.happens(() => page.socket().answer({ rooms: [{ ...place, epoch: "e2", presence: [] }] }, again));
  assert.equal(page.text(), "true false ");
  await page.close();
});

test("a room that is refused says why", async () => {
  function InSecret() {
    const { isReady, error } = useRoom("secret");
    return `${isReady} ${error?.code}`;
  }
  const page = await show(InSecret, { strict: false });
  await page.happens(() => page.socket().greet());
  const error = { code: "forbidden", message: "no" };
  await page.happens(() => page.socket().answer({ rooms: [{ room: "secret", error }] }));
  assert.equal(page.text(), "false forbidden");
  await page.close();
});

test("a room is followed again when the client, sent away for good, connects anew", async () => {
  const told = [];
  const onRecovered = (recovered) => told.push(recovered);
  const page = await show(() => `${useRoom("hall", {}, { onRecovered }).isReady}`, { strict: false });
  const enter = () => page.socket().answer({ rooms: [{ room: "hall", epoch: "e1", offset: 0 }] });
  await page.happens(() => page.socket().greet());
  await page.happens(enter);
  assert.equal(page.text(), "true");
  await page.happens(() => page.socket().end(4502, "sent away"));
  assert.equal(page.text(), "false");
  await page.happens(() => void page.client.connect());
  await page.happens(() => page.socket().greet());
  await page.happens(enter);
  assert.equal(page.text(), "true");
  assert.deepEqual(told, [false]); // What was said meanwhile has to be loaded.
  await page.close();
});

test("other handlers of a room don't leave it", async () => {
  const heard = [];
  let more = () => {};
  function Hall() {
    const [types, setTypes] = useState(["said"]);
    more = () => setTypes(["said", "sung"]);
    useRoom("hall", Object.fromEntries(types.map((type) => [type, (data) => heard.push([type, data])])));
    return null;
  }
  const page = await show(Hall, { strict: false });
  const rooms = [{ room: "hall", epoch: "e1", offset: 0 }];
  await page.happens(() => page.socket().greet());
  await page.happens(() => page.socket().answer({ rooms }));
  await page.happens(() => page.socket().event("sung", 1, { room: "hall" }));
  await page.happens(more);
  await page.happens(() => page.socket().event("sung", 2, { room: "hall" }));
  await page.happens(() => page.socket().event("constructor", 3, { room: "hall" }));
  assert.deepEqual(heard, [["sung", 2]]);
  assert.deepEqual(page.socket().sent.map(({ type }) => type), ["subscribe"]);
  await page.close();
});

test("hooks without a provider say what to write", () => {
  const Alone = () => useRealtime().state;
  assert.throws(() => renderToString(h(Alone)), /put a <RealtimeProvider> around/);
});
