// Node's ws: the loop over all clients that its README shows. It echoes what it is sent.
import { createRequire } from "node:module";
import { serveControl, TEXT } from "./control.mjs";

const require = createRequire(process.env.BENCH_NODE_MODULES + "/");
const { WebSocketServer, WebSocket } = require("ws");

const server = new WebSocketServer({ host: "127.0.0.1", port: 0 });
server.on("connection", (client) => {
  client.on("error", () => {});
  client.on("message", (data) => client.send(data.toString()));
});

serveControl((room, count) => {
  for (let number = 0; number < count; number++) {
    const message = JSON.stringify({ number, text: TEXT });
    server.clients.forEach((client) => {
      if (client.readyState === WebSocket.OPEN) client.send(message);
    });
  }
});
