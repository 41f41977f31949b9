/**
 * What the tests have in hand in a page: a count of all that a client could leave behind, and
 * clients whose doings are written down. Run before the client's modules are loaded.
 */
() => {
  /** WebKit's driver bounds each script with a timer of its own, of so many milliseconds. */
  const DRIVERS = 120_000;
  const timers = new Set();
  const listeners = [];
  const sockets = [];
  const { setTimeout, clearTimeout, setInterval, clearInterval } = globalThis;

  /** Count what `set` sets, until `clear` clears it or it has fired. */
  const counted = (set, isOnce) => (work, delay, ...values) => {
    const fire = () => {
      if (isOnce) timers.delete(timer);
      work(...values);
    };
    const timer = set.call(globalThis, fire, delay);
    if (delay !== DRIVERS) timers.add(timer);
    return timer;
  };
  const cleared = (clear) => (timer) => {
    timers.delete(timer);
    clear.call(globalThis, timer);
  };

  function countTimers() {
    globalThis.setTimeout = counted(setTimeout, true);
    globalThis.setInterval = counted(setInterval, false);
    globalThis.clearTimeout = cleared(clearTimeout);
    globalThis.clearInterval = cleared(clearInterval);
  }

  function countListeners(target) {
    const { addEventListener, removeEventListener } = target;
    target.addEventListener = (type, listener, ...rest) => {
      listeners.push([target, type, listener]);
      addEventListener.call(target, type, listener, ...rest);
    };
    target.removeEventListener = (type, listener, ...rest) => {
      const index = listeners.findIndex((own) => own[0] === target && own[1] === type && own[2] === listener);
      if (index >= 0) listeners.splice(index, 1);
      removeEventListener.call(target, type, listener, ...rest);
    };
  }

  function countSockets() {
    const Native = globalThis.WebSocket;
    globalThis.WebSocket = class extends Native {
      constructor(...values) {
        super(...values);
        sockets.push({ socket: this, at: performance.now(), token: values[1]?.[1]?.slice("bearer.".length) });
      }
    };
  }

  const reported = [];
  addEventListener("error", (event) => reported.push(event.message));
  addEventListener("unhandledrejection", (event) => reported.push(`${event.reason}`));
  countTimers();
  countListeners(window);
  countListeners(document);
  countSockets();

  globalThis.lab = {
    /** What was thrown and nobody caught. */
    reported,
    /** All sockets that were made: when, with which token. */
    sockets,

    /** Wait until `isSo()`, or fail after so many milliseconds, saying what `isSo` is. */
    async until(isSo, milliseconds = 15_000) {
      const end = performance.now() + milliseconds;
      while (!isSo()) {
        if (performance.now() > end) throw new Error(`never: ${isSo}`);
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
    },

    /** What the clients have left behind: nothing, if all is well. */
    left() {
      const open = sockets.filter(({ socket }) => socket.readyState < WebSocket.CLOSING);
      return { timers: timers.size, listeners: listeners.length, sockets: open.length };
    },

    async logIn(name) {
      const headers = { "Content-Type": "application/json" };
      const body = JSON.stringify({ username: name, password: name });
      const response = await fetch("/auth/login", { method: "POST", headers, body });
      return (await response.json()).access_token;
    },

    /** Make a client, and write down what it tells. */
    async make(token, { path = "/ws", ...options } = {}) {
      const { createWebSocketClient } = await import(`${globalThis.modules ?? "/ws"}/client/index.js`);
      const url = new URL(path, location.href).href;
      const client = createWebSocketClient(token, { url, ...options });
      const told = { connect: [], disconnect: [], error: [], recovered: [], state: [] };
      for (const hook of Object.keys(told)) client.listen(hook, (value) => told[hook].push(value));
      const said = [];
      client.on("new_message", ({ content }) => said.push(content));
      return { client, told, said };
    },

    /** Have such a client at hand as `lab.ana`, connected. */
    async connect(options) {
      const ana = await lab.make(await lab.logIn("ana"), options);
      Object.assign(lab, { ana });
      await ana.client.connect();
    },
  };
}
